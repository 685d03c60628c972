"MelSpectrogram: a batch of waveforms in, a batch of spectrograms out; librosa's numbers on every route"
import copy, pickle, warnings
from dataclasses import replace

import librosa
import numpy as np
import pytest
import torch
from audio_tutorial.batches import MelSpectrogram, _parts, batch_to_db, to_float
from audio_tutorial.clips import compare, example_clip, load_clip
from audio_tutorial.mel import MelSettings, compare_db

SETTINGS = [MelSettings(), MelSettings(n_mels=128), MelSettings(n_mels=None), MelSettings(mel_scale='htk'),
            MelSettings(n_fft=400, hop_length=160, n_mels=80, f_min=0),
            MelSettings(n_fft=2048, hop_length=512, n_mels=128, top_db=60),
            MelSettings(n_fft=256, hop_length=128, n_mels=None, f_min=1000, f_max=4000),
            MelSettings(n_fft=256, hop_length=128, n_mels=64), # bands without a bin
            MelSettings(n_fft=512, hop_length=100, n_mels=1)]

each_setting = pytest.mark.parametrize('s', SETTINGS, ids=str)
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason='no CUDA device on this machine')


@pytest.fixture(scope='session')
def clips():
    "Five pieces of the phrase, of different loudness, at 16 kHz"
    phrase, _ = load_clip(example_clip(), 16000)
    pieces = [phrase[k:k + 32000]*g for k, g in zip(range(0, 120000, 25000), (1, 0.5, 0.1, 0.02, 0.9))]
    return torch.from_numpy(np.stack(pieces))


def assert_equal_to_librosa(x, s, device='cpu'):
    "As DESIGN.md defines equal: power to 1e-5, levels above the floor to 0.01 dB"
    power = MelSpectrogram(s, decibels=False).to(device)(x.to(device)).cpu()
    scaled = MelSpectrogram(s).to(device)(x.to(device)).cpu()
    assert power.shape == scaled.shape == (len(x), 1, len(s.frequencies()), s.n_frames(x.shape[1]))
    with warnings.catch_warnings():
        warnings.filterwarnings('ignore', message='n_fft=.* is too large|Empty filters', category=UserWarning)
        for clip, p, y in zip(x.numpy(), power, scaled):
            reference = s.power(clip)
            compare(p[0], reference)
            compare_db((y[0] - 1)*s.top_db/2, librosa.power_to_db(reference, ref=np.max, top_db=s.top_db), s.top_db)
    return scaled


def plain(x, s):
    "The same by torch.stft and out-of-place steps"
    S = torch.stft(x, s.n_fft, s.hop_length, window=torch.hann_window(s.n_fft, dtype=x.dtype), pad_mode='constant',
                   return_complex=True)
    return torch.from_numpy(s.filterbank()).to(x.dtype) @ S.abs().square()


# ------------------------------------------------------------------------------------------------- librosa's numbers

@each_setting
def test_equals_librosa(clips, s): assert_equal_to_librosa(clips, s)


@each_setting
@pytest.mark.parametrize('n_samples', [1, 100, 257, 1023, 16000, 20001])
def test_equals_librosa_at_any_length(clips, s, n_samples): assert_equal_to_librosa(clips[:2, :n_samples], s)


def test_equals_librosa_on_real_notes(real_notes):
    s = MelSettings()
    notes = torch.from_numpy(np.stack([load_clip(p, s.sample_rate, duration=4)[0] for p in real_notes]))
    assert_equal_to_librosa(notes, s)


@pytest.mark.parametrize('s', [s for s in SETTINGS if s.n_mels and s.n_mels > 1], ids=str)
@pytest.mark.filterwarnings('ignore:At least one mel filterbank')
def test_power_equals_torchaudio(clips, s):
    try: from torchaudio.transforms import MelSpectrogram as TorchaudioMel
    except (ImportError, OSError, RuntimeError) as e: pytest.skip(f'no torchaudio for this torch: {e}')
    theirs = TorchaudioMel(
        s.sample_rate, s.n_fft, hop_length=s.hop_length, n_mels=s.n_mels, f_min=s.f_min, f_max=s.f_max,
        mel_scale=s.mel_scale, norm='slaney', pad_mode='constant')
    compare(MelSpectrogram(s, decibels=False)(clips)[:, 0], theirs(clips), tolerance=2e-5)


def test_decibels_take_each_clips_own_maximum():
    power = torch.tensor([1., 10, 1e-9, 0]).view(1, 1, 4)*torch.tensor([1., 100, 0])[:, None, None]
    assert batch_to_db(power, 80)[:, 0].tolist() == [pytest.approx(row) for row in (
        [-10, 0, -80, -80], [-10, 0, -80, -80], [0, 0, 0, 0])]
    assert batch_to_db(power[0], 30).min() == -30


