"Whether a batch is for training is fastai's to say: every loader, with transforms of this package and of others"
import pickle
import random

import numpy as np
import pytest
import soundfile as sf
import torch
from fastai.vision.all import (Callback, CategoryBlock, DataBlock, DataLoaders, Interpretation, Learner, RandomSplitter,
                               TfmdDL, parent_label, set_seed)
from torch import nn

from audio_tutorial.augment import FrequencyMask, Gain, MixUp, Noise, Speed, TimeMask
from audio_tutorial.files import get_audio_files
from audio_tutorial.learner import AudioBlock, LookBack, in_memory, in_order
from audio_tutorial.transforms import BatchTransform, TensorSpectrogram
from audio_tutorial.mel import MelSettings

SETTINGS, RATE, N = MelSettings(n_mels=32, hop_length=512), 16000, 20
anywhere = np.random.default_rng(3) # random numbers that no state of torch, numpy or Python shows


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    "Two classes, 20 clips of 1 s, no two samples alike"
    root, rng = tmp_path_factory.mktemp('clips'), np.random.default_rng(0)
    for i in range(N):
        (root/'ab'[i % 2]).mkdir(exist_ok=True)
        sf.write(root/'ab'[i % 2]/f'{i:02}.wav', 0.1*rng.normal(size=RATE), RATE)
    return root


class Foreign(nn.Module):
    "What somebody else wrote: draws where it likes and does not know evaluation mode"
    def __init__(self, draw):
        super().__init__()
        self.draw = draw

    def forward(self, x): return x*(1 + float(self.draw()))


class InPlace(nn.Module):
    "Changes the very batch that it is given"
    def forward(self, x): return x.mul_(1 + torch.rand(1).item())


class Seldom(nn.Module):
    "Acts on a few batches only"
    def forward(self, x): return x*2 if random.random() < 0.3 else x


def torchaudios(name, *args):
    def make():
        try: from torchaudio import transforms
        except (ImportError, OSError) as e: pytest.skip(f'torchaudio cannot be imported: {e}')
        return BatchTransform(getattr(transforms, name)(*args), 60)
    return make


TRANSFORMS = {
    'Noise': lambda: BatchTransform(Noise(snr_db=0, p=1)),
    'Gain': lambda: BatchTransform(Gain()),
    'Speed': lambda: BatchTransform(Speed((0.8, 1.25), p=1)),
    'TimeMask': lambda: BatchTransform(TimeMask((0.2, 0.5), p=1)),
    'FrequencyMask': lambda: BatchTransform(FrequencyMask((0.2, 0.5), p=1)),
    'drawn by torch': lambda: BatchTransform(Foreign(lambda: torch.rand(1))),
    'drawn by torch, later': lambda: BatchTransform(Foreign(lambda: torch.rand(1)), 60),
    'drawn by numpy': lambda: BatchTransform(Foreign(np.random.rand)),
    'drawn by Python': lambda: BatchTransform(Foreign(random.random)),
    'drawn by a generator': lambda: BatchTransform(Foreign(anywhere.random)),
    'in place': lambda: BatchTransform(InPlace()),
    'in a sequence': lambda: BatchTransform(nn.Sequential(Gain(), Foreign(anywhere.random))),
    'dropout': lambda: BatchTransform(nn.Dropout(0.5), 60),
    'named': lambda: BatchTransform(Foreign(lambda: 0.5), train_only=True),
    'FrequencyMasking of torchaudio': torchaudios('FrequencyMasking', 20),
    'TimeMasking of torchaudio': torchaudios('TimeMasking', 20),
}


def block(tfms=(), duration=1):
    return DataBlock(blocks=(AudioBlock(SETTINGS, duration), CategoryBlock), get_items=get_audio_files,
                     get_y=parent_label, splitter=RandomSplitter(0.3, seed=1), batch_tfms=list(tfms))


def of_sets(folder, b):
    "Loaders as fastai makes them from two data sets"
    sets = b.datasets(folder)
    return DataLoaders.from_dsets(sets.train, sets.valid, bs=6, num_workers=0, after_batch=b.batch_tfms)


def partial(folder, b):
    return b.datasets(folder).partial_dataloaders(12, bs=6, num_workers=0, after_batch=b.batch_tfms,
                                                  after_item=b.item_tfms)


