"Training in two processes that talk over gloo: what is divided, what is the same, and what is refused"
import json, os, shutil, subprocess, sys
from pathlib import Path

import numpy as np, pandas as pd, pytest, soundfile as sf, torch

pytest.importorskip("accelerate", reason="the extra distributed is not installed")

import processes
from audio_tutorial.classifier import AudioClassifier
from audio_tutorial.files import get_audio_files
from audio_tutorial.learner import AudioDL
from audio_tutorial.shards import write_shards
from audio_tutorial.together import process_seed, share_batches, train_together

HERE = Path(__file__).parent


def torchrun(*args):
    env = os.environ | dict(OMP_NUM_THREADS="1", PYTHONPATH=f"{HERE.parent}", CUDA_VISIBLE_DEVICES="")
    return subprocess.run([sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
                           HERE/"processes.py", *args], env=env, capture_output=True, text=True, timeout=600)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    "23 clips to train on and 9 for validation, in three classes that can be told apart"
    root, rng = tmp_path_factory.mktemp("clips"), np.random.default_rng(0)
    for side, n in ("train", 23), ("valid", 9):
        (root/side).mkdir()
        for i in range(n):
            tone = np.sin(2*np.pi*(200, 900, 3000)[i % 3]*np.arange(4000)/16000)
            sf.write(root/side/f"{side}{i:02d}-{'abc'[i % 3]}.wav", 0.3*tone + rng.normal(0, 0.05, 4000), 16000)
    return root


@pytest.fixture(scope="module")
def runs(folder, tmp_path_factory):
    "What one process did, and what each of two did"
    out = tmp_path_factory.mktemp("out")
    files = get_audio_files(folder)
    table = pd.DataFrame(dict(path=map(str, files), label=[*map(processes.label, files)],
                              valid=[f.parent.name == "valid" for f in files]))
    write_shards(table, out/"shards", size=4, progress=False, num_workers=1)
    done = torchrun(folder, out)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    one = json.loads(json.dumps(processes.everything(folder, out)))
    return one, *(json.loads((out/f"{rank}.json").read_text()) for rank in (0, 1)), out


# -------------------------------------------------------------------------------- dividing, without processes

@pytest.mark.parametrize("n, bs, world", [
    (10, 4, 2), (10, 4, 3), (10, 3, 3), (9, 4, 4), (1, 4, 4), (7, 7, 5), (12, 4, 1)])
@pytest.mark.parametrize("drop_last", [False, True])
def test_every_clip_is_in_one_part(n, bs, world, drop_last):
    if drop_last and n < bs: return
    dl = AudioDL(list(range(100, 100 + n)), bs=bs, drop_last=drop_last, num_workers=0, device="cpu")
    batches = [b.tolist() for b in dl]
    parts = [share_batches(dl, rank, world) for rank in range(world)]
    found = [[b.tolist() for b in part] for part in parts]
    assert {len(part) for part in parts} == {len(b) for b in found} == {len(batches)}
    for rank, own in enumerate(found):
        assert own == [b[rank::world] or b[:1] for b in batches]
    assert parts[0].divided == (sum(map(len, batches)), bs)


def test_the_order_is_that_of_one_process():
    def order(*share):
        torch.manual_seed(0)
        dl = AudioDL(list(range(20)), bs=5, shuffle=True, drop_last=True, num_workers=0, device="cpu")
        dl.rng.seed(3)
        if share: dl = share_batches(dl, *share)
        return [[b.tolist() for b in dl] for _ in range(2)]
    one, a, b = order(), order(0, 2), order(1, 2)
    assert one[0] != one[1]
    assert [[[*sorted(x + y)] for x, y in zip(p, q)] for p, q in zip(a, b)] == [[sorted(x) for x in e] for e in one]


