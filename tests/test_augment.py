"Augmentations: one rule for all of them, and for each what it does to a sound"
import copy
import inspect
import math
import pickle
from fractions import Fraction
from functools import partial

import librosa
import numpy as np
import pytest
import torch
from fastai.vision.all import (Callback, CategoryBlock, CrossEntropyLossFlat, DataBlock, FocalLossFlat,
                               LabelSmoothingCrossEntropy, LabelSmoothingCrossEntropyFlat, Learner, Tensor, get_files,
                               load_learner, noop, set_seed)
from torch import nn
from torch.nn import functional as F

from audio_tutorial import augment, techniques
from audio_tutorial.augment import (Augmentation, Background, BandPass, CutOut, Equaliser, FrequencyMask, Gain, MixClips,
                                    MixUp, Noise, PitchShift, Polarity, RandomCrop, Room, Shift, Speed, TimeMask,
                                    TimeStretch, _phase_vocoder, _speed, default_augmentations)
from audio_tutorial.batches import MelSpectrogram
from audio_tutorial.clips import compare, example_clip, load_clip
from audio_tutorial.learner import AudioBlock, in_memory
from audio_tutorial.transforms import BatchTransform
from audio_tutorial.mel import MelSettings
from audio_tutorial.folders import ParentSplitter
from audio_tutorial.notes import family, make_notes
from audio_tutorial.pretrain import SeveralLabels
from audio_tutorial.techniques import Fall, Staccato, Technique

SETTINGS, RATE = MelSettings(hop_length=512), 16000
BASES = {Augmentation, Technique}
ALL = [c for room in (augment, techniques) for c in map(room.__dict__.get, room.__all__)
       if isinstance(c, type) and issubclass(c, Augmentation) and c not in BASES]
NEEDED = {RandomCrop: dict(n_samples=6000), # arguments without a default, and what acts within half a second
          Fall: dict(start=(0.05, 0.2)), Staccato: dict(hold=(0.1, 0.3)),
          Background: dict(clips=[torch.sin(torch.arange(3000)*0.3), torch.rand(500, generator=torch.Generator())])}
each = pytest.mark.parametrize('cls', ALL, ids=lambda c: c.__name__)
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason='no CUDA device on this machine')


def make(cls, p=1.0, **kwargs): return cls(**NEEDED.get(cls, {}) | dict(p=p) | kwargs)


def clips(n=8, n_samples=8000):
    "Harmonic sounds of other pitch and loudness each, with a little noise"
    t, g = torch.arange(n_samples)/RATE, torch.Generator().manual_seed(5)
    pitches = 150*2**(torch.arange(n)/3)[:, None]
    x = sum(torch.sin(2*torch.pi*k*pitches*t)/k for k in (1, 2, 3, 4))*torch.exp(-2*t)
    return (x/4 + 0.01*torch.randn(n, n_samples, generator=g))*torch.linspace(0.1, 1, n)[:, None]


def batch(cls, **kwargs):
    "What a class takes: waveforms, or spectrograms"
    return clips(**kwargs) if cls.n_dims == 2 else MelSpectrogram(SETTINGS)(clips(**kwargs))


def unchanged(cls, x): return x[:, 1000:7000] if cls is RandomCrop else x # the middle


# ------------------------------------------------------------------------------------------------------ one rule for all

def test_every_augmentation_is_tested_here():
    "A new one cannot escape: it is exported, so it is in `ALL`, and the module has no others"
    own = {c for room in (augment, techniques) for c in vars(room).values()
           if inspect.isclass(c) and issubclass(c, Augmentation) and not c.__name__.startswith('_')}
    assert set(ALL) == own - BASES and len(ALL) >= 22


@each
def test_off_outside_training(cls):
    x, aug = batch(cls), make(cls).eval()
    assert torch.equal(aug(x), unchanged(cls, x)) and aug.drawn is None


@each
def test_on_in_training(cls):
    x = batch(cls)
    plain = unchanged(cls, x)
    def changed(p): return (make(cls, p, seed=1)(x) != plain).flatten(1).any(1).float().mean()
    assert changed(1) > 0.6 and changed(0) == 0 and 0 < changed(0.5) < 1


