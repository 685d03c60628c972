"Every exercise can be solved, and a wrong answer is told apart from a right one"
import io

import librosa
import numpy as np
import pytest
import soundfile as sf
import soxr
from audio_tutorial import check
from audio_tutorial.clips import example_clip, load_clip
from audio_tutorial.mel import MelSettings
from audio_tutorial.notes import families, instruments


def small():
    "The clip at a lower rate, in OGG"
    clip, rate = load_clip(example_clip(), duration=3)
    file = io.BytesIO()
    sf.write(file, soxr.resample(clip, rate, 16000), 16000, format='OGG')
    return file.getvalue()


def loud():
    "The clip as it is: too large"
    clip, rate = load_clip(example_clip(), duration=3)
    file = io.BytesIO()
    sf.write(file, clip, rate, format='WAV')
    return file.getvalue()


def parabola(frame, rate):
    "The peak of a parabola through the three highest points, in dB"
    m = 20*np.log10(np.abs(np.fft.rfft(frame*np.hanning(len(frame)))) + 1e-12)
    k = m.argmax()
    return (k + 0.5*(m[k-1] - m[k+1])/(m[k-1] - 2*m[k] + m[k+1]))*rate/len(frame)


def dft(x):
    n = np.arange(len(x))
    return np.exp(-2j*np.pi*np.outer(n, n)/len(x)) @ x


def bank(n):
    return librosa.filters.mel(sr=16000, n_fft=1024, n_mels=n, fmin=20, fmax=8000)


def griffin_lim(magnitude):
    return librosa.griffinlim(magnitude, hop_length=256, n_iter=64, momentum=0.99, random_state=0)


def fewest():
    t = instruments()
    return 5*min(sum(r.high - r.low + 1 for r in t.itertuples() if r.family == f and r.source == 'acoustic')
                 for f in families)


ANSWERS = [ # check, a right answer, a wrong one
    ('clip_seconds', 4, 2),
    ('peak_level', lambda x: 20*np.log10(np.abs(x).max()), lambda x: 20*np.log10(x.max())),
    ('small_file', small(), loud()),
    ('nearest_bin', 128, 64),
    ('own_dft', dft, lambda x: np.conj(dft(x))),
    ('tone_frequency', parabola, lambda frame, rate: rate/4),
    ('frame_count', 259, 258),
    ('hop_for_frames', 160, 161),
    ('sound_from_magnitude', griffin_lim, lambda m: np.zeros(32000)),
    ('stft_rows', 193, 192),
    ('own_filterbank', bank, lambda n: bank(n + 1)),
    ('pitch_pattern', r'-(\d+)-\d+\.wav$', r'(\w+)_'),
    ('fewest_notes', fewest(), 100),
    ('nearest_family', lambda x: MelSettings().log_mel(x).mean(axis=1), lambda x: 0),
    ('smallest_settings', MelSettings(n_fft=2048, hop_length=2048, n_mels=20, f_min=100, f_max=500), MelSettings()),
]


def test_every_check_has_answers():
    assert sorted(a[0] for a in ANSWERS) == sorted(check.__all__)


@pytest.mark.parametrize('name, right, wrong', ANSWERS, ids=[a[0] for a in ANSWERS])
def test_answers(name, right, wrong):
    f = getattr(check, name)
    assert f(right).data.startswith('**Right.**'), f(right).data
    assert f(wrong).data.startswith('**Not yet.**')
    assert f(...).data.startswith('**Your turn.**')


def test_an_answer_that_fails_is_not_yet_right():
    def broken(x): raise KeyError('oops')
    assert 'KeyError' in check.own_dft(broken).data
    assert check.smallest_settings(None).data.startswith('**Not yet.**')