# --------------------------------------------------------------------------------------------------------- properties

@each_setting
@pytest.mark.parametrize('dtype', [torch.float32, torch.int16])
def test_a_batch_is_its_clips_one_by_one(clips, s, dtype):
    x = (clips*32767).to(dtype) if dtype == torch.int16 else clips
    m = MelSpectrogram(s)
    many = x.repeat(3*torch.get_num_threads(), 1) # more than are computed at a time
    assert len(_parts(many, m.settings)) > 1
    compare(m(many), torch.cat([m(clip[None]) for clip in x]).repeat(len(many)//len(x), 1, 1, 1), 1e-6)


@pytest.mark.parametrize('mode', [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_every_gradient_mode_gives_the_same(clips, mode):
    m = MelSpectrogram(MelSettings())
    with mode(): assert torch.equal(m(clips.clone().requires_grad_()), m(clips))


def test_range_of_the_result(clips):
    y = MelSpectrogram(MelSettings())(clips)
    assert y.min() >= -1 and (y.amax((1, 2, 3)) == 1).all()
    assert y.dtype == torch.float32 and not y.requires_grad


def test_loudness_does_not_matter(clips):
    s = MelSettings(top_db=40) # above the fixed smallest power
    compare(MelSpectrogram(s)(clips*0.25), MelSpectrogram(s)(clips), 1e-5)


@each_setting
def test_silence_is_0_db_everywhere_and_leaves_its_neighbours_alone(clips, s):
    x, m = clips.clone(), MelSpectrogram(s)
    x[1] = 0
    y = m(x)
    assert (y[1] == 1).all()
    compare(y[[0, 2, 3, 4]], m(clips)[[0, 2, 3, 4]], 1e-6)


def test_int16_is_divided_by_32768(clips):
    whole, m = (clips*32768).round().to(torch.int16), MelSpectrogram(MelSettings(), decibels=False)
    assert torch.equal(m(whole), m(whole.float()/32768))
    assert torch.equal(to_float(whole), whole.float()/32768) and to_float(clips) is clips
    lowest = torch.full((1, 4000), -32768, dtype=torch.int16)
    assert torch.equal(m(lowest), m(-torch.ones(1, 4000)))


def test_float64_stays_float64(clips):
    s, x = MelSettings(), clips.double()
    y = MelSpectrogram(s, decibels=False)(x)
    assert y.dtype == torch.float64
    compare(y[:, 0], plain(x, s), 1e-12)
    compare(y[0, 0], s.power(x[0].numpy()), 1e-6)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_small_floats_are_computed_in_float32(clips, dtype):
    m, x = MelSpectrogram(MelSettings()), clips.to(dtype)
    assert m(x).dtype == torch.float32 and torch.equal(m(x), m(x.float()))


@pytest.mark.parametrize('decibels', [True, False])
def test_autocast_changes_nothing(clips, decibels):
    m = MelSpectrogram(MelSettings(), decibels)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        inside = m(clips)
        assert (clips @ clips.T).dtype == torch.bfloat16 # and it is on again afterwards
    assert torch.equal(inside, m(clips))


def test_input_may_be_any_view_and_stays_as_it_is(clips):
    m = MelSpectrogram(MelSettings())
    before = clips.clone()
    y = m(clips)
    assert torch.equal(clips, before)
    compare(m(clips.T.contiguous().T), y, 1e-6)
    compare(m(clips.repeat_interleave(2, 1)[:, ::2]), y, 1e-6)
    compare(m(clips[:1].expand(5, -1)), y[:1].expand(5, -1, -1, -1), 1e-6)


def test_a_subclass_gives_a_plain_tensor(clips):
    class Sound(torch.Tensor): pass
    m, x = MelSpectrogram(MelSettings()), clips.clone().as_subclass(Sound)
    x.sample_rate = 16000
    assert type(m(x)) is torch.Tensor and torch.equal(m(x), m(clips))


# ---------------------------------------------------------------------------------------------------------- gradients

@pytest.mark.parametrize('s', SETTINGS[:5], ids=str)
def test_gradient_of_power_is_that_of_plain_torch(clips, s):
    weights = torch.randn(5, len(s.frequencies()), s.n_frames(32000), generator=torch.Generator().manual_seed(0))
    ours, theirs = (clips.double().requires_grad_() for _ in range(2))
    (MelSpectrogram(s, decibels=False)(ours)[:, 0]*weights).sum().backward()
    (plain(theirs, s)*weights).sum().backward()
    compare(ours.grad, theirs.grad, 1e-9)


def test_gradient_of_decibels_is_that_of_plain_torch_across_parts(clips):
    s = MelSettings()
    many = clips.repeat(4*torch.get_num_threads(), 1).double()
    ours, theirs = (many.clone().requires_grad_() for _ in range(2))
    m = MelSpectrogram(s)
    assert len(_parts(ours, m.settings)) > 1
    m(ours)[:, 0].square().mean().backward()
    s.scale(batch_to_db(plain(theirs, s), s.top_db)).square().mean().backward()
    compare(ours.grad, theirs.grad, 1e-6)


@pytest.mark.parametrize('silent', [False, True])
def test_gradient_is_finite(clips, silent):
    x = (clips*(not silent)).requires_grad_()
    with torch.autocast('cpu', dtype=torch.bfloat16): y = MelSpectrogram(MelSettings())(x)
    y.sum().backward()
    assert x.grad.isfinite().all() and x.grad.any() != silent


# ---------------------------------------------------------------------------------------------------------- bad input

@pytest.mark.parametrize('wrong, reason', [
    (lambda x: x[0], r'\(32000,\).*clip\[None\]'), (lambda x: x[:, None], r'\(5, 1, 32000\).*average channels'),
    (lambda x: x[:, :0], r'empty.*\(5, 0\)'), (lambda x: x[:0], r'empty.*\(0, 32000\)'),
    (lambda x: x.int(), r'torch.int32.*float32'), (lambda x: x.bool(), 'torch.bool'),
    (lambda x: x.to(torch.complex64), 'torch.complex64'), (lambda x: x.numpy(), 'ndarray.*as_tensor')])
def test_what_is_no_batch_of_waveforms_is_refused(clips, wrong, reason):
    with pytest.raises(ValueError, match=reason): MelSpectrogram(MelSettings())(wrong(clips))


def test_a_batch_at_another_rate_is_refused_naming_both(clips):
    x = clips.clone()
    x.sample_rate = 44100
    with pytest.raises(ValueError, match='44100 Hz.*16000 Hz'): MelSpectrogram(MelSettings())(x)
    assert MelSpectrogram(replace(MelSettings(), sample_rate=44100))(x).shape == (5, 1, 40, 126)


# ----------------------------------------------------------------------------------------------------------- a module

def test_nothing_to_learn_and_nothing_to_store():
    m = MelSpectrogram(MelSettings())
    assert not m.state_dict() and not list(m.parameters())
    assert m.load_state_dict({}) and 'n_mels=40' in repr(m) and 'decibels=True' in repr(m)


def test_training_and_evaluation_are_the_same(clips):
    m = MelSpectrogram(MelSettings())
    assert torch.equal(m.train()(clips), m.eval()(clips))


def test_copies_and_changes_of_type_keep_the_constants(clips):
    m = MelSpectrogram(MelSettings())
    y = m(clips)
    for same in copy.deepcopy(m), pickle.loads(pickle.dumps(m)), m.half(), m.double(), m.to(torch.bfloat16):
        assert torch.equal(same(clips), y)


def test_constants_move_with_the_module(clips):
    m = torch.nn.Sequential(MelSpectrogram(MelSettings()))
    y = m(clips)
    assert {b.device.type for b in m.to('meta').buffers()} == {'meta'}
    assert torch.equal(m.to_empty(device='cpu')(clips), y)


def test_moving_to_where_it_is_makes_nothing_anew():
    m = MelSpectrogram(MelSettings())
    groups = m.groups
    assert m.to("cpu").groups is groups


def test_exports_with_any_batch_size(clips):
    m = MelSpectrogram(MelSettings())
    exported = torch.export.export(m, (clips[:2],), dynamic_shapes=({0: torch.export.Dim('batch')},)).module()
    for n in 1, 2, 5: compare(exported(clips[:n]), m(clips[:n]), 1e-6)


@needs_cuda
@each_setting
def test_a_gpu_gives_librosas_numbers(clips, s):
    on_gpu = assert_equal_to_librosa(clips, s, 'cuda')
    assert (on_gpu - MelSpectrogram(s)(clips)).abs().max() < 0.01
    m = MelSpectrogram(s).cuda()
    whole = (clips*32767).to(torch.int16)
    compare(m(whole.cuda()).cpu(), MelSpectrogram(s)(whole), 1e-4)
    with torch.autocast('cuda', dtype=torch.bfloat16): assert m(clips.cuda()).dtype == torch.float32


@needs_cuda
def test_gradients_on_a_gpu(clips):
    x = clips.cuda().requires_grad_()
    MelSpectrogram(MelSettings()).cuda()(x).sum().backward()
    assert x.grad.isfinite().all() and x.grad.any()