@each
def test_same_seed_same_result_other_seed_another(cls):
    x = batch(cls)
    def two_batches(seed):
        aug = make(cls, 0.5, seed=seed)
        return torch.stack([aug(x), aug(x)])
    assert torch.equal(two_batches(3), two_batches(3)) and not torch.equal(two_batches(3), two_batches(4))
    assert not torch.equal(*two_batches(3))
    def globally(seed):
        torch.manual_seed(seed)
        return make(cls, 0.5)(x)
    assert torch.equal(globally(3), globally(3)) and not torch.equal(globally(3), globally(4))


@each
def test_a_seed_leaves_torchs_random_numbers_alone(cls):
    before = torch.get_rng_state()
    make(cls, seed=1)(batch(cls))
    assert torch.equal(before, torch.get_rng_state())


@each
def test_each_clip_has_a_draw_of_its_own(cls):
    x, aug = batch(cls), make(cls, 0.5 if cls.draw is Augmentation.draw else 1, seed=1)
    y = aug(x[:1].expand_as(x))
    if cls is MixClips: y = aug.drawn['share'][:, None] # equal clips mixed are equal
    assert (y != y[:1]).flatten(1).any(1).sum() > 1
    assert all(len(v) == len(x) for v in aug.drawn.values()), 'a row per clip'


@each
@pytest.mark.parametrize('dtype', [torch.float64, torch.float16, torch.bfloat16], ids=str)
def test_type_shape_and_numbers_stay(cls, dtype):
    x = batch(cls).to(dtype)
    y, reference = make(cls, seed=1)(x), make(cls, seed=1)(x.float())
    assert y.dtype == dtype and y.shape == unchanged(cls, x).shape and y.device == x.device
    error = (y.float() - reference).abs().max()/reference.abs().max()
    assert error < {torch.float64: 1e-3, torch.float16: 2e-3, torch.bfloat16: 1e-2}[dtype]


@needs_cuda
@each
def test_draws_and_stays_on_a_gpu(cls):
    x = batch(cls).cuda()
    aug = make(cls, seed=1).cuda()
    y = aug(x)
    assert y.is_cuda and all(v.is_cuda for v in aug.drawn.values()) and torch.equal(y, make(cls, seed=1).cuda()(x))
    on_cpu = make(cls)
    on_cpu.drawn = {k: v.cpu() for k, v in aug.drawn.items()}
    assert torch.allclose(on_cpu.freeze()(x.cpu()), y.cpu(), atol=2e-3)


@each
def test_finite_on_silence_and_full_scale(cls):
    like = batch(cls)
    full = torch.ones_like(like)
    full[..., ::2] = -1
    for x in torch.zeros_like(like), full, -full: assert make(cls, seed=1)(x).isfinite().all()
    if cls.n_dims == 2: assert make(cls, seed=1)(torch.zeros_like(like)).abs().max() == 0, 'silence stays silent'


@each
@pytest.mark.parametrize('n_samples', [1, 37, 4001])
def test_any_length(cls, n_samples):
    x = batch(cls, n=3, n_samples=n_samples)
    y = make(cls, seed=1)(x)
    assert y.isfinite().all() and (cls is RandomCrop or y.shape == x.shape)


@each
def test_input_is_left_alone(cls):
    x = batch(cls)
    before = x.clone()
    y = make(cls, seed=1)(x)
    y += 1
    assert torch.equal(x, before)


@each
def test_an_item_is_a_batch_of_one(cls):
    x = batch(cls)
    assert torch.equal(make(cls, seed=1)(x[2]), make(cls, seed=1)(x[2:3])[0])
    assert torch.equal(make(cls).eval()(x[2]), unchanged(cls, x)[2])


@each
def test_a_clip_does_not_depend_on_its_neighbours(cls):
    if cls is MixClips: return # its very purpose
    x, aug = batch(cls), make(cls, seed=1)
    y = aug(x)
    for i in range(len(x)):
        alone = make(cls)
        alone.drawn = {k: v[i:i + 1] for k, v in aug.drawn.items()}
        assert torch.allclose(alone.freeze()(x[i:i + 1])[0], y[i], atol=1e-6)


@each
def test_a_frozen_draw_is_replayed(cls):
    x, aug = batch(cls), make(cls, 0.5, seed=1)
    y = aug(x)
    other = x.flip(0)
    assert torch.equal(aug.freeze()(x), y) and torch.equal(aug(other), aug(other))
    by_hand = torch.where(aug.drawn['on'].view(-1, *[1]*(x.ndim - 1)), aug.transform(other, aug.drawn),
                          unchanged(cls, other))
    assert torch.equal(aug(other), by_hand)
    for another in x[:3], x[..., :9]:
        with pytest.raises(ValueError, match='draw for a batch of .*8, .*freeze'): aug(another)
    assert not torch.equal(aug.freeze(False)(x), y)
    assert torch.equal(aug.eval().freeze()(x), unchanged(cls, x))