LOADERS = {
    'dataloaders': lambda f, b: b.dataloaders(f, bs=6, num_workers=0),
    'in order': lambda f, b: b.dataloaders(f, bs=6, num_workers=0, shuffle=False),
    'validation in any order': lambda f, b: b.dataloaders(f, bs=6, num_workers=0, val_shuffle=True),
    'weighted': lambda f, b: b.weighted_dataloaders(f, np.ones(N), bs=6, num_workers=0),
    'partial': partial,
    'from_dsets': of_sets,
    'a plain TfmdDL': lambda f, b: b.datasets(f).dataloaders(bs=6, num_workers=0, dl_type=TfmdDL,
                                                             after_batch=b.batch_tfms),
    'in_memory': lambda f, b: in_memory(b.dataloaders(f, bs=6, num_workers=0)),
}


def by_clip(batches):
    "Spectrograms, sorted by the labels and sounds that belong to them, so that order does not count"
    x = torch.cat([b[0].as_subclass(torch.Tensor).flatten(1) for b in batches])
    return x[np.lexsort(x.numpy().T[::-1])]


class Net(nn.Module):
    "A network that keeps what it was given"
    def __init__(self):
        super().__init__()
        self.last, self.seen = nn.Linear(1, 2), []

    def forward(self, x):
        self.seen.append((x.detach().as_subclass(torch.Tensor).clone(),))
        return self.last(x.mean((2, 3)))

    def given(self, use):
        self.seen.clear()
        use()
        return by_clip(self.seen)


@pytest.mark.parametrize('transform', TRANSFORMS)
@pytest.mark.parametrize('loaders', LOADERS)
def test_acts_in_training_and_nowhere_else(folder, loaders, transform):
    dls, plain = (LOADERS[loaders](folder, block(t)) for t in ([TRANSFORMS[transform]()], []))
    expected = by_clip(plain.valid)
    for _ in range(2): assert torch.equal(by_clip(dls.valid), expected)
    files, known = dls.valid_ds.items, by_clip(in_order(plain.train))
    assert torch.equal(by_clip(dls.test_dl(files)), expected)
    assert torch.equal(by_clip(in_order(dls.train)), known)

    learn = Learner(dls, Net())
    with learn.no_bar(), learn.no_logging():
        trained = learn.model.given(lambda: learn.fit(1))[:-len(files)]
        assert not any((row == clean).all() for row in trained for clean in known), 'every clip is changed in training'
        for use in (learn.validate, learn.get_preds, lambda: learn.get_preds(dl=dls.test_dl(files))):
            assert torch.equal(learn.model.given(use), expected)
        for use in (lambda: learn.get_preds(ds_idx=0), lambda: learn.get_preds(dl=in_order(dls.train)),
                    lambda: Interpretation.from_learner(learn, ds_idx=0)):
            assert torch.equal(learn.model.given(use), known)
        learn.model.given(lambda: learn.tta(n=2))
        seen = torch.cat([x.flatten(1) for x, in learn.model.seen])
        augmented, last = seen[:-len(files)], by_clip([(seen[-len(files):],)])
        assert len(seen) == 3*len(files) and torch.equal(last, expected), 'the last pass is not augmented'
        assert not any((row == clean).all() for row in augmented for clean in expected), 'the others are'
        assert torch.equal(by_clip(dls.valid), expected), 'and nothing was left switched on'


@pytest.mark.parametrize('loaders', LOADERS)
def test_crops_are_random_in_training_and_central_elsewhere(folder, loaders):
    dls = LOADERS[loaders](folder, block(duration=0.25))
    middle = {sf.read(f, dtype='float32')[0][6000:10000].tobytes() for f in get_audio_files(folder)}
    def central(dl): return [w.numpy().tobytes() in middle for x, *_ in dl for w in x.waveform.as_subclass(torch.Tensor)]
    assert sum(central(dls.train)) <= 1
    for dl in dls.valid, dls.test_dl(get_audio_files(folder)), in_order(dls.train): assert all(central(dl))
    learn = Learner(dls, Net())
    with learn.no_bar(), learn.no_logging():
        x, *_ = learn.get_preds(ds_idx=0, with_input=True)
        assert torch.equal(learn.get_preds(ds_idx=0, with_input=True)[0], x) and len(x) == 14
        several = learn.model.given(lambda: learn.tta(n=2, ds_idx=0))
        assert len({row.numpy().tobytes() for row in several}) > 2*len(x), 'test-time augmentation crops anew'
    assert sum(central(dls.train)) <= 1, 'training goes on as before'


def test_workers_know_it_too(folder):
    dls = block(duration=0.25).dataloaders(folder, bs=6, num_workers=1)
    assert torch.equal(by_clip(dls.valid), by_clip(dls.valid))
    assert not torch.equal(by_clip(dls.train), by_clip(dls.train))
    assert torch.equal(by_clip(in_order(dls.train)), by_clip(in_order(dls.train)))


