#!/usr/bin/env bash
# fastai 2.8.12, Learner.distrib_ctx with two processes:
# - Without a GPU it does not train. It takes Accelerator's argument cpu=True, which is in its signature, but
#   DistributedDL._broadcast calls .cuda(), so that fit raises RuntimeError: no NVIDIA driver. To be expected: a training on
#   the CPU, or an error that names the argument.
# - If the validation set does not divide by the number of processes, DistributedDL fills it up with items from its beginning,
#   and metrics that are averaged over batches (AvgMetric, which is what a plain function such as `accuracy` becomes), and the
#   validation loss, count them: where 8 of 9 are right and the first is wrong, accuracy is 8/10. To be expected: 8/9, as with
#   one process and as AccumMetric gives with two, because DistributedDL.to_detach removes the filler from gathered predictions.
# For the second, Tensor.cuda IS REPLACED by a function that leaves the tensor on the CPU, because of the first; nothing else
# of fastai is changed. Not tried with several GPUs.
# The model always says class 0, and its learning rate is 0. GPUs are hidden here.
# Seen with torch 2.11.0, accelerate 1.15.0, Python 3.12 on Linux x86_64, November 2026. Needs uv and python3.12; fetches
# about 3 GB.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
uv venv --quiet --no-config --python "${PYTHON:-python3.12}" env
uv pip install --quiet --no-config --python env torch==2.11.0 accelerate==1.15.0 fastai==2.8.12 numpy
export PATH="$work/env/bin:$PATH" HF_HOME="$work" CUDA_VISIBLE_DEVICES='' OMP_NUM_THREADS=1
cat > train.py <<'PY'
import sys, traceback
from fastai.basics import *
from fastai.metrics import AccumMetric, accuracy
from fastai.distributed import *

if 'replaced' in sys.argv: Tensor.cuda = lambda self: self

def loader(n): return TfmdDL([(tensor([1.]), tensor(int(i == 0))) for i in range(n)], bs=4)

model = nn.Linear(1, 2)
model.weight.data, model.bias.data = tensor([[0.], [0.]]), tensor([1., 0.])
learn = Learner(DataLoaders(loader(8), loader(9), device='cpu'), model, CrossEntropyLossFlat(),
                metrics=[accuracy, AccumMetric(accuracy, flatten=False)])
try:
    with learn.no_bar(), learn.no_logging(), learn.distrib_ctx(cpu=True): learn.fit(1, lr=0.)
    _, loss, averaged, gathered = learn.recorder.values[-1]
    said = f'accuracy {averaged:.3f}, by AccumMetric {gathered:.3f}, loss {loss:.3f}'
except RuntimeError as e:
    where = [f.name for f in traceback.extract_tb(e.__traceback__) if f.filename.endswith('distributed.py')][-1]
    said = f'{type(e).__name__} in {where}: {str(e).partition(".")[0]}'
if rank_distrib() == 0: print(said)
PY

expect() { # title, what is printed, command
  got=$("${@:3}" 2> err | tail -n 1) || { cat err >&2; exit 1; }
  echo "$1: $got"
  [[ "$got" = $2 ]] || { echo "expected: $2" >&2; cat err >&2; exit 1; }
}

two="torchrun --standalone --nproc-per-node 2 train.py"
expect "one process" "accuracy 0.889, by AccumMetric 0.889, loss 0.424" python train.py
expect "two processes" "RuntimeError in _broadcast: *" $two
expect "two processes, .cuda() replaced" "accuracy 0.800, by AccumMetric 0.889, loss 0.513" $two replaced