@each
def test_can_be_copied_and_stored(cls):
    x, used = batch(cls), make(cls, 0.5, seed=1)
    used(x)
    for again in pickle.loads(pickle.dumps(used)), copy.deepcopy(used):
        assert again.drawn is None and torch.equal(again(x), make(cls, 0.5, seed=1)(x))
    assert len(pickle.dumps(used)) < 100_000
    assert 'p=0.5' in repr(used)


@each
def test_wrong_input_is_refused(cls):
    x, aug = batch(cls), make(cls)
    with pytest.raises(ValueError, match=f'{cls.__name__} takes a batch of shape'): aug(x[None, None])
    with pytest.raises(ValueError, match='int16.*to_float'): aug(x.to(torch.int16))
    with pytest.raises(ValueError, match='p must be'): make(cls, 1.5)


def test_another_rate_is_refused():
    x = clips().as_subclass(Tensor)
    x.sample_rate = 44100
    for cls in Noise, Room, BandPass, Equaliser:
        with pytest.raises(ValueError, match=f'44100 Hz, {cls.__name__} one of 16000'): make(cls)(x)
        make(cls, sample_rate=44100)(x)


@pytest.mark.parametrize('wrong', [lambda: Gain((6, -6)), lambda: Noise(colour='blue'), lambda: Shift((0, 3)),
    lambda: Background([]), lambda: Background([torch.zeros(2, 9)]), lambda: Room([torch.zeros(9)]), lambda: Speed([0]),
    lambda: BandPass(low=0), lambda: BandPass(low=5000, high=100), lambda: MixClips(0)])
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError): wrong()


# --------------------------------------------------------------------------------------------------------- within fastai

class Look(nn.Module):
    "Keeps what it was given"
    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, x):
        self.seen.append(x.detach().as_subclass(Tensor).clone())
        return x


class Tiny(nn.Module):
    "The smallest network, which keeps what it was given"
    def __init__(self, n_out):
        super().__init__()
        self.look, self.last = Look(), nn.Linear(16, n_out)

    def forward(self, x): return self.last(nn.functional.adaptive_avg_pool2d(self.look(x), 4).flatten(1))


@pytest.fixture(scope='module')
def notes(tmp_path_factory): return make_notes(tmp_path_factory.mktemp('notes')/'made', 24, 10, seed=0, progress=False)


def learner(notes, batch_tfms=None, cbs=None, **kwargs):
    dls = DataBlock(blocks=(AudioBlock(SETTINGS, 0.5), CategoryBlock), splitter=ParentSplitter(), get_y=family,
                    get_items=lambda p: sorted(get_files(p, extensions='.wav')), batch_tfms=batch_tfms
                    ).dataloaders(notes, bs=8, num_workers=0, device=torch.device('cpu'))
    learn = Learner(dls, Tiny(dls.c), cbs=cbs, **kwargs)
    learn.remove_cbs([cb for cb in learn.cbs if cb.name in ('progress', 'recorder')])
    return learn


def seen(learn, use):
    "What the network was given while the learner was used"
    learn.model.look.seen.clear()
    with learn.no_bar(), learn.no_logging(): use(learn)
    return torch.cat(learn.model.look.seen)


USES = dict(validation=lambda learn: learn.validate(), predictions=lambda learn: learn.get_preds(),
            training_set=lambda learn: learn.get_preds(ds_idx=0), one=lambda learn: learn.predict(learn.dls.train.items[0]),
            many=lambda learn: learn.get_preds(dl=learn.dls.test_dl(learn.dls.train.items)))


@each
def test_off_wherever_fastai_does_not_train(notes, cls):
    learn, plain = learner(notes, [BatchTransform(make(cls))]), learner(notes)
    if cls is RandomCrop: plain = learner(notes, [BatchTransform(Crop())])
    learn.fit(1)
    for name, use in USES.items(): assert torch.equal(seen(learn, use), seen(plain, use)), name


class Crop(nn.Module):
    "The middle, always"
    def forward(self, x): return unchanged(RandomCrop, x)


