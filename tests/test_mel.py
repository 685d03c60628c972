"Mel scale, filter bank and settings: librosa's numbers are the reference"
import warnings
from dataclasses import FrozenInstanceError, asdict, replace

import librosa
import numpy as np
import pytest
from audio_tutorial.clips import compare, example_clip, load_clip
from audio_tutorial.fft import power_to_db
from audio_tutorial.mel import (MelSettings, compare_db, hz_to_mel, mel_filterbank, mel_frequencies,
                                mel_to_hz)
from audio_tutorial.stft import stft

SETTINGS = [MelSettings(), MelSettings(mel_scale='htk'), MelSettings(n_mels=128), MelSettings(n_mels=None),
            MelSettings(n_fft=256, hop_length=128, n_mels=None, f_min=0, f_max=8000),
            MelSettings(n_fft=400, hop_length=160, n_mels=80, f_min=0, f_max=8000, top_db=60),
            MelSettings(n_fft=2048, hop_length=512, n_mels=128)]


@pytest.fixture(scope='session')
def clip():
    return load_clip(example_clip(), 16000, duration=4)[0]


def by_hand(samples, s):
    "Log-mel spectrogram from this package's own pieces"
    power = s.filterbank() @ np.abs(stft(samples, s.n_fft, s.hop_length))**2
    return power, power_to_db(power, ref=power.max(), top_db=s.top_db)


@pytest.mark.parametrize('htk, scale', [(False, 'slaney'), (True, 'htk')])
def test_scale_equals_librosa_and_inverts(htk, scale):
    f = np.concatenate([[0, 999.9, 1000, 1000.1], np.linspace(0, 22050, 999)])
    compare(hz_to_mel(f, scale), librosa.hz_to_mel(f, htk=htk))
    compare(mel_to_hz(hz_to_mel(f, scale), scale), f)
    compare(mel_frequencies(42, 20, 8000, scale), librosa.mel_frequencies(n_mels=42, fmin=20, fmax=8000, htk=htk))


@pytest.mark.parametrize('htk, scale', [(False, 'slaney'), (True, 'htk')])
@pytest.mark.parametrize('sr, n_fft, n_mels, f_min, f_max', [
    (16000, 1024, 40, 20, 8000), (44100, 1024, 64, 0, 22050), (44100, 1024, 64, 20, 8000), (16000, 400, 80, 0, 8000),
    (22050, 2048, 128, 0, 11025)])
def test_filterbank_equals_librosa(sr, n_fft, n_mels, f_min, f_max, htk, scale):
    with warnings.catch_warnings():
        warnings.simplefilter('ignore') # librosa remarks on bands without a bin
        reference = librosa.filters.mel(sr=sr, n_fft=n_fft, n_mels=n_mels, fmin=f_min, fmax=f_max, htk=htk)
    compare(mel_filterbank(sr, n_fft, n_mels, f_min, f_max, scale), reference)


@pytest.mark.parametrize('s', SETTINGS, ids=str)
def test_log_mel_is_librosas(clip, s):
    db = s.log_mel(clip)
    assert db.shape == (len(s.frequencies()), s.n_frames(len(clip))) == (len(s.filterbank()), len(s.times(len(clip))))
    if s.n_mels is None:
        reference = np.abs(librosa.stft(clip, n_fft=s.n_fft, hop_length=s.hop_length))**2
        f = librosa.fft_frequencies(sr=s.sample_rate, n_fft=s.n_fft)
        reference = reference[(f >= s.f_min) & (f <= s.f_max)]
    else:
        reference = librosa.feature.melspectrogram(
            y=clip, sr=s.sample_rate, n_fft=s.n_fft, hop_length=s.hop_length, n_mels=s.n_mels, fmin=s.f_min,
            fmax=s.f_max, htk=s.mel_scale == 'htk', power=2, norm='slaney', center=True, pad_mode='constant')
    assert np.array_equal(db, librosa.power_to_db(reference, ref=np.max, top_db=s.top_db))
    assert abs(db.max()) < 1e-5 and db.min() >= -s.top_db # librosa 0.10.2 is off 0 by a rounding


@pytest.mark.parametrize('s', SETTINGS, ids=str)
def test_by_hand_equals_librosa(clip, s):
    power, db = by_hand(clip, s)
    compare(power, s.power(clip))
    compare_db(db, s.log_mel(clip), s.top_db)


