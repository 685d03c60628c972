"Clips from shards and Parquet files: the same as from loose files, each once, and every fault with its name"
import io, json, tarfile

import numpy as np, pandas as pd, pytest, soundfile as sf, torch

pytest.importorskip("fsspec", reason="the extra distributed is not installed")

from audio_tutorial.arrays import AudioError
from audio_tutorial.augment import Gain
from audio_tutorial.classifier import AudioClassifier
from audio_tutorial.folders import find_clips, split_clips
from audio_tutorial.learner import audio_learner
from audio_tutorial.shards import find_shards, parquet_clips, shard_clips, stream_loaders, write_shards
from audio_tutorial.train import _loaders
from audio_tutorial.transforms import BatchTransform
from audio_tutorial.mel import MelSettings
from fastai.vision.all import set_seed

SETTINGS = MelSettings()
SECONDS = 1


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    "60 clips of 0.9 or 1.5 s in three classes; each has a level of its own, so it can be recognised"
    folder, rng = tmp_path_factory.mktemp("clips"), np.random.default_rng(0)
    for i in range(60):
        (folder/f"c{i%3}").mkdir(exist_ok=True)
        x = rng.uniform(-1, 1, 14400 if i % 2 else 24000)*(0.01 + i/100)
        sf.write(folder/f"c{i%3}"/f"{i:02d}.wav", x, 16000)
    return split_clips(find_clips(folder), 0.2, seed=0)


@pytest.fixture(scope="module")
def shards(table, tmp_path_factory): return write_shards(table, tmp_path_factory.mktemp("s")/"shards", size=10, progress=False)


def stream(shards, **kwargs):
    return stream_loaders(**find_shards(shards), settings=SETTINGS, duration=SECONDS, bs=8, device="cpu",
                          **dict(dict(buffer=20), **kwargs))


def levels(loader):
    "A number for each clip, from the batches of an epoch"
    return [round(float(w), 3) for x, _ in loader for w in x.waveform.as_subclass(torch.Tensor).abs().amax(1)]


def test_shards_hold_every_clip_once(table, shards):
    found = find_shards(shards)
    assert found["vocab"] == ["c0", "c1", "c2"]
    assert [n for _, n in found["train"] + found["valid"]] == [10, 10, 10, 10, 8, 10, 2]
    for side in "train", "valid":
        paths = []
        for file, n in found[side]:
            with tarfile.open(file) as tar:
                paths += [json.load(tar.extractfile(m))["path"] for m in tar if m.name.endswith("json")]
        assert sorted(paths) == sorted(table.path[table.valid == (side == "valid")]) and paths != sorted(paths)
    (name, sound, label), *_ = shard_clips(*found["valid"][0])
    with tarfile.open(found["valid"][0][0]) as tar: path = json.load(tar.extractfile("000000.json"))["path"]
    assert np.array_equal(sf.read(io.BytesIO(sound))[0], sf.read(path)[0]) and f"/{label}/" in path
    assert name.endswith("valid-00000.tar: the clip 000000")


def test_writing_goes_on_where_it_stopped(table, shards, tmp_path):
    other = write_shards(table, tmp_path/"shards", size=10, progress=False, num_workers=1)
    (other/"train-00002.tar").unlink()
    times = {p: p.stat().st_mtime_ns for p in other.glob("*.tar")}
    write_shards(table, other, size=10, progress=False)
    assert {p: p.stat().st_mtime_ns for p in times} == times
    assert all(p.read_bytes() == (shards/p.name).read_bytes() for p in other.glob("*.tar"))
    with pytest.raises(ValueError, match="made with other settings"): write_shards(table, other, size=20)
    with pytest.raises(ValueError, match="'flac' or 'opus'"): write_shards(table, tmp_path/"x", kind="mp3")
    small = write_shards(table, tmp_path/"opus", size=10, kind="opus", progress=False)
    assert sum(p.stat().st_size for p in small.glob("*.tar")) < sum(p.stat().st_size for p in other.glob("*.tar"))/2
    assert len(levels(stream(small).valid)) == 12


def test_validation_gets_what_loose_files_give(table, shards):
    dls = _loaders(table, SETTINGS, SECONDS, ["c0", "c1", "c2"], 8, None, 0)
    loose = {round(float(x.waveform[i].abs().max()), 3): (x[i], int(y[i])) for x, y in dls.valid for i in range(len(y))}
    seen = 0
    for x, y in stream(shards).valid:
        for i in range(len(y)):
            want, label = loose[round(float(x.waveform[i].abs().max()), 3)]
            assert torch.equal(x[i].as_subclass(torch.Tensor), want.as_subclass(torch.Tensor)) and y[i] == label
            seen += 1
    assert seen == len(loose) == 12
    dl = stream(shards, batch_tfms=[BatchTransform(Gain(p=1))]).valid
    assert levels(dl) == levels(dl) == levels(stream(shards).valid)