@each
def test_on_when_fastai_trains(notes, cls):
    module, look = make(cls, seed=1), Look()
    learn = learner(notes, [BatchTransform(look, cls.order - 1), BatchTransform(module)])
    look.seen.clear() # fastai tries out its transforms on one clip
    learn.fit(1)
    given, got = torch.cat(look.seen[:3]), torch.cat(learn.model.look.seen[:3])
    plain = unchanged(cls, given)
    if cls.n_dims == 2: plain = MelSpectrogram(SETTINGS)(plain)
    assert torch.allclose(got, plain, atol=1e-4) == (cls is Polarity) # which a spectrogram does not show
    assert module.drawn is not None and len(got) == 24


@each
def test_two_of_a_kind_both_act_in_order(notes, cls):
    before, after, first, second = Look(), Look(), make(cls, seed=1), make(cls, seed=2)
    learn = learner(notes, [BatchTransform(before, cls.order - 1), BatchTransform(first), BatchTransform(second),
                            BatchTransform(after, cls.order + 1)])
    learn.dls.train.one_batch()
    x, y = before.seen[-1], after.seen[-1]
    assert torch.equal(y, second.freeze()(first.freeze()(x)))
    assert not torch.equal(y, unchanged(cls, first(x))) and not torch.equal(y, second(unchanged(cls, x)))


def test_a_learner_with_all_of_them_is_stored(notes, tmp_path):
    learn = learner(notes, [BatchTransform(make(c)) for c in ALL if c is not RandomCrop], MixUp(seed=1), path=tmp_path)
    learn.fit(1)
    item = learn.dls.valid.items[0]
    with learn.no_bar(): before = learn.predict(item)[2]
    learn.export('all.pkl')
    again = load_learner(tmp_path/'all.pkl')
    with again.no_bar(): assert torch.allclose(again.predict(item)[2], before, atol=1e-6)


def test_the_default_chain_fits_into_batch_tfms(notes):
    chain = default_augmentations()
    assert all(isinstance(t, BatchTransform) for t in chain) and chain
    assert all((t.order < 50) == (t.module.n_dims == 2) for t in chain)
    learn = learner(notes, chain)
    in_memory(learn.dls)
    learn.fit(1)
    assert all(t.module.drawn is not None for t in chain)
    assert torch.equal(seen(learn, USES['validation']), seen(learner(notes), USES['validation']))


# ----------------------------------------------------------------------------------------------------------------- mix-up

class Keep(Callback):
    "Keeps predictions, labels and loss of each training batch"
    def before_fit(self): self.steps = []
    def after_loss(self):
        if self.training: self.steps.append((self.pred.detach(), self.y.clone(), self.learn.loss_grad.detach()))


def test_mixup_mixes_waveforms_and_the_loss_alike(notes):
    before, after, mix, keep = Look(), Look(), MixUp(alpha=1, seed=1), Keep()
    learn = learner(notes, [BatchTransform(before, 39), BatchTransform(after, 41)], [mix, keep])
    loss, transforms = learn.loss_func, learn.dls.train.after_batch.fs
    for look in before, after: look.seen.clear()
    learn.fit(1)
    by_hand = MixClips(alpha=1, seed=1)
    for x, mixed, (pred, y, value) in zip(before.seen, after.seen, keep.steps):
        assert torch.equal(by_hand(x), mixed)
        share, ce = by_hand.drawn['share'], nn.CrossEntropyLoss(reduction='none')
        assert torch.isclose(value, (share*ce(pred, y) + (1 - share)*ce(pred, y.roll(1))).mean(), atol=1e-5)
    assert len(keep.steps) == 3
    assert learn.loss_func is loss and learn.dls.train.after_batch.fs == transforms, 'all as it was'


def test_mixup_leaves_validation_alone_and_learns_again(notes):
    learn, plain = learner(notes, cbs=MixUp()), learner(notes)
    learn.fit(2)
    per_epoch = torch.cat(learn.model.look.seen)
    for use in USES.values(): assert torch.equal(seen(learn, use), seen(plain, use))
    assert torch.equal(per_epoch[24:34], seen(plain, USES['validation'])), 'and after the first epoch'
    learn.fit(1)


