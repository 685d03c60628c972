"What tests/test_together.py runs in several processes, and in one to compare: `torchrun processes.py FOLDER OUT`"
import hashlib, json, sys
from pathlib import Path

import torch
from fastai.vision.all import (SGD, CategoryBlock, DataBlock, F1Score, Learner, RandomSplitter, accuracy, num_distrib,
                               rank_distrib, set_seed)
from torch import nn

from audio_tutorial.augment import Gain
from audio_tutorial.classifier import AudioClassifier
from audio_tutorial.files import get_audio_files
from audio_tutorial.folders import ParentSplitter
from audio_tutorial.learner import AudioBlock, AudioDL, audio_learner, in_memory
from audio_tutorial.mel import MelSettings
from audio_tutorial.shards import find_shards, stream_loaders
from audio_tutorial.together import train_together
from audio_tutorial.transforms import BatchTransform

SETTINGS, SECONDS = MelSettings(n_mels=32), 0.25
read, plain = [], AudioDL.create_item


def create_item(self, i):
    if i is not None: read.append((self.dataset.split_idx, self.dataset.items[i].stem))
    return plain(self, i)


class FirstGain(Gain):
    "Keeps what it draws first"
    first = None
    def draw(self, x):
        drawn = super().draw(x)
        self.first = self.first or drawn["gain"].tolist()
        return drawn


def label(path): return path.stem.split("-")[1]


def digest(model):
    return hashlib.sha256(b"".join(t.cpu().numpy().tobytes() for t in model.state_dict().values())).hexdigest()


def loaders(folder, bs, n=None, splitter=ParentSplitter("train", "valid"), tfms=()):
    set_seed(1)
    def files(folder):
        found = get_audio_files(folder)
        train = [f for f in found if f.parent.name == "train"]
        return train[:n] + [f for f in found if f.parent.name == "valid"]
    block = DataBlock(blocks=(AudioBlock(SETTINGS, SECONDS), CategoryBlock), get_items=files, get_y=label,
                      splitter=splitter, batch_tfms=list(tfms))
    return block.dataloaders(folder, bs=bs, num_workers=0, device=torch.device("cpu"))


def quiet(learn):
    learn.remove_cbs([cb for cb in learn.cbs if cb.name == "progress"]).logger = lambda *_: None
    return learn


def exact(folder, n, bs):
    "A network without batch normalisation, dropout and augmentation, on every clip"
    dls = loaders(folder, bs, n)
    dls.loaders[0] = dls.train.new(drop_last=False)
    net = nn.Sequential(nn.Conv2d(1, 6, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3))
    learn = quiet(Learner(dls, net, opt_func=SGD, lr=0.1, metrics=[accuracy, F1Score(average="macro")]))
    read.clear()
    with train_together(learn, 3): learn.fit(2)
    assert learn.model is net and type(learn.dls.train) is AudioDL and not hasattr(learn.dls.train, "divided")
    return dict(weights=[p.tolist() for p in net.parameters()], digest=digest(net), read=read[:],
                losses=[float(x) for x in learn.recorder.losses],
                values=[list(map(float, v)) for v in learn.recorder.values])


def whole(folder, out):
    "The network and the augmentations of a reader; what rank 0 saves alone"
    gain, own = FirstGain(), FirstGain((-1, 1), seed=5)
    dls = in_memory(loaders(folder, 6, tfms=[BatchTransform(gain), BatchTransform(own)]))
    learn = quiet(audio_learner(dls, "plain_cnn", pretrained=False, metrics=accuracy, lr=1e-2))
    with train_together(learn, 3):
        learn.freeze()
        learn.fit(1)
        learn.unfreeze()
        learn.fit_one_cycle(2)
    drawn = [g.first for g in (gain, own)]
    if rank_distrib() == 0: AudioClassifier.from_learner(learn).save(out/f"model{max(1, num_distrib())}")
    alone = learn.validate()
    return dict(digest=digest(learn.model), drawn=drawn, figures=learn.figures, alone=list(map(float, alone)))


def streams(shards):
    set_seed(1)
    seen = []
    dls = stream_loaders(**find_shards(shards), settings=SETTINGS, duration=SECONDS, bs=4, device="cpu", buffer=8)
    item = dls.train.dataset.item
    dls.train.dataset.item = lambda clip: seen.append(clip[0]) or item(clip)
    learn = quiet(audio_learner(dls, "plain_cnn", pretrained=False, metrics=accuracy, lr=1e-2))
    with train_together(learn, 3): learn.fit(2)
    return dict(seen=seen, digest=digest(learn.model), values=[list(map(float, v)) for v in learn.recorder.values])


def refused(folder, **kwargs):
    "The message, and whether the learner is as it was"
    dls = loaders(folder, **kwargs)
    learn = quiet(audio_learner(dls, "plain_cnn", pretrained=False, metrics=accuracy))
    model, before = learn.model, list(dls.loaders)
    try:
        with train_together(learn, 3): learn.fit(1)
    except ValueError as e: return [str(e), learn.model is model and list(dls.loaders) == before and
                                    not any(cb.name == "together" for cb in learn.cbs)]


def unequal_split(folder):
    "A split that each process draws for itself"
    return refused(folder, bs=4, splitter=RandomSplitter(0.3, seed=rank_distrib()))


def everything(folder, out):
    AudioDL.create_item = create_item
    try: return dict(
        exact={f"{n} {bs}": exact(folder, n, bs) for n, bs in ((23, 5), (21, 4), (3, 2))}, whole=whole(folder, out),
        streams=streams(out/"shards"), small_batch=refused(folder, bs=1), few_clips=refused(folder, bs=4, n=3),
        split=unequal_split(folder))
    finally: AudioDL.create_item = plain


if __name__ == "__main__":
    folder, out = map(Path, sys.argv[1:3])
    if sys.argv[3:] == ["broken"]: refused(folder, bs=4)
    else: (out/f"{rank_distrib()}.json").write_text(json.dumps(everything(folder, out)))
