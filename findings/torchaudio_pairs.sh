#!/usr/bin/env bash
# torchaudio 2.11.0, its last release, does not say in its metadata which torch it needs, so pip and uv put it beside any
# torch. It works beside torch 2.11 to 2.14 only:
# - beside torch 2.15.0, `import torchaudio` raises RuntimeError: built for CUDA 13.0, torch for 13.2 (also on a CPU);
# - beside torch 2.10.0 and older, it raises OSError: its library does not load.
# Earlier releases name one torch each. Seen with Python 3.12 on Linux x86_64, November 2026.
# Needs uv and python3.12; fetches about 6 GB.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

outcome() { # torch's version -> what `import torchaudio` does
  uv venv --quiet --no-config --clear --python "${PYTHON:-python3.12}" env
  uv pip install --quiet --no-config --python env torch=="$1" torchaudio==2.11.0 numpy
  env/bin/python - <<'PY'
try:
    import torch, torchaudio
    print("works" if torchaudio.transforms.MelSpectrogram(n_mels=40)(torch.zeros(1, 16000)).shape[1] == 40 else "wrong")
except Exception as e: print(type(e).__name__, "CUDA" if "CUDA version" in str(e) else "library" if "load" in str(e) else e)
PY
}

expect() {
  got=$(outcome "$1" 2>/dev/null | tail -n 1)
  echo "torch $1: $got"
  [ "$got" = "$2" ] || { echo "expected: $2" >&2; exit 1; }
}

expect 2.15.0 "RuntimeError CUDA"
expect 2.14.1 "works"
expect 2.11.0 "works"
expect 2.10.0 "OSError library"