def test_training_is_shuffled_cropped_and_augmented(shards):
    set_seed(0)
    dl = stream(shards).train
    assert len(dl) == 6
    first, second = levels(dl), levels(dl)
    assert len(first) == 48 and first != second and dl.position() == dict(epoch=2, start=0)
    with_gain = stream(shards, batch_tfms=[BatchTransform(Gain(p=1))]).train
    assert levels(with_gain) != first
    names = [[name for name, *_ in iter(stream(shards, seed=s).train.dataset)] for s in (0, 0, 1)]
    assert names[0] == names[1] != names[2] and sorted(names[0]) == sorted(names[2]) != names[0]
    assert len({n.split(":")[0] for n in names[0][:10]}) > 1 # the buffer mixes shards


def labels(loader): return [y.tolist() for _, y in loader]


def test_a_position_is_where_training_goes_on(shards):
    whole, again = stream(shards), stream(shards)
    labels(whole.train)
    want = labels(whole.train)
    labels(again.train)
    batches, position = iter(again.train), None
    for i in range(3): next(batches)
    position = json.loads(json.dumps(again.train.position()))
    assert position == dict(epoch=1, start=3)
    for workers in 0, 2:
        new = stream(shards, num_workers=workers)
        new.train.go_on(position)
        assert labels(new.train) == want[3:]
        assert len(labels(new.train)) == 6 and new.train.position() == dict(epoch=3, start=0)


def test_batches_and_results_are_shown(shards, monkeypatch):
    "As from loose files; and looking at a batch changes nothing of what comes next"
    from audio_tutorial import learner
    shown = []
    monkeypatch.setattr(learner, "_show_clips", lambda x, labels: shown.append((x.shape[1], labels)))
    dls, (first, *rest) = stream(shards), labels(stream(shards).train)
    vocab = dls.vocab
    dls.train.go_on(dict(epoch=0, start=1))
    dls.show_batch(max_n=3)
    assert shown.pop() == (1, [vocab[i] for i in rest[0][:3]])
    assert labels(dls.train) == rest and dls.train.position() == dict(epoch=1, start=0)
    learn = audio_learner(dls, "squeezenet1_1", pretrained=False)
    with learn.no_bar(): learn.show_results(max_n=2)
    (_, said), = shown
    assert [s.split(", prediction: ")[0] for s in said] == [vocab[i] for i in labels(dls.valid)[0][:2]]
    assert {s.split(", prediction: ")[1] for s in said} <= {*vocab}


def test_processes_get_different_clips(shards):
    both = [stream(shards, rank=r, world=2) for r in range(2)]
    assert len(both[0].train) == len(both[1].train)
    names = [{name for name, *_ in dls.train.dataset} for dls in both]
    assert not names[0] & names[1] and len(names[0] | names[1]) == 48
    names = [{name for name, *_ in dls.valid.dataset} for dls in both]
    assert not names[0] & names[1] and len(names[0] | names[1]) == 12
    with pytest.raises(ValueError, match="2 files cannot be divided among 3"): stream(shards, rank=0, world=3)


def test_a_learner_trains_and_is_saved(shards):
    dls = stream(shards)
    learn = audio_learner(dls, "squeezenet1_1", pretrained=False)
    with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(1)
    clf = AudioClassifier.from_learner(learn)
    assert clf.vocab == ["c0", "c1", "c2"] and clf.duration == SECONDS and clf.settings == SETTINGS
    assert clf.provenance["n_train"] == 48
    assert learn.validate(ds_idx=0)[0] == pytest.approx(learn.validate(ds_idx=0)[0], rel=0.2)


# --------------------------------------------------------------------------------------------------------- bad shards

def damaged(shards, tmp_path, change):
    "Shards of which the first for training was rewritten: `change` gets and gives `{name: bytes}`"
    import shutil
    folder = shutil.copytree(shards, tmp_path/"damaged")
    with tarfile.open(folder/"train-00000.tar") as tar: members = {m.name: tar.extractfile(m).read() for m in tar}
    change(members)
    with tarfile.open(folder/"train-00000.tar", "w") as tar:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return folder


@pytest.mark.parametrize("change, message", [
    (lambda m: m.update({"000004.flac": b"no sound"}), r"train-00000\.tar: the clip 000004: "),
    (lambda m: m.pop("000003.json"), r"train-00000\.tar: the clip 000003 has no label: there should be a file 000003\.json"),
    (lambda m: m.update({"000002.json": b"{}"}), r"train-00000\.tar: the clip 000002 has no label"),
    (lambda m: m.update({"000002.json": b'{"label": "c9"}'}), r"the clip 000002: the label 'c9' is none of"),
    (lambda m: [m.pop(f"000009.{e}") for e in ("flac", "json")], r"train-00000\.tar is cut off: it holds 9 clips, but should hold 10")])
def test_a_fault_is_named(shards, tmp_path, change, message):
    with pytest.raises(ValueError, match=message): labels(stream(damaged(shards, tmp_path, change)).train)


