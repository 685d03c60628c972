"Let contestants take turns, each in its own process, so that a busy moment of the machine meets them all"
import json, subprocess, sys, tempfile
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

class Contestant:
    "A worker process"
    def __init__(self, module, name, **options):
        self.name, self.log = name, tempfile.TemporaryFile("w+")
        command = [sys.executable, "-W", "ignore", "-m", "bench.worker", module, name, json.dumps(options)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log,
                                        text=True, cwd=ROOT)

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
    **options, # For each of them, when it starts
): # `{name: Contestant}`, all ready
    "Start the processes together, and end them"
    made = {name: Contestant(module, name, **options) for name in names}
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
