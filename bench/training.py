"""Training beside other programs: clips per second of resnet18 on spectrograms of 40 × 251, batches of 16

Each contestant is the same network, told in another way how its threads wait for each other."""
import subprocess, sys, time
from contextlib import contextmanager

from bench.turns import KEEP_MEMORY, TRAINING

def start():
    import torch
    from audio_tutorial.networks import create_network
    torch.manual_seed(0)
    network, x, y = create_network("resnet18", 10), torch.randn(16, 1, 40, 251), torch.arange(16) % 10
    optimiser = torch.optim.Adam(network.parameters())

    def step():
        torch.nn.functional.cross_entropy(network(x), y).backward()
        optimiser.step()
        optimiser.zero_grad()

    def turn(lasting):
        step()
        begin, done = time.perf_counter(), 0
        while not done or time.perf_counter() - begin < lasting:
            step()
            done += 1
        return len(x)*done/(time.perf_counter() - begin)
    return turn

AS_IT_WAS, NOW, ONE = "two threads, as torch has them", "two threads, as in this book", "one thread"
CONTESTANTS = {AS_IT_WAS: start, NOW: start, ONE: start}
ENV = {AS_IT_WAS: KEEP_MEMORY, NOW: TRAINING, ONE: TRAINING | {"OMP_NUM_THREADS": "1"}}

@contextmanager
def neighbours(n):
    "So many other programs that never rest"
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(n)]
    try: yield
    finally:
        for p in busy: p.kill()
        for p in busy: p.wait()