def test_by_hand_equals_librosa_on_real_notes(real_notes):
    s = MelSettings()
    for path in real_notes:
        clip, _ = load_clip(path, s.sample_rate)
        power, db = by_hand(clip, s)
        assert db.shape == (40, 251)
        compare(power, s.power(clip))
        compare_db(db, s.log_mel(clip), s.top_db)


def test_loudness_does_not_matter(clip):
    quiet, loud = MelSettings().log_mel(clip*0.1), MelSettings().log_mel(clip)
    assert np.abs(quiet - loud)[loud > -60].max() < 0.01


def test_silence_is_flat_finite_and_without_warning():
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        for s in SETTINGS: assert np.abs(s.log_mel(np.zeros(16000, 'float32'))).max() < 1e-4


@pytest.mark.parametrize('frequency', [100, 440, 1000, 5000])
def test_a_tone_is_loudest_in_its_own_row(frequency):
    for s in SETTINGS:
        rows = s.power(np.sin(2*np.pi*frequency*np.arange(16000)/16000)).sum(axis=1)
        nearest = np.abs(s.frequencies() - frequency).argmin()
        assert abs(rows.argmax() - nearest) <= 1


def test_axes():
    s = MelSettings()
    assert s.n_frames(64000) == 251
    assert s.times(64000)[[0, 1, 250]] == pytest.approx([0, 0.016, 4])
    f = s.frequencies()
    assert len(f) == 40 and (np.diff(f) > 0).all() and 20 < f[0] and f[-1] < 8000
    assert MelSettings(n_mels=None, f_min=1000, f_max=4000).frequencies()[[0, -1]].tolist() == [1000, 4000]


def test_settings_are_frozen_plain_and_equal_by_value():
    with pytest.raises(FrozenInstanceError): MelSettings().n_mels = 64
    assert MelSettings(**asdict(MelSettings(n_mels=64))) == MelSettings(n_mels=64)
    assert hash(MelSettings()) == hash(MelSettings()) and replace(MelSettings(), n_fft=512).n_fft == 512


@pytest.mark.parametrize('wrong, reason', [
    (dict(f_max=11025), 'half the sample rate, 8000 Hz'), (dict(f_min=9000), 'f_min'), (dict(f_min=-1), 'f_min'),
    (dict(n_fft=1023), 'even'), (dict(n_fft=0), 'n_fft'), (dict(n_fft=1024.5), 'n_fft'), (dict(n_fft='1024'), 'n_fft'),
    (dict(top_db=float('nan')), 'top_db'), (dict(hop_length=0), 'hop'),
    (dict(n_mels=0), 'n_mels'), (dict(sample_rate=-1), 'sample_rate'), (dict(mel_scale='bark'), 'mel_scale'),
    (dict(top_db=0), 'top_db'), (dict(n_mels=None, f_min=101, f_max=102), 'no bin')])
def test_numbers_that_do_not_fit_are_refused(wrong, reason):
    with pytest.raises(ValueError, match=reason): MelSettings(**wrong)


@pytest.mark.parametrize('scale', ['bark', 'Slaney', None])
def test_a_scale_that_is_not_known_is_refused_everywhere(scale):
    for ask in (lambda: hz_to_mel(440, scale), lambda: mel_to_hz(6, scale), lambda: mel_frequencies(4, 20, 8000, scale),
                lambda: mel_filterbank(16000, 1024, 40, 20, 8000, scale), lambda: MelSettings(mel_scale=scale),
                lambda: MelSettings(mel_scale=scale, n_mels=None)):
        with pytest.raises(ValueError, match=f"mel_scale must be 'slaney' or 'htk', not {scale!r}"): ask()


def test_compare_db_looks_above_the_floor_only():
    reference = np.array([0., -10, -80])
    assert 'apart' in compare_db([0, -10.005, -70], reference)
    with pytest.raises(AssertionError): compare_db([0, -10.02, -80], reference)
    with pytest.raises(AssertionError): compare_db([0, np.nan, -80], reference)


def test_show_draws_every_kind_of_row(clip):
    for s in SETTINGS[:4]:
        ax = s.show(s.log_mel(clip), 'title')
        assert ax.get_title() == 'title' and ax.get_ylim()[1] > 7000


def test_scale_maps_the_floor_to_minus_one_and_the_maximum_to_one():
    assert MelSettings(top_db=60).scale(np.array([-60., -30, 0])) == pytest.approx([-1, 0, 1])
