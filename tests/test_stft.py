"The STFT equals librosa's, its frames are counted right, and the way back is exact"
import librosa
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from audio_tutorial.clips import compare, example_clip, load_clip
from audio_tutorial.fft import amplitude_to_db
from audio_tutorial.stft import frames, istft, n_frames, show_spectrogram, stft


@pytest.fixture(scope='session')
def clip():
    return load_clip(example_clip(), 16000, duration=2)[0]


def test_the_articles_259_frames():
    clip, rate = load_clip(example_clip(), duration=3)
    assert len(clip) == 132300 and n_frames(len(clip), 512) == 259
    assert stft(clip, 1024, 512).shape == (513, 259)


@settings(deadline=None, max_examples=100)
@given(st.integers(1, 5000), st.integers(1, 600), st.sampled_from([2, 64, 400, 1024]))
def test_frame_count(n, hop, n_fft):
    assert n_frames(n, hop) == len(frames(np.zeros(n), n_fft, hop))
    if n >= n_fft: # librosa warns below
        assert n_frames(n, hop) == librosa.stft(np.zeros(n), n_fft=n_fft, hop_length=hop).shape[1]


def test_frame_k_is_centred_on_sample_k_hop():
    samples = np.arange(1, 5001)
    assert [f[32] for f in frames(samples, 64, 100)[:3]] == [1, 101, 201]


def test_odd_n_fft_is_refused():
    with pytest.raises(ValueError, match='even, not 1023'): frames(np.zeros(9), 1023, 256)


@pytest.mark.parametrize('n_fft, hop', [(1024, 256), (1024, 512), (400, 160), (2048, 300), (256, 256)])
def test_equals_librosa(clip, n_fft, hop):
    compare(stft(clip, n_fft, hop), librosa.stft(clip, n_fft=n_fft, hop_length=hop))


def test_equals_librosa_on_real_notes(real_notes):
    for path in real_notes:
        clip, _ = load_clip(path)
        compare(stft(clip, 1024, 256), librosa.stft(clip, n_fft=1024, hop_length=256))


@pytest.mark.parametrize('n_fft, hop', [(1024, 256), (1024, 512), (400, 160)])
@pytest.mark.parametrize('n', [16000, 16123])
def test_there_and_back(clip, n_fft, hop, n):
    S = stft(clip[:n], n_fft, hop)
    compare(istft(S, hop, n), clip[:n])
    compare(istft(S, hop), librosa.istft(librosa.stft(clip[:n], n_fft=n_fft, hop_length=hop), hop_length=hop))


def test_a_clip_shorter_than_a_frame():
    assert stft(np.ones(160), 1024, 256).shape == (513, 1)
    assert np.isfinite(stft(np.zeros(1), 1024, 256)).all()


def test_spectrogram_is_drawn_upright(clip):
    "Low frequencies at the bottom, seconds to the right"
    tone = np.sin(2*np.pi*1000*np.arange(16000)/16000)
    S = np.abs(stft(tone, 1024, 256))
    ax = show_spectrogram(amplitude_to_db(S, S.max()), 16000, 256, title='tone')
    mesh = ax.collections[0]
    corners = mesh.get_coordinates()
    row = mesh.get_array().reshape(513, -1)[:, 30].argmax()
    assert corners[row, 0, 1] <= 1000 <= corners[row + 1, 0, 1]
    assert ax.get_ylim()[0] < ax.get_ylim()[1] and corners[0, -1, 0] == pytest.approx(1, abs=0.05)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ('Time (s)', 'Frequency (Hz)')
    assert mesh.get_clim() == pytest.approx((-80, 0))
