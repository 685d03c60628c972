"""Two Dask workers classify clips into a table, and one of them is killed: what the table has in the end

A table for which nobody dies comes first. The others are compared with it, and its time bounds the moment of a kill."""
import os, random, signal, tempfile, threading, time
from pathlib import Path

from bench.cluster import cluster

def kill_one(client, rng):
    "Kill a worker, as a computer that fails would; a new one is started by itself"
    os.kill(rng.choice(sorted(client.run(os.getpid).values())), signal.SIGKILL)

def start(models, clips, named, seed=0):
    import pandas as pd
    from audio_tutorial.classifier import AudioClassifier
    clf, files = AudioClassifier.load(f"{models}/torch"), sorted(Path(clips).iterdir())[:named]
    client, rng, first = cluster(), random.Random(seed), {}

    def table(after=None):
        "The table that is written while a worker is killed after some seconds, and the seconds it took"
        killer = threading.Timer(after or 0, kill_one, (client, rng))
        with tempfile.TemporaryDirectory() as folder:
            begin = time.perf_counter()
            if after is not None: killer.start()
            clf.predict_to(f"{folder}/table", files, size=max(1, named//50), client=client, progress=False)
            took = time.perf_counter() - begin
            if after is not None: killer.join()
            return pd.read_parquet(f"{folder}/table"), took

    def turn():
        if not first:
            table() # the workers import what they need
            found, took = table()
            first.update(table=found, seconds=took)
        after = rng.uniform(0, first["seconds"])
        found, took = table(after)
        wanted = first["table"]
        both = wanted.merge(found, on="path", suffixes=("", " then"))
        return dict(after=after, seconds=took, undisturbed=first["seconds"], clips=len(wanted),
                    missing=len({*wanted.path} - {*found.path}), twice=int(found.path.duplicated().sum()),
                    other=int((both.label != both["label then"]).sum()))
    return turn

KILLED = "a worker killed"
CONTESTANTS = {KILLED: start}
