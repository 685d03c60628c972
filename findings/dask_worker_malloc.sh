#!/usr/bin/env bash
# distributed 2026.8.0: a resnet18 of torch, on the CPU, takes a third to a half longer in a worker than in a plain process on
# the same core, because the worker hands memory back to Linux after every layer and fetches it again, page by page.
# The nanny starts workers with MALLOC_TRIM_THRESHOLD_=65536 (its default of pre-spawn-environ). The documentation ("Worker
# Memory Management") says that a low number may degrade performance. It does not say how far this goes: once glibc is given
# this threshold, it also stops raising the size from which an allocation is mapped on its own (man 3 mallopt,
# M_MMAP_THRESHOLD: 128 KiB at first). So the output of every layer is mapped, touched for the first time, and unmapped.
# Here: page faults and seconds of 20 forward passes of a resnet18, after 10 to warm up, in a worker as it is started by
# default; in one that is started with both settings of malloc raised, as variables of the environment; in a plain process.
# Seen with torch 2.11.0, Python 3.12 on Linux x86_64 with glibc, November 2026. Needs uv and python3.12; fetches about 3 GB.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
uv venv --quiet --no-config --python "${PYTHON:-python3.12}" env
uv pip install --quiet --no-config --python env torch==2.11.0 torchvision==0.26.0 distributed==2026.8.0 dask==2026.8.0 numpy
cat > passes.py <<'PY'
import resource, time

def passes():
    "Page faults and seconds of 20 forward passes"
    import torch
    from torchvision.models import resnet18
    torch.set_num_threads(1)
    net, x = resnet18().eval(), torch.zeros(32, 3, 40, 251)
    with torch.inference_mode():
        for n in 10, 20:
            faults, start = resource.getrusage(resource.RUSAGE_SELF).ru_minflt, time.perf_counter()
            for _ in range(n): net(x)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults, time.perf_counter() - start
PY
cat > compare.py <<'PY'
import os, sys
from concurrent.futures import ProcessPoolExecutor
from distributed import Client, LocalCluster
from passes import passes

def in_worker():
    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster, Client(cluster) as client:
        return client.submit(passes).result()

def shown(name, found):
    print(f"{name}: {found[0]:,} page faults, {found[1]:.2f} s")
    return found[0]

if __name__ == "__main__":
    assert not {k for k in os.environ if k.startswith("MALLOC_")}
    with ProcessPoolExecutor(1) as pool: plain = shown("plain process", pool.submit(passes).result())
    worker = shown("worker by default", in_worker())
    os.environ |= {"MALLOC_TRIM_THRESHOLD_": "2000000000", "MALLOC_MMAP_MAX_": "0"}
    raised = shown("worker, both raised", in_worker())
    sys.exit(not (worker > 500_000 and worker > 4*plain and worker > 100*raised))
PY
PYTHONPATH=$work env/bin/python -W ignore compare.py