def test_mixup_can_be_interrupted(notes):
    class Stop(Callback):
        def after_batch(self): raise KeyboardInterrupt
    learn = learner(notes, cbs=MixUp())
    with pytest.raises(KeyboardInterrupt): learn.fit(1, cbs=Stop())
    learn.fit(1)
    assert not any(isinstance(t.module, MixClips) for t in learn.dls.train.after_batch.fs if hasattr(t, 'module'))


def own(scores, y): return -scores.log_softmax(1).gather(1, y[:, None]).square().mean() # knows no reduction


@pytest.mark.parametrize('loss', [CrossEntropyLossFlat(), nn.CrossEntropyLoss(), F.cross_entropy, own,
    nn.CrossEntropyLoss(label_smoothing=0.2), partial(F.cross_entropy, label_smoothing=0.2), FocalLossFlat(),
    LabelSmoothingCrossEntropy(), LabelSmoothingCrossEntropyFlat(), nn.MultiMarginLoss(),
    nn.CrossEntropyLoss(reduction='sum')], ids=lambda f: getattr(f, '__name__', type(f).__name__))
def test_mixup_takes_every_loss(notes, loss):
    mix, keep = MixUp(alpha=1, seed=1), Keep()
    learn = learner(notes, cbs=[mix, keep], loss_func=loss)
    before = getattr(loss, 'reduction', None)
    learn.fit(1)
    by_hand = MixClips(alpha=1, seed=1)
    for pred, y, value in keep.steps:
        share = by_hand.draw(pred)['share']
        def each(y): return torch.stack([loss(pred[i:i + 1], y[i:i + 1]) for i in range(len(y))])
        mixed = share*each(y) + (1 - share)*each(y.roll(1))
        assert torch.isclose(value, mixed.sum() if before == 'sum' else mixed.mean(), atol=1e-5)
    assert len(keep.steps) == 3 and learn.loss_func is loss and getattr(loss, 'reduction', None) == before


def test_mixup_weighs_classes_as_torch_does(notes):
    weights, mix, keep = torch.linspace(0.5, 2, 10), MixUp(alpha=1, seed=1), Keep()
    learn = learner(notes, cbs=[mix, keep], loss_func=CrossEntropyLossFlat(weight=weights))
    learn.fit(1)
    by_hand = MixClips(alpha=1, seed=1)
    for pred, y, value in keep.steps:
        share, hot = by_hand.draw(pred)['share'][:, None], nn.functional.one_hot(y, 10).float()
        assert torch.isclose(value, F.cross_entropy(pred, share*hot + (1 - share)*hot.roll(1, 0), weights), atol=1e-5)


def test_mixup_of_two_labels(notes):
    "With a loss that takes both and knows no reduction"
    mix, loss, steps = MixUp(alpha=1, seed=1), SeveralLabels([4, 6]), []
    class Two(Callback):
        order = -100
        def before_batch(self): self.learn.yb = self.y % 4, self.y % 6
        def after_loss(self):
            if not self.training: return
            def each(*ys): return torch.stack([loss(self.pred[i:i + 1], *(y[i:i + 1] for y in ys)) for i in range(8)])
            mixed = mix.lam*each(*self.yb) + (1 - mix.lam)*each(*(y.roll(1) for y in self.yb))
            steps.append(bool(torch.isclose(self.learn.loss_grad, mixed.mean(), atol=1e-5)))
    learner(notes, cbs=[Two(), mix], loss_func=loss).fit(1)
    assert steps == [True]*3


def test_mixup_mixes_labels_that_are_no_numbers(notes):
    class OneHot(Callback):
        order = -100
        def before_batch(self): self.learn.yb = (nn.functional.one_hot(self.y, 10).float(),)
    mix, keep = MixUp(alpha=1, seed=1), Keep()
    learn = learner(notes, cbs=[OneHot(), mix, keep], loss_func=nn.BCEWithLogitsLoss())
    learn.fit(1)
    for _, y, _ in keep.steps:
        assert torch.allclose(y.sum(1), torch.ones(8)) and ((y > 0) & (y < 1)).any()


# ------------------------------------------------------------------------------------------------------- what each one does

def tone(f, n_samples=RATE): return torch.sin(2*torch.pi*f*torch.arange(n_samples)/RATE)[None]


def loudest(x):
    "Frequency in Hz of the highest peak, by a parabola through the three highest points in dB"
    m = 20*np.log10(np.abs(np.fft.rfft(x.numpy()*np.hanning(len(x)))) + 1e-9)
    k = m.argmax()
    return (k + 0.5*(m[k-1] - m[k+1])/(m[k-1] - 2*m[k] + m[k+1]))*RATE/len(x)