def test_what_cannot_be_divided():
    dl = AudioDL(list(range(10)), bs=4, num_workers=0)
    with pytest.raises(ValueError, match="a batch of 4 clips cannot be divided among 5 processes"):
        share_batches(dl, 0, 5)
    with pytest.raises(ValueError, match="there is no process 2 of 2"): share_batches(dl, 2, 2)
    with pytest.raises(ValueError, match="a batch of 4 clips is larger than the data set of 3"):
        share_batches(AudioDL([1, 2, 3], bs=4, drop_last=True, num_workers=0), 0, 2)


def test_seeds():
    seeds = [process_seed(s, rank) for s in range(50) for rank in range(8)]
    assert len({*seeds}) == 400 and seeds[::8] == list(range(50))


def test_without_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "accelerate", None)
    with pytest.raises(ImportError, match=r"audio-tutorial\[distributed\]"):
        with train_together(None): pass


def test_nothing_is_imported_unless_asked():
    code = "import sys, audio_tutorial.all; print('accelerate' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout == "False\n"


# ------------------------------------------------------------------------------------------ two processes

@pytest.mark.parametrize("case", ["23 5", "21 4", "3 2"])
def test_two_processes_are_one(runs, case):
    "Without batch normalisation, dropout and augmentation: the same weights and metrics, whatever the last batch"
    one, a, b = (run["exact"][case] for run in runs[:3])
    assert a["digest"] == b["digest"]
    for x, y in zip(one["weights"], a["weights"]): assert np.allclose(x, y, atol=1e-5)
    for key in "losses", "values": assert np.allclose(one[key], a[key], atol=1e-5) and a[key] == b[key]
    n, bs = map(int, case.split())
    for side, there in ((0, n), (1, 9)):
        whole, mine, other = ([name for s, name in run["read"] if s == side] for run in (one, a, b))
        fillers = 2*(there % bs == 1)
        assert len(whole) == 2*there == len(mine) + len(other) - fillers
        assert sorted({*mine} | {*other}) == sorted({*whole}) and len({*whole}) == there


def test_a_training_like_a_readers(runs, folder):
    one, a, b, out = runs
    one, a, b = (run["whole"] for run in (one, a, b))
    assert a["digest"] == b["digest"] and a["figures"] == b["figures"]
    for x, y in zip(a["drawn"], b["drawn"]): assert not {*x} & {*y}
    files = get_audio_files(folder/"valid")
    clf = AudioClassifier.load(out/"model2")
    right = np.mean(clf.predict(files, progress=False).label == [*map(processes.label, files)])
    assert right == pytest.approx(a["figures"]["accuracy"], abs=1e-6) == a["alone"][1] == b["alone"][1]
    assert clf.provenance["metrics"] == a["figures"]
    assert abs(a["alone"][0] - a["figures"]["valid_loss"]) < 1e-5


def test_streams(runs):
    one, a, b = (run["streams"] for run in runs[:3])
    assert a["digest"] == b["digest"]
    assert len(one["seen"]) == 2*20 and len(a["seen"]) == len(b["seen"]) == 2*10
    for i in 0, 10: assert len({*a["seen"][i:i+10], *b["seen"][i:i+10]}) == 20, "no clip twice in an epoch"
    for x, y in zip(a["values"], b["values"]): assert x[1:] == y[1:], "each validates everything"


def test_what_is_refused(runs):
    _, a, b, _ = runs
    for run in a, b:
        for key, message in (("small_batch", "a batch of 1 clips cannot be divided among 2 processes"),
                             ("few_clips", "a batch of 4 clips is larger than the data set of 3"),
                             ("split", "processes [1] have other clips, labels or batch sizes than process 0")):
            assert message in run[key][0] and run[key][1], run[key]


def test_an_unreadable_clip_ends_all(folder, tmp_path):
    broken = shutil.copytree(folder, tmp_path/"broken")
    (broken/"train"/"train00-a.wav").write_text("no sound")
    done = torchrun(broken, tmp_path, "broken")
    assert done.returncode != 0
