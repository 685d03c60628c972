"""Two Dask workers beside this computer's own ways: seconds to classify clips, and to report on them

A resnet18 by torch, which is sent to the workers anew in every turn."""
import os, time
from functools import partial
from pathlib import Path

from bench.turns import TRAINING

def prepare(files, folder, n):
    "A folder of `n` clips, links to a few files"
    folder = folder/"many"
    folder.mkdir()
    for i in range(n): os.link(files[i % len(files)], folder/f"{i:05d}.wav")
    return str(folder)

def cluster():
    from distributed import Client, LocalCluster
    client = Client(LocalCluster(n_workers=2, threads_per_worker=1, silence_logs=50, dashboard_address=None))
    OPEN.append(client)
    return client

OPEN = [] # for the tests, whose process goes on after the turns
def close():
    while OPEN: OPEN.pop().shutdown()

def timed(do, client):
    client = client and client()
    def turn():
        begin = time.perf_counter()
        do(client=client, progress=False)
        return time.perf_counter() - begin
    return turn

def classify(client=None, threads=None):
    def start(models, clips, named):
        import torch
        from audio_tutorial.classifier import AudioClassifier
        if threads: torch.set_num_threads(threads)
        files = sorted(Path(clips).iterdir())[:named]
        return timed(partial(AudioClassifier.load(f"{models}/torch").predict, files), client)
    return start

def report(client=None):
    def start(models, clips, named):
        from audio_tutorial.report import clip_report
        return timed(partial(clip_report, clips), client)
    return start

ONE, TWO, WORKERS = "predict, one thread", "predict, two threads", "predict, two workers"
POOL, BY_WORKERS = "report, two processes", "report, two workers"
CONTESTANTS = {ONE: classify(threads=1), TWO: classify(threads=2), WORKERS: classify(cluster),
               POOL: report(), BY_WORKERS: report(cluster)}
ENV = {name: TRAINING | ({} if name == TWO else {"OMP_NUM_THREADS": "1"}) for name in CONTESTANTS}
