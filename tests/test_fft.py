"One frame: equal to librosa and numpy, and true to physics"
import librosa
import numpy as np
import pytest
from audio_tutorial.clips import compare, example_clip, load_clip
from audio_tutorial.fft import amplitude_to_db, fft_frequencies, hann, power_to_db, spectrum


@pytest.mark.parametrize('n', [2, 64, 400, 1023, 1024])
def test_hann_is_the_periodic_window(n):
    compare(hann(n), librosa.filters.get_window('hann', n))


@pytest.mark.parametrize('rate, n_fft', [(16000, 1024), (44100, 1024), (8000, 401)])
def test_frequencies_equal_librosa(rate, n_fft):
    compare(fft_frequencies(rate, n_fft), librosa.fft_frequencies(sr=rate, n_fft=n_fft))


def test_513_numbers_of_the_articles_frame():
    clip, rate = load_clip(example_clip())
    frame = clip[45000:46024]
    frequencies, magnitude, phase = spectrum(frame, rate)
    assert len(frequencies) == len(magnitude) == len(phase) == 513
    reference = librosa.stft(frame, n_fft=1024, center=False)[:, 0]
    compare(magnitude, np.abs(reference))
    compare(magnitude*np.exp(1j*phase), reference)


def test_spectrum_windows_the_frame():
    "A predecessor drew the window, then transformed the unwindowed frame"
    tone = np.cos(2*np.pi*40.5*np.arange(1024)/1024)
    _, magnitude, _ = spectrum(tone, 16000)
    assert magnitude[60:].max() < 1e-4*magnitude.max()


@pytest.mark.parametrize('frequency', [100, 1234.5, 7000])
def test_a_tone_peaks_at_its_frequency(frequency):
    frequencies, magnitude, _ = spectrum(np.sin(2*np.pi*frequency*np.arange(1024)/16000), 16000)
    assert abs(frequencies[magnitude.argmax()] - frequency) <= 16000/1024/2


@pytest.mark.parametrize('top_db', [80, 40, None])
def test_decibels_equal_librosa(top_db):
    power = np.random.default_rng(0).exponential(size=(40, 99))**8
    compare(power_to_db(power, power.max(), top_db=top_db), librosa.power_to_db(power, ref=np.max, top_db=top_db))
    compare(amplitude_to_db(power, power.max(), top_db=top_db),
            librosa.amplitude_to_db(power, ref=np.max, top_db=top_db))


def test_power_and_magnitude_give_the_same_decibels():
    "A predecessor measured the level with 10*log and its reference with 20*log"
    magnitude = np.array([1, 0.5, 0.01])
    assert np.allclose(amplitude_to_db(magnitude, ref=0.5), power_to_db(magnitude**2, ref=0.25))
    assert np.allclose(amplitude_to_db([10, 1]), [20, 0])


def test_silence_in_decibels_is_finite():
    assert power_to_db(np.zeros(9), ref=0).tolist() == [0]*9
