#!/usr/bin/env bash
# numpy 2.0.2 and 2.5.5: np.fft.rfft takes longer for float32 frames than for the same frames in float64, half again to three
# times as long. To be expected: half the memory, and twice as many numbers in a vector register, so rather less time. Before
# 2.0, float32 was converted to float64. The release notes of 2.0.0 say only that the result now has the precision of the
# input. scipy.fft, which is built on the same library (pocketfft), transforms several frames at once in vector registers,
# and is faster in float32, as expected.
# Here: 251 frames of 1,024 samples, the spectrogram of a clip of 4 s. numpy writes into an array that is there already, so
# no memory is fetched. Medians of 80 rounds in which all take turns.
# Seen with Python 3.12 on Linux x86_64 (Intel Xeon with AVX-512), November 2026; the factor depends on the processor.
# Needs uv and python3.12; fetches about 100 MB.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
cat > times.py <<'PY'
import statistics, time
import numpy as np, scipy.fft

frames = np.random.default_rng(0).normal(0, 0.1, (251, 1024))
single, double = frames.astype("float32"), frames
into_single, into_double = np.empty((251, 513), "complex64"), np.empty((251, 513), "complex128")
ways = {"numpy float64": lambda: np.fft.rfft(double, out=into_double),
        "numpy float32": lambda: np.fft.rfft(single, out=into_single),
        "scipy float64": lambda: scipy.fft.rfft(double), "scipy float32": lambda: scipy.fft.rfft(single)}
ms = {name: [] for name in ways}
for _ in range(80):
    for name, rfft in ways.items():
        start = time.perf_counter()
        rfft()
        ms[name].append(1e3*(time.perf_counter() - start))
ms = {name: statistics.median(t) for name, t in ms.items()}
print(f"numpy {np.__version__}, scipy {scipy.__version__}:", ", ".join(f"{name} {t:.2f} ms" for name, t in ms.items()))
assert np.fft.rfft(single).dtype == scipy.fft.rfft(single).dtype == "complex64"
assert ms["numpy float32"] > 1.2*ms["numpy float64"] and ms["scipy float32"] < ms["scipy float64"]
PY
for versions in "numpy==2.0.2 scipy==1.14.1" "numpy==2.5.5 scipy==1.18.0"; do
  rm -rf env
  uv venv --quiet --no-config --python "${PYTHON:-python3.12}" env
  uv pip install --quiet --no-config --python env $versions
  OMP_NUM_THREADS=1 env/bin/python times.py
done