@pytest.mark.parametrize("change, message", [
    (lambda m: m.update({"000001.json": b"{label"}), r"train-00000\.tar: the clip 000001: Expecting property name"),
    (lambda m: m.update({"000001.json": b"[1]"}), r"the clip 000001 has no label"),
    (lambda m: m.update({"000001.cls": b"\xff"}), r"the clip 000001: 'utf-8' codec"),
    (lambda m: m.update({"000001.wav": m["000001.flac"]}), r"the clip 000001 has 2 sounds, not one: its files end in flac, json, wav"),
    (lambda m: m.update({"000001.left": m.pop("000001.flac")}), r"the clip 000001 has 0 sounds, not one")])
def test_a_clip_of_others_that_is_incomplete_is_named(shards, tmp_path, change, message):
    def sort(members):
        change(members)
        for name in sorted(members): members[name] = members.pop(name)
    with pytest.raises(ValueError, match=message): [*shard_clips(damaged(shards, tmp_path, sort)/"train-00000.tar")]


def test_a_shard_that_tar_has_written(tmp_path):
    "Folders, files that belong to no clip, labels in files of their own, other members beside a sound"
    folder = tmp_path/"clips.v1"
    for i, label in enumerate(("dog", "cat")):
        (folder/label).mkdir(parents=True)
        sf.write(folder/label/"1.FLAC", np.full(100, 0.1*i), 16000, format="FLAC")
        (folder/label/"1.cls").write_text(f"{label}\n")
        (folder/label/"1.txt").write_text("a transcript")
        (folder/label/"._1.FLAC").write_text("of another system")
    (folder/"README").write_text("no clip")
    with tarfile.open(tmp_path/"x.tar", "w") as tar: tar.add(folder, "./clips.v1")
    found = {name.split(": ")[1]: label for name, sound, label in shard_clips(tmp_path/"x.tar", 2)}
    assert found == {"the clip ./clips.v1/dog/1": "dog", "the clip ./clips.v1/cat/1": "cat"}
    dls = stream_loaders([(str(tmp_path/"x.tar"), 2)], [(str(tmp_path/"x.tar"), 2)], ["cat", "dog"], SETTINGS, 0.1, bs=2,
                         device="cpu")
    assert sorted(*labels(dls.train)) == [0, 1]
    with pytest.raises(FileNotFoundError, match=r"has no shards\.json, as `write_shards` writes it"): find_shards(tmp_path)


@pytest.mark.parametrize("left", [0.3, 0.77])
def test_a_truncated_shard_is_named(shards, tmp_path, left):
    folder = damaged(shards, tmp_path, lambda m: None)
    data = (folder/"train-00000.tar").read_bytes()
    (folder/"train-00000.tar").write_bytes(data[:int(left*len(data))])
    with pytest.raises(AudioError, match=r"train-00000\.tar.* is cut off"): list(shard_clips(folder/"train-00000.tar", 10))


# ------------------------------------------------------------------------------------------------------------ Parquet

def parquet(table, path, names=None):
    "The file that `datasets` would write: sounds as bytes, labels as numbers with names or as text"
    pa, pq = map(pytest.importorskip, ("pyarrow", "pyarrow.parquet"))
    audio = [dict(bytes=open(p, "rb").read(), path=p.rsplit("/", 1)[1]) for p in table.path]
    label = [None if pd.isna(l) else l for l in table.label] if names is None else [names.index(l) for l in table.label]
    made = pa.table(dict(audio=audio, label=label))
    about = dict(info=dict(features=dict(label=dict(names=names, _type="ClassLabel")))) if names else {}
    pq.write_table(made.replace_schema_metadata({"huggingface": json.dumps(about)}), path, row_group_size=16)
    return path, len(table)


@pytest.mark.parametrize("names", [None, ["c2", "c1", "c0"]])
def test_parquet_gives_what_shards_give(table, shards, tmp_path, names):
    train = parquet(table[~table.valid], f"{tmp_path}/train.parquet", names)
    valid = parquet(table[table.valid], f"{tmp_path}/valid.parquet", names)
    dls = stream_loaders([train], [valid], ["c0", "c1", "c2"], SETTINGS, SECONDS, bs=8, device="cpu")
    want = sorted(zip(levels(stream(shards).valid), sum(labels(stream(shards).valid), [])))
    assert sorted(zip(levels(dls.valid), sum(labels(dls.valid), []))) == want
    assert len(levels(dls.train)) == 48


def test_bad_parquet(table, tmp_path):
    file, n = parquet(table, f"{tmp_path}/a.parquet")
    data = open(file, "rb").read()
    open(f"{tmp_path}/cut.parquet", "wb").write(data[:len(data)//2])
    with pytest.raises(AudioError, match=r"cut\.parquet is cut off"): list(parquet_clips(f"{tmp_path}/cut.parquet"))
    with pytest.raises(ValueError, match=r"a\.parquet has no column 'sound', only \['audio', 'label'\]"):
        list(parquet_clips(file, audio="sound"))
    hole, _ = parquet(table.assign(label=[None, *table.label[1:]]), f"{tmp_path}/hole.parquet")
    with pytest.raises(ValueError, match=r"hole\.parquet: row 0 has no label"): list(parquet_clips(hole))
