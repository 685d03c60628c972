"Let contestants take turns, each in its own process, so that a busy moment of the machine meets them all"
import json, os, subprocess, sys, tempfile
from contextlib import contextmanager
from pathlib import Path

from audio_tutorial.files import thread_settings

ROOT = Path(__file__).resolve().parents[1]

# For glibc: what is freed stays with the program. Else large pieces go back to the system and are taken anew, page by
# page: 15,000 to 30,000 pages in a training step of resnet18, which then takes 10 to 18 % longer. Elsewhere ignored.
KEEP_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "2000000000"}

TRAINING = KEEP_MEMORY | thread_settings # what chapters, lab and tests run with

class Contestant:
    "A worker process"
    def __init__(self, module, name, env, **options):
        self.name, self.log = name, tempfile.TemporaryFile("w+")
        command = [sys.executable, "-W", "ignore", "-m", "bench.worker", module, name, json.dumps(options)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log,
                                        text=True, cwd=ROOT, env=os.environ | env)

    def answer(self):
        "The next line of the worker; an error with what it said last where there is none"
        if line := self.process.stdout.readline(): return json.loads(line)
        self.log.seek(0)
        raise RuntimeError(f"{self.name} stopped:\n{''.join(self.log.readlines()[-15:])}")

    def turn(self, **request):
        "Take a turn; nobody else computes meanwhile"
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return self.answer()

@contextmanager
def contestants(
    module: str, # Module of bench/ with `CONTESTANTS`
    names: list, # Who takes part
    env=None, # `{name: variables of its environment}` of some of them
    **options, # For each of them, when it starts
): # `{name: Contestant}`, all ready
    "Start the processes together, and end them"
    made = {name: Contestant(module, name, (env or {}).get(name, {}), **options) for name in names}
    try:
        for c in made.values(): c.answer()
        yield made
    finally:
        for c in made.values():
            c.process.stdin.close()
            try: c.process.wait(20)
            except subprocess.TimeoutExpired: c.process.kill()

def rounds(
    made: dict, # `{name: Contestant}`
    n: int, # Rounds that count
    warm: int=1, # Rounds before them that do not
    **request, # What each of them does in a turn
) -> dict: # `{name: [answer of each round]}`
    "All take their turn in every round, another one first each time"
    answers = {name: [] for name in made}
    for i in range(warm + n):
        names = list(made)
        for name in names[i % len(names):] + names[:i % len(names)]:
            got = made[name].turn(**request)
            if i >= warm: answers[name].append(got)
    return answers

def launches(
    n: int, # How often all processes are started anew
    module: str, # Module of bench/
    each: int, # Rounds that count, each time
    **options, # For `contestants`
) -> dict: # `{name: [answer of each round]}`
    "Rounds of all contestants of a module: where memory happens to lie makes one process some % faster than the next"
    answers = {}
    for _ in range(n):
        with contestants(module, **options) as made:
            for name, got in rounds(made, each).items(): answers.setdefault(name, []).extend(got)
    return answers
