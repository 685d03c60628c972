"""Two Dask workers beside this computer's own ways: seconds to classify clips, and to report on them

A resnet18 by torch. The workers are started for each turn, so that nobody else's are there."""
import os, time
from contextlib import contextmanager, nullcontext
from pathlib import Path

from bench.turns import KEEP_MEMORY, TRAINING

def prepare(files, folder, n):
    "A folder of `n` clips, links to a few files"
    folder = folder/"many"
    folder.mkdir()
    for i in range(n): os.link(files[i % len(files)], folder/f"{i:05d}.wav")
    return str(folder)

@contextmanager
def cluster():
    "A client of two workers on this computer, which end with the block"
    from distributed import Client, LocalCluster
    with LocalCluster(n_workers=2, threads_per_worker=1, silence_logs=50, dashboard_address=None) as own, \
            Client(own) as client: yield client

def timed(do, files, by_workers):
    "A turn: seconds of `do` for all files, done once before, so that everybody has loaded what it takes"
    def turn():
        with cluster() if by_workers else nullcontext() as client:
            do(files, progress=False, client=client)
            begin = time.perf_counter()
            do(files, progress=False, client=client)
            return time.perf_counter() - begin
    return turn

def classify(by_workers=False, threads=None):
    def start(models, clips, named):
        import torch
        from audio_tutorial.classifier import AudioClassifier
        if threads: torch.set_num_threads(threads)
        return timed(AudioClassifier.load(f"{models}/torch").predict, sorted(Path(clips).iterdir())[:named], by_workers)
    return start

def report(by_workers=False):
    def start(models, clips, named):
        from audio_tutorial.report import clip_report
        def do(files, **options): return clip_report(clips, files=files, **options)
        return timed(do, sorted(Path(clips).iterdir()), by_workers)
    return start

# Dask looks 100 times a second at what a worker computes, and wakes 50 times to see whether it is late.
UNWATCHED = {"DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False", "DASK_DISTRIBUTED__ADMIN__TICK__INTERVAL": "1s"}

ONE, TWO, WORKERS = "predict, one thread", "predict, two threads", "predict, two workers"
AS_STARTED = "predict, two workers as Dask starts them"
POOL, BY_WORKERS = "report, two processes", "report, two workers"
CONTESTANTS = {ONE: classify(threads=1), TWO: classify(threads=2), WORKERS: classify(by_workers=True),
               AS_STARTED: classify(by_workers=True), POOL: report(), BY_WORKERS: report(by_workers=True)}
ENV = {name: TRAINING | UNWATCHED | ({} if name == TWO else {"OMP_NUM_THREADS": "1"}) for name in CONTESTANTS}
ENV[AS_STARTED] = {k: v for k, v in ENV[WORKERS].items() if k not in KEEP_MEMORY | UNWATCHED}