def cents(f, reference): return abs(1200*np.log2(f/reference))


@pytest.mark.parametrize('semitones', range(-24, 25))
def test_pitch_ratios_are_at_most_2_cents_off(semitones):
    ratio, = PitchShift([semitones]).values
    assert cents(float(ratio), 2**(semitones/12)) < 2


def level(x): return 10*x.double().square().mean(-1).log10()


def test_crop_is_a_stretch_of_the_clip():
    x = torch.arange(1., 101).expand(2000, -1)
    y = RandomCrop(10, seed=0)(x)
    assert (y.diff() == 1).all() and set(y[:, 0].tolist()) == set(range(1, 92))
    assert RandomCrop(10).eval()(x)[0].tolist() == list(range(46, 56))
    for aug in RandomCrop(120), RandomCrop(120).eval():
        assert (aug(x)[:, :100] == x).all() and (aug(x)[:, 100:] == 0).all()


def test_shift_rolls_or_pads():
    x = torch.arange(1., 101).expand(50, -1)
    aug = Shift((-0.5, 0.5), seed=0)
    y = aug(x)
    steps = (aug.drawn['shift']*100).round().long()
    assert steps.min() < 0 < steps.max()
    for row, step in zip(y, steps): assert torch.equal(row, x[0].roll(int(step)))
    assert torch.equal(Shift(0.25, rollover=False)(x[0]), torch.cat([torch.zeros(25), x[0, :75]]))
    assert torch.equal(Shift(-0.25, rollover=False)(x[0]), torch.cat([x[0, 25:], torch.zeros(25)]))


def test_gain_is_in_decibels():
    x, aug = clips(200), Gain((-18, 6), seed=0)
    change = level(aug(x)) - level(x)
    assert torch.allclose(change, aug.drawn['gain'].double(), atol=1e-4)
    assert -18 <= change.min() < -15 and 4 < change.max() <= 6
    assert float(level(Gain(6)(x[0])) - level(x[0])) == pytest.approx(6, abs=1e-4)


def test_polarity_turns_half_of_the_clips_over():
    x = clips(200)
    y = Polarity(seed=0)(x)
    over = (y == -x).all(1)
    assert ((y == x).all(1) | over).all() and 70 < over.sum() < 130


@pytest.mark.parametrize('colour, fall', [('white', 0), ('pink', 3.01), ('brown', 6.02)])
def test_noise_has_its_colour_its_ratio_and_no_dc(colour, fall):
    x = clips(16, 4*RATE)
    for snr in -5, 10, 40:
        noise = (Noise(snr, colour, p=1, seed=0)(x.double()) - x.double())
        assert (level(x) - level(noise) - snr).abs().max() < 0.1
        assert (noise.mean(1).abs()/noise.std(1)).max() < 1e-5
    power = torch.fft.rfft(noise).abs().square().mean(0)
    assert power[:79].max() < 1e-6*power.max(), 'nothing below 20 Hz'
    octaves = [power[4*f:8*f].mean().log10()*10 for f in (100, 200, 400, 800, 1600)]
    assert np.allclose(np.diff(octaves), -fall, atol=0.6)


def test_noise_draws_its_colours():
    aug = Noise(10, p=1, seed=0)
    noise = aug(torch.ones(60, 4000)) - 1
    high = torch.fft.rfft(noise).abs().square()
    share = high[:, 1000:].sum(1)/high.sum(1) # above 4 kHz
    assert (share > 0.4).sum() > 10 and (share < 0.01).sum() > 10 and ((share > 0.01) & (share < 0.4)).sum() > 10


def test_background_is_one_of_the_clips_at_its_ratio():
    a, b = tone(1000, 3000)[0], tone(3000, 7000)[0]*0.1
    x = clips(40, 8000)
    aug = Background([a, b], snr_db=7, p=1, seed=0)
    behind = aug(x.double()) - x
    assert (level(x) - level(behind) - 7).abs().max() < 0.1
    heard = torch.tensor([loudest(c) for c in behind])
    is_b = aug.drawn['clip'] == 1
    assert 8 < is_b.sum() < 32 and (heard - torch.where(is_b, 3000, 1000)).abs().max() < 5
    assert torch.equal(Background([torch.zeros(9)], p=1)(x), x), 'a silent background is none'


