#!/usr/bin/env bash
# accelerate 1.15.0: `accelerate launch --cpu --num_processes 2 script.py` starts one process. It ends with status 0 and says
# nothing of the other, so a training that was meant for two runs in one, with half the total batch size.
# To be expected, from the help of `accelerate launch` and the command line page of its documentation: --num_processes is "the
# total number of processes to be launched in parallel", and --cpu says "whether or not to force the training on the CPU"; or
# else an error. With --multi_gpu in place of --cpu, two processes are started, on a computer without a GPU as well.
# GPUs are hidden here, and no saved configuration is read. Every value that would get a default with a warning is given.
# Seen with torch 2.11.0, Python 3.12 on Linux x86_64, November 2026. Needs uv and python3.12; fetches about 3 GB.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
uv venv --quiet --no-config --python "${PYTHON:-python3.12}" env
uv pip install --quiet --no-config --python env torch==2.11.0 accelerate==1.15.0 numpy
export PATH="$work/env/bin:$PATH" HF_HOME="$work" CUDA_VISIBLE_DEVICES='' OMP_NUM_THREADS=1
cat > script.py <<'PY'
from accelerate import Accelerator
a = Accelerator(cpu=True)
print(f"{a.process_index} of {a.num_processes}\n", end="")
PY

expect() { # option, what the processes print, in order and on one line
  accelerate launch "$1" --num_processes 2 --num_machines 1 --mixed_precision no --dynamo_backend no \
    --main_process_port 0 script.py > out 2> err || { cat err >&2; exit 1; }
  got=$(sort out | paste -sd, -)
  echo "$1 --num_processes 2: processes $got; lines of warnings: $(wc -l < err)"
  [ "$got" = "$2" ] || { echo "expected: $2" >&2; exit 1; }
  [ "$1" != --cpu ] || [ ! -s err ] || { echo "no longer silent:" >&2; cat err >&2; exit 1; }
}

COLUMNS=120 accelerate launch --help > help
grep -E '^ +--cpu ' help
grep -E -A 1 '^ +--num_processes ' help
expect --cpu "0 of 1"
expect --multi_gpu "0 of 2,1 of 2"
