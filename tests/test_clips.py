"What `load_clip` promises: librosa's numbers for good files, a named reason for bad ones"
import base64
import io
import re
import struct

import librosa
import numpy as np
import pytest
import soundfile as sf
from hypothesis import HealthCheck, given, settings, strategies as st

from audio_tutorial.arrays import AudioError
from audio_tutorial.clips import compare, crop_or_pad, example_clip, load_clip, show_wave
from audio_tutorial.files import get_audio_files
from audio_tutorial.players import play

RATE = 16000


@pytest.fixture(scope='session')
def noise():
    return np.random.default_rng(0).normal(0, 0.1, RATE).astype('float32').clip(-1, 1)


def encoded(samples, format, rate=RATE, **kwargs):
    "The bytes of a sound file"
    file = io.BytesIO()
    sf.write(file, samples, rate, format=format, **kwargs)
    return file.getvalue()


def written(path, content):
    path.write_bytes(content)
    return path


# The clip that comes with the package

def test_example_clip_is_ten_seconds_with_silence_at_its_start():
    samples, rate = load_clip(example_clip())
    assert rate == 44100 and 9 < len(samples)/rate < 12
    assert np.abs(samples[:rate//5]).max() < 1e-3
    assert 0.2 < np.abs(samples).max() <= 1


def test_the_frame_of_chapter_2_sounds():
    samples, _ = load_clip(example_clip())
    assert np.std(samples[45000:46024]) > 0.05


# Good files

def test_equals_librosa_at_the_files_own_rate():
    ours, rate = load_clip(example_clip())
    reference, reference_rate = librosa.load(example_clip(), sr=None)
    assert rate == reference_rate and np.array_equal(ours, reference)


@pytest.mark.parametrize('sample_rate', [8000, 16000, 22050, 48000])
def test_equals_librosa_resampled(sample_rate):
    ours, rate = load_clip(example_clip(), sample_rate)
    assert rate == sample_rate
    compare(ours, librosa.load(example_clip(), sr=sample_rate)[0])


def test_equals_librosa_on_real_notes(real_notes):
    for path in real_notes:
        ours, rate = load_clip(path)
        assert rate == RATE and ours.shape == (64000,) and ours.dtype == np.float32
        assert np.array_equal(ours, librosa.load(path, sr=None)[0])


@pytest.mark.parametrize('format, subtype, tolerance', [
    ('WAV', 'PCM_U8', 2**-7), ('WAV', 'PCM_16', 2**-15), ('WAV', 'PCM_24', 2**-23), ('WAV', 'PCM_32', 2**-23),
    ('WAV', 'FLOAT', 0), ('WAV', 'DOUBLE', 0), ('FLAC', 'PCM_16', 2**-15), ('FLAC', 'PCM_24', 2**-23),
    ('AIFF', 'PCM_16', 2**-15)])
def test_every_depth_keeps_its_precision(tmp_path, noise, format, subtype, tolerance):
    path = written(tmp_path/'x', encoded(noise, format, subtype=subtype))
    assert np.abs(load_clip(path)[0] - noise).max() <= tolerance


@pytest.mark.parametrize('format', ['OGG', 'MP3'])
def test_lossy_formats_load(tmp_path, format):
    tone = 0.5*np.sin(2*np.pi*440*np.arange(2*RATE)/RATE)
    samples, rate = load_clip(written(tmp_path/'x', encoded(tone, format)))
    assert rate == RATE and abs(len(samples) - len(tone)) < RATE//10
    assert 0.3 < np.std(samples) < 0.4


@pytest.mark.parametrize('format', ['WAV', 'FLAC'])
def test_16_bits_can_be_kept(tmp_path, noise, format):
    path = written(tmp_path/'x', encoded(noise, format, subtype='PCM_16'))
    for sample_rate in None, RATE:
        kept, rate = load_clip(path, sample_rate, offset=0.25, duration=1, keep_int16=True)
        assert kept.dtype == np.int16 and rate == RATE
        assert np.array_equal(kept/32768, load_clip(path, sample_rate, offset=0.25, duration=1)[0])


@pytest.mark.parametrize('channels, subtype, sample_rate', [(2, 'PCM_16', RATE), (1, 'PCM_24', RATE), (1, 'FLOAT', RATE),
                                                            (1, 'PCM_U8', RATE), (1, 'PCM_16', 8000)])
def test_what_has_to_be_computed_is_float32(tmp_path, noise, channels, subtype, sample_rate):
    path = written(tmp_path/'x', encoded(np.stack([noise]*channels, axis=1), 'WAV', subtype=subtype))
    kept, _ = load_clip(path, sample_rate, keep_int16=True)
    assert kept.dtype == np.float32 and np.array_equal(kept, load_clip(path, sample_rate)[0])


def test_full_scale_is_one(tmp_path):
    sf.write(tmp_path/'x.wav', np.array([-32768, 0, 16384, 32767], 'int16'), RATE)
    assert load_clip(tmp_path/'x.wav')[0].tolist() == [-1, 0, 0.5, 32767/32768]


@pytest.mark.parametrize('channels', [2, 6])
def test_channels_are_averaged(tmp_path, noise, channels):
    parts = np.stack([noise/(k + 1) for k in range(channels)], axis=1)
    sf.write(tmp_path/'x.wav', parts, RATE, subtype='FLOAT')
    compare(load_clip(tmp_path/'x.wav')[0], parts.mean(axis=1), 1e-6)


def test_silence_stays_silence(tmp_path):
    sf.write(tmp_path/'x.wav', np.zeros(1000), RATE)
    assert not load_clip(tmp_path/'x.wav', 8000)[0].any()


# Parts

@pytest.mark.parametrize('rate', [None, 8000, 44100])
@pytest.mark.parametrize('duration', [0.001, 0.3337, 1, 2.5])
def test_duration_gives_exactly_that_length(tmp_path, noise, rate, duration):
    sf.write(tmp_path/'x.wav', noise, RATE)
    samples, new = load_clip(tmp_path/'x.wav', rate, duration=duration)
    assert len(samples) == round(duration*new) and np.isfinite(samples).all()


def test_a_part_is_the_slice_and_zeros_fill_its_end(tmp_path, noise):
    sf.write(tmp_path/'x.wav', noise, RATE, subtype='FLOAT')
    assert np.array_equal(load_clip(tmp_path/'x.wav', offset=0.25, duration=0.5)[0], noise[4000:12000])
    tail, _ = load_clip(tmp_path/'x.wav', offset=0.75, duration=0.5)
    assert np.array_equal(tail[:4000], noise[12000:]) and not tail[4000:].any() and len(tail) == 8000


def test_crop_or_pad():
    assert crop_or_pad(np.arange(5), 3, start=1).tolist() == [1, 2, 3]
    assert crop_or_pad(np.arange(5), 7, start=3).tolist() == [3, 4, 0, 0, 0, 0, 0]
    assert crop_or_pad(np.arange(5), 2, start=9).tolist() == [0, 0]
    recording = np.arange(5)
    assert not np.shares_memory(crop_or_pad(recording, 2), recording) # a crop does not keep all of a long one


@pytest.mark.parametrize('kwargs', [dict(offset=-1), dict(duration=0), dict(duration=-1), dict(sample_rate=0)])
def test_arguments_that_make_no_sense(kwargs):
    with pytest.raises(ValueError, match=next(iter(kwargs))) as e: load_clip(example_clip(), **kwargs)
    assert not isinstance(e.value, AudioError)


# Bad files: each error names the file and the reason

def refused(path, reason, **kwargs):
    with pytest.raises(AudioError, match=reason) as e: load_clip(path, **kwargs)
    assert str(path) in str(e.value)


def test_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match='nowhere.wav'): load_clip(tmp_path/'nowhere.wav')


def test_empty_folder_text_and_raw(tmp_path):
    refused(written(tmp_path/'empty.wav', b''), 'cannot use')
    refused(written(tmp_path/'text.wav', b'not a sound'*100), 'cannot use')
    refused(written(tmp_path/'x.raw', b'\0'*1000), 'cannot use')
    refused(tmp_path, 'cannot use')


def test_no_samples(tmp_path):
    refused(written(tmp_path/'x.wav', encoded(np.zeros(0), 'WAV')), 'no samples')


@pytest.mark.parametrize('value', [np.nan, np.inf, -np.inf])
def test_samples_that_are_not_finite(tmp_path, noise, value):
    samples = noise.copy()
    samples[100] = value
    refused(written(tmp_path/'x.wav', encoded(samples, 'WAV', subtype='FLOAT')), 'NaN or infinite')


def test_offset_beyond_the_end(tmp_path, noise):
    refused(written(tmp_path/'x.wav', encoded(noise, 'WAV')), 'ends at 1.00 s', offset=3)


@pytest.mark.parametrize('format', ['WAV', 'FLAC', 'OGG', 'MP3', 'AIFF'])
@pytest.mark.parametrize('share', [0.001, 0.02, 0.3, 0.5, 0.9])
def test_truncated(tmp_path, noise, format, share):
    whole = encoded(np.tile(noise, 4), format)
    refused(written(tmp_path/'x', whole[:int(len(whole)*share)]), 'cut off|Error|cannot use')


def test_a_stream_of_unknown_length_is_not_cut_off(tmp_path, noise):
    "What ffmpeg writes into a pipe: a data chunk whose length nobody knew"
    whole = bytearray(encoded(noise, 'WAV', subtype='PCM_16'))
    where = whole.index(b'data') + 4
    whole[4:8] = whole[where:where + 4] = b'\xff'*4
    assert len(load_clip(written(tmp_path/'x.wav', bytes(whole)))[0]) == len(noise)


def test_a_header_that_promises_gigabytes(tmp_path, noise):
    whole = bytearray(encoded(noise[:200], 'FLAC'))
    whole[21] |= 0x0f                       # total samples: 36 bits, here about 68 billion
    whole[22:26] = b'\xff'*4
    refused(written(tmp_path/'x.flac', bytes(whole)), 'cut off|decoder|psf_fseek')
    whole = bytearray(encoded(noise[:200], 'WAV'))
    where = whole.index(b'data') + 4
    whole[where:where + 4] = struct.pack('<I', 0xEFFFFFFF)
    refused(written(tmp_path/'x.wav', bytes(whole)), 'cut off')


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(['WAV', 'FLAC', 'OGG', 'MP3']), st.data())
def test_damaged_files_load_or_are_refused(tmp_path, noise, format, data):
    "Whatever happened to the bytes: a finite float32 array or an AudioError that names the file"
    whole = bytearray(encoded(noise[:2000], format))
    for at in data.draw(st.lists(st.integers(0, len(whole) - 1), max_size=8)):
        whole[at] = data.draw(st.integers(0, 255))
    path = written(tmp_path/'damaged', bytes(whole[:data.draw(st.integers(0, len(whole)))]))
    try: samples, rate = load_clip(path, sample_rate=16000)
    except AudioError as e: assert str(path) in str(e)
    else: assert samples.dtype == np.float32 and samples.ndim == 1 and np.isfinite(samples).all()


