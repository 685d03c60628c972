"""Two Dask workers classify clips into a table, and one of them is killed: what the table has in the end

A table for which nobody dies comes first. The others are compared with it, and its time bounds the moment of a kill."""
import os, random, signal, tempfile, threading, time
from pathlib import Path

from bench.cluster import cluster

def kill_one(client, rng):
    "Kill a worker, as a computer that fails would; Dask starts a new one"
    os.kill(rng.choice(sorted(client.run(os.getpid).values())), signal.SIGKILL)

def start(models, clips, named, seed=0):
    import pandas as pd
    from audio_tutorial.classifier import AudioClassifier
    clf, files = AudioClassifier.load(f"{models}/torch"), sorted(Path(clips).iterdir())[:named]
    rng = random.Random(seed)

    def write(client):
        "Write the table: what it has, and the seconds it took"
        with tempfile.TemporaryDirectory() as folder:
            begin = time.perf_counter()
            clf.predict_to(f"{folder}/table", files, size=max(1, named//50), client=client, progress=False)
            return pd.read_parquet(f"{folder}/table"), time.perf_counter() - begin

    with cluster() as client:
        write(client) # the workers import what they need
        wanted, undisturbed = write(client)

    def turn():
        after = rng.uniform(0, undisturbed)
        with cluster() as client:
            write(client)
            killer = threading.Timer(after, kill_one, (client, rng))
            killer.start()
            found, seconds = write(client)
            killer.join()
        both = wanted.merge(found, on="path", suffixes=("", " then"))
        return dict(after=after, seconds=seconds, undisturbed=undisturbed, clips=len(wanted),
                    missing=len({*wanted.path} - {*found.path}), twice=int(found.path.duplicated().sum()),
                    other=int((both.label != both["label then"]).sum()))
    return turn

KILLED = "a worker killed"
CONTESTANTS = {KILLED: start}