def test_cutout_silences_stretches_of_the_size_asked():
    x = torch.ones(200, 1000)
    y = CutOut((0.1, 0.3), p=1, seed=0)(x)
    size = (y == 0).sum(1)
    assert 100 <= size.min() < 130 and 270 < size.max() <= 300
    edges = (y.diff() != 0).sum(1)
    assert edges.max() <= 2 and (edges == 2).any(), 'in one piece'
    assert ((CutOut(0.1, n_masks=3, p=1, seed=0)(x) == 0).sum(1) > 100).any()


@pytest.mark.parametrize('rate', [0.5, 0.9, 1.1, 2])
def test_speed_changes_pitch_and_length(rate):
    y = Speed([rate], p=1)(tone(440, 2*RATE))[0]
    n = min(len(y), round(len(y)/rate))
    assert cents(loudest(y[:n]), 440*rate) < 2
    assert y[n + 200:].abs().max() < 1e-2 if rate > 1 else n == len(y)


RATIOS = [Fraction(1, 2), Fraction(9, 10), Fraction(18, 17), Fraction(3)]


@pytest.mark.parametrize('ratio', RATIOS)
def test_speed_takes_the_samples_between_the_samples(ratio):
    def sound(t): return torch.exp(-((t - 8000)/1500)**2)*torch.sin(0.3*t)
    y = _speed(sound(torch.arange(16000.).double())[None], ratio)[0]
    assert torch.allclose(y, sound(torch.arange(len(y)).double()*float(ratio)), atol=1e-9)


@pytest.mark.parametrize('ratio', RATIOS)
@pytest.mark.parametrize('n', [1, 100, 15999])
def test_speed_makes_a_clip_of_any_length_shorter_or_longer(ratio, n):
    y = _speed(torch.ones(2, n), ratio)
    assert y.shape == (2, math.ceil(n/ratio)) and y.isfinite().all()


@pytest.mark.parametrize('rate', [0.5, 0.9, 1.1, 2])
def test_vocoder_equals_librosas(rate):
    sound = load_clip(example_clip(), RATE, duration=2)[0].astype('float64')
    S = librosa.stft(sound, n_fft=1024, hop_length=256)
    advance = torch.linspace(0, math.pi*256, 513, dtype=torch.float64)[:, None]
    ours, theirs = _phase_vocoder(torch.from_numpy(S), rate, advance), librosa.phase_vocoder(S, rate=rate)
    n = int((S.shape[1] - 1)/rate) # behind the last frame, librosa 0.11 fades out and 1.0 goes on
    compare(ours[:, :n], theirs[:, :n])


@pytest.mark.parametrize('rate', [0.5, 0.8, 1.25, 2])
def test_stretch_keeps_the_pitch_and_changes_the_length(rate):
    y = TimeStretch([rate], p=1)(tone(440, 2*RATE))[0]
    n = min(len(y), round(len(y)/rate))
    assert cents(loudest(y[:n]), 440) < 2 and abs(level(y[2000:n - 2000]) + 3.01) < 1.5
    click = torch.zeros(1, 2*RATE)
    click[0, 8000] = 1
    at = TimeStretch([rate], p=1)(click)[0].abs().argmax()
    assert abs(at - 8000/rate) < 600, 'about half a frame away at most'


@pytest.mark.parametrize('semitones', [-12, -5, -1, 1, 3, 7, 12])
def test_pitch_shift_keeps_the_length_and_changes_the_pitch(semitones):
    y = PitchShift([semitones], p=1)(tone(440, 2*RATE))[0]
    assert cents(loudest(y), 440*2**(semitones/12)) < 3
    if semitones == 12: assert cents(loudest(y), 880) < 1, 'an octave doubles the fundamental'
    assert abs(level(y[2000:-2000]) + 3.01) < 1.5, 'it sounds to the end; a phase vocoder costs a decibel'


def test_clips_that_are_not_drawn_are_not_touched_by_the_slow_ones():
    x = clips()
    for cls in Speed, TimeStretch, PitchShift:
        aug = cls(p=0.5, seed=1)
        y = aug(x)
        off = ~aug.drawn['on']
        assert off.any() and torch.equal(y[off], x[off])