# See, hear, compare

def test_player_holds_the_sound():
    tone = (0.1*np.sin(2*np.pi*440*np.arange(RATE)/RATE)).astype('float32')
    for rate in 16000, 4900, 88200:
        html = play(tone, rate, 'a "label" & more').data
        assert 'aria-label="a &quot;label&quot; &amp; more"' in html
        sound = base64.b64decode(re.search(r'base64,([^"]+)', html)[1])
        samples, heard_at = sf.read(io.BytesIO(sound))
        assert len(samples)/heard_at == pytest.approx(len(tone)/rate, abs=0.1)
        assert np.std(samples) == pytest.approx(np.std(tone), rel=0.1), 'loudness is kept'


def test_player_clips_what_exceeds_full_scale(noise):
    play(noise*50, RATE, 'loud')


def test_show_wave_has_names_and_units(noise):
    ax = show_wave(noise, RATE, 'noise')
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_title()) == ('Time (s)', 'Amplitude', 'noise')
    assert ax.lines[0].get_xdata()[-1] == pytest.approx(1, abs=1e-3)


def test_compare_is_strict(noise):
    assert 'relative difference' in compare(noise, noise)
    with pytest.raises(AssertionError): compare(noise*1.001, noise)
    with pytest.raises(AssertionError): compare(noise[:-1], noise)
    with pytest.raises(AssertionError): compare(noise + np.nan, noise)


# The sound files of a folder

def test_sound_files_are_found_by_their_endings_in_one_order(tmp_path):
    for name in 'b.wav', 'a/c.FLAC', 'a/.hidden.wav', 'a/text.txt', 'a/b/d.ogg', '.b.wav', 'a/.hidden/e.wav':
        (tmp_path/name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path/name).touch()
    (tmp_path/'folder.wav').mkdir()
    names = [f.relative_to(tmp_path).as_posix() for f in get_audio_files(tmp_path)]
    assert names == ['a/b/d.ogg', 'a/c.FLAC', 'b.wav']
    assert [f.name for f in get_audio_files(str(tmp_path), recurse=False)] == ['b.wav']


def test_a_folder_without_sound_files(tmp_path):
    with pytest.raises(FileNotFoundError, match='nowhere'): get_audio_files(tmp_path/'nowhere')
    with pytest.raises(ValueError, match='no sound files below'): get_audio_files(tmp_path)
