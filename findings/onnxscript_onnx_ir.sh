#!/usr/bin/env bash
# onnxscript 0.6.0 asks for onnx-ir without an upper bound. With onnx-ir 1.1.0, `torch.onnx.export(..., dynamo=True)` of a
# single linear layer raises PassError, caused by "The model contains functions. The version conversion pass does not
# support functions"; onnxscript 0.7.0 beside the same onnx-ir exports it. So whoever pins or keeps onnxscript 0.5 or 0.6
# and lets the rest be resolved anew has an exporter that exports nothing. Seen with torch 2.7.1 (torch 2.11.0 exports with both), onnx 1.20.0, Python
# 3.12 on Linux x86_64, November 2026. Needs uv and python3.12; fetches about 3 GB.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
uv venv --quiet --no-config --python "${PYTHON:-python3.12}" env

outcome() { # onnxscript's version -> what the export of a linear layer does
  uv pip install --quiet --no-config --python env torch==2.7.1 numpy onnx==1.20.0 onnx-ir==1.1.0 onnxscript=="$1"
  env/bin/python -W ignore - <<'PY'
import torch
try:
    torch.onnx.export(torch.nn.Linear(4, 2), (torch.zeros(2, 4),), dynamo=True, verbose=False)
    print("exported")
except Exception as e: print(type(e).__name__)
PY
}

for pair in "0.6.0 PassError" "0.7.0 exported"; do
  read -r version expected <<< "$pair"
  got=$(outcome "$version" 2>/dev/null | tail -n 1)
  echo "onnxscript $version beside onnx-ir 1.1.0: $got"
  [ "$got" = "$expected" ] || { echo "expected: $expected" >&2; exit 1; }
done