def test_room_keeps_the_loudness_and_dies_away():
    x = clips(20, RATE)
    assert (level(Room(p=1, seed=0)(x)) - level(x)).abs().max() < 1e-3
    room = Room(reverberation=0.5, direct_db=4, p=1, seed=0)
    impulse = torch.zeros(50, RATE)
    impulse[:, 100] = 1
    heard = room(impulse).double()
    heard = heard/heard[:, 100:101]
    assert heard[:, :100].abs().max() < 1e-5, 'nothing before the direct sound'
    echoes = heard[:, 101:].square()
    assert (10*echoes.sum(1).log10() + 4).abs().max() < 0.1
    left = 10*echoes.mean(0).flip(0).cumsum(0).flip(0).log10() # Schroeder's curve
    time = [(left < left[0] - db).float().argmax()/RATE for db in (5, 25)]
    assert 3*float(time[1] - time[0]) == pytest.approx(0.5, abs=0.05), 'from -5 to -25 dB in a third of the time'


def test_given_rooms_begin_with_the_direct_sound():
    x = clips()
    late = torch.zeros(500)
    late[300] = -0.2
    y = Room([late], p=1)(x)
    assert torch.allclose(y, -x, atol=1e-5)
    heard = Room([late, np.eye(1, 9)[0]], p=1, seed=0)(x)
    assert {bool(torch.allclose(h, c, atol=1e-5)) for h, c in zip(heard, x)} == {True, False}


def test_band_pass_loses_3_db_at_its_ends_and_12_per_octave():
    aug = BandPass(low=200, high=2000, p=1)
    def loss(f): return float(level(aug(tone(f))[0, 4000:-4000]) - level(tone(f)[0, 4000:-4000]))
    assert loss(200) == pytest.approx(-3.01, abs=0.1) and loss(2000) == pytest.approx(-3.01, abs=0.1)
    assert loss(640) == pytest.approx(0, abs=0.1)
    assert loss(25) - loss(50) == pytest.approx(-12, abs=0.5) and loss(7900) == pytest.approx(-24, abs=1)
    low = (aug := BandPass(p=1, seed=0)).draw(clips(100))['low']
    assert 20 <= low.min() and low.max() <= 300 and 60 < low.median() < 100, 'equally distributed in octaves'


def test_equaliser_gives_each_band_its_gain():
    aug = Equaliser((-9, 9), seed=0, p=1)
    assert aug.centres() == [125, 250, 500, 1000, 2000, 4000]
    for i, f in enumerate(aug.centres()):
        x = tone(f, 2*RATE)
        change = level(aug(x)[0, 4000:-4000]) - level(x[0, 4000:-4000])
        assert float(change) == pytest.approx(float(aug.drawn['gain'][0, i]), abs=0.1)
    flat = Equaliser(6, p=1)(clips())
    assert torch.allclose(flat, clips()*10**(6/20), atol=1e-4)


@pytest.mark.parametrize('cls, axis, n', [(TimeMask, 3, 126), (FrequencyMask, 2, 40)])
def test_masks_lie_along_their_axis_at_the_floor(cls, axis, n):
    x = torch.zeros(200, 1, 40, 126)
    y = cls((0.1, 0.3), p=1, seed=0)(x)
    masked = (y == -1).all(5 - axis)[:, 0]
    assert ((y == -1).any(5 - axis)[:, 0] == masked).all(), 'whole rows or columns'
    assert round(0.1*n) <= masked.sum(1).min() and masked.sum(1).max() <= round(0.3*n)
    assert masked[:, 0].any() and masked[:, -1].any(), 'up to both ends'
    assert masked.float().diff().abs().sum(1).max() <= 2, 'in one piece'


def test_zero_is_a_legal_fill():
    x = torch.full((4, 1, 40, 126), -1.)
    for cls in TimeMask, FrequencyMask:
        y = cls(0.2, fill=0, p=1, seed=0)(x)
        assert set(y.unique().tolist()) == {-1, 0}


def test_mixing_is_at_equal_loudness_and_the_first_stays_louder():
    x = clips(50)
    aug = MixClips(seed=0)
    y = aug(x)
    share = aug.drawn['share'][:, None]
    assert 0.5 <= share.min() and share.max() <= 1 and len(share.unique()) > 30
    other = x.roll(1, 0)
    other = other*(x.square().mean(1)/other.square().mean(1)).sqrt()[:, None]
    assert torch.allclose(y, share*x + (1 - share)*other, atol=1e-6)
    aug = MixClips(p=0.5, seed=0)
    aug(x)
    assert (aug.drawn['share'][~aug.drawn['on']] == 1).all()