def test_what_draws_nothing_acts_always(folder):
    "A filter or a normalisation belongs to validation, too, unless it is said not to"
    class Half(nn.Module):
        def forward(self, x): return x/2
    plain = by_clip(block().dataloaders(folder, bs=6, num_workers=0).valid)
    for tfm, factor in ((BatchTransform(Half(), 60), 0.5), (BatchTransform(Half(), 60, train_only=True), 1),
                        (BatchTransform(Foreign(lambda: -0.5), 60, train_only=False), 0.5)):
        dls = block([tfm]).dataloaders(folder, bs=6, num_workers=0)
        assert torch.equal(by_clip(dls.valid), plain*factor)
        assert dls.train.one_batch()[0].abs().max() <= 0.5


def test_a_module_that_changes_the_shape_gets_the_same_numbers_each_time(folder):
    class Window(nn.Module):
        def forward(self, x): return x[..., :16] if random.random() < 0.5 else x[..., -16:]
    dls = block([BatchTransform(Window(), 60)]).dataloaders(folder, bs=6, num_workers=0)
    first = by_clip(dls.valid)
    for _ in range(5): assert torch.equal(by_clip(dls.valid), first) and first.shape[1] == 32*16


def test_validation_takes_no_random_numbers_from_training(folder):
    dls = block([BatchTransform(Foreign(lambda: torch.rand(1) + np.random.rand() + random.random()))
                 ]).dataloaders(folder, bs=6, num_workers=0)
    plain, after = block().dataloaders(folder, bs=6, num_workers=0), []
    for loaders in plain, dls: # a loader draws a number of its own when it starts
        set_seed(1)
        list(loaders.valid)
        after.append((random.random(), np.random.rand(), torch.rand(1).item()))
    assert after[0] == after[1]


def test_acting_seldom_is_no_excuse(folder):
    dls = block([BatchTransform(Seldom(), 60)]).dataloaders(folder, bs=2, num_workers=0)
    plain = by_clip(block().dataloaders(folder, bs=2, num_workers=0).valid)
    for _ in range(10): assert torch.equal(by_clip(dls.valid), plain)


@pytest.mark.parametrize('loaders', ['dataloaders', 'weighted', 'a plain TfmdDL'])
def test_16_bit_files_beside_others_in_any_loader(tmp_path, loaders):
    rng, clean = np.random.default_rng(0), {}
    for i in range(N):
        file = tmp_path/'ab'[i % 2]/f'{i:02}.wav'
        file.parent.mkdir(exist_ok=True)
        sf.write(file, 0.1*rng.normal(size=RATE), RATE, ['PCM_16', 'FLOAT'][i//2 % 2])
        clean[sf.read(file, dtype='float32')[0].tobytes()] = file
    dls = LOADERS[loaders](tmp_path, block())
    for x, _ in [*dls.train, *dls.valid]:
        assert isinstance(x, TensorSpectrogram)
        for wave in x.waveform: assert wave.numpy().tobytes() in clean


def test_mixing_is_for_training_alone(folder):
    dls, plain = (block().dataloaders(folder, bs=6, num_workers=0) for _ in range(2))
    learn = Learner(dls, Net(), cbs=MixUp())
    known = by_clip(in_order(plain.train))
    with learn.no_bar(), learn.no_logging():
        learn.fit(1)
        for use in (lambda: learn.get_preds(ds_idx=0), lambda: learn.validate(dl=in_order(dls.train))):
            assert torch.equal(learn.model.given(use), known)
        seen = learn.model.given(lambda: learn.validate(ds_idx=0)) # of a loader that drops its last clips
        assert all(any(torch.equal(row, clean) for clean in known) for row in seen)


def test_a_validation_that_fails_leaves_training_as_it_was(folder):
    dls = block(duration=0.25).dataloaders(folder, bs=6, num_workers=0)
    learn = Learner(dls, Net())
    class Fail(Callback):
        def before_batch(self): raise OSError('gone')
    with learn.no_bar(), learn.no_logging():
        with pytest.raises(OSError, match='gone'): learn.get_preds(ds_idx=0, cbs=Fail())
    assert dls.train_ds.split_idx == 0


def test_learners_of_pictures_are_left_alone(tmp_path):
    "The callback that joins every learner asks for clips, and a stored learner does not need this package for it"
    learn = Learner(DataLoaders.from_dsets([(torch.zeros(1), 0)]*4, [(torch.zeros(1), 0)]*4, bs=2),
                    nn.Linear(1, 2), loss_func=nn.CrossEntropyLoss(), path=tmp_path)
    with learn.no_bar(), learn.no_logging(): learn.get_preds(ds_idx=0)
    assert b'audio_tutorial' not in pickle.dumps(LookBack())
