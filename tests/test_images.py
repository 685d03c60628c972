"Chapter 9: a spectrogram as a picture, and a folder of pictures that survives whatever happens to its making"
import json
import os
import re
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import librosa
import numpy as np
import pytest
import soundfile as sf
from PIL import Image
from audio_tutorial.arrays import AudioError
from audio_tutorial.images import draw_image, draw_images, image_pattern, image_to_db
from audio_tutorial.mel import MelSettings
from audio_tutorial.notes import family, note_pattern

RATE = 16000
SETTINGS = [MelSettings(), MelSettings(n_mels=128), MelSettings(n_mels=None, n_fft=256, hop_length=128), MelSettings(top_db=60)]


def note(k, seconds=1.):
    "A tone of its own for every `k`, with noise, as a struck note: float32"
    t = np.arange(int(seconds*RATE))/RATE
    rng = np.random.default_rng(k)
    return ((np.sin(2*np.pi*(200 + 37*k)*t) + 0.01*rng.normal(size=len(t)))*0.5*np.exp(-3*t)).astype('float32')


def fill(folder, n=12, seconds=1.):
    "A folder of notes, laid out as the book's"
    for k in range(n):
        path = folder/('valid' if k % 4 == 0 else 'train')/f'guitar_acoustic_{k:03d}-060-100.wav'
        path.parent.mkdir(parents=True, exist_ok=True)
        sf.write(path, note(k, seconds), RATE)
    return folder


@pytest.fixture
def clips(tmp_path): return fill(tmp_path/'clips')


def pngs(folder): return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob('*.png'))}
def litter(folder): return [p.name for p in folder.rglob('*') if p.is_file() and p.suffix not in ('.png', '.json')]
def draw(*args, **kwargs): return draw_images(*args, progress=False, **kwargs)


# ---------------------------------------------------------------------------------------------------------- one picture

@pytest.mark.parametrize('s', SETTINGS, ids=str)
@pytest.mark.parametrize('rgb', [False, True], ids=['grey', 'rgb'])
def test_a_file_read_back_equals_librosa(tmp_path, s, rgb):
    samples = note(3)
    Image.fromarray(draw_image(samples, s, rgb)).save(tmp_path/'a.png')
    if s.n_mels:
        power = librosa.feature.melspectrogram(y=samples, sr=RATE, n_fft=s.n_fft, hop_length=s.hop_length, n_mels=s.n_mels,
                                               fmin=s.f_min, fmax=s.f_max, pad_mode='constant')
    else:
        f = librosa.fft_frequencies(sr=RATE, n_fft=s.n_fft)
        power = np.abs(librosa.stft(samples, n_fft=s.n_fft, hop_length=s.hop_length))**2
        power = power[(s.f_min <= f) & (f <= s.f_max)]
    reference = librosa.power_to_db(power, ref=np.max, top_db=s.top_db)
    apart = np.abs(image_to_db(tmp_path/'a.png', s) - reference)*255/s.top_db # in grey steps
    assert apart.max() <= (1.501 if rgb else 0.501)
    assert (apart > 0.501).mean() < 0.03 # two of viridis's 256 colours are their neighbours' as well


def test_one_pixel_per_band_and_frame():
    for s in SETTINGS:
        size = len(s.frequencies()), s.n_frames(RATE)
        assert draw_image(note(0), s, False).shape == size and draw_image(note(0), s).shape == (*size, 3)
        assert draw_image(note(0), s).dtype == np.uint8
    assert draw_image(note(0, 4)).shape == (40, 251, 3) # the article's


@pytest.mark.parametrize('rgb', [False, True], ids=['grey', 'rgb'])
def test_pictures_stand_upright(rgb):
    t = np.arange(RATE)/RATE
    for frequency in 200, 1000, 6000:
        pixels = draw_image(np.sin(2*np.pi*frequency*t), rgb=rgb).astype(int)
        loudest = pixels.reshape(*pixels.shape[:2], -1).sum(axis=(1, 2)).argmax()
        from_bottom = 39 - loudest
        assert abs(from_bottom - np.abs(MelSettings().frequencies() - frequency).argmin()) <= 1
        assert image_to_db(draw_image(np.sin(2*np.pi*frequency*t), rgb=rgb)).sum(axis=1).argmax() == from_bottom


def test_the_floor_is_black_and_the_maximum_white():
    for s in SETTINGS:
        grey, db = draw_image(note(1), s, False)[::-1], s.log_mel(note(1))
        assert (grey[db == 0] == 255).all() and (grey[db == -s.top_db] == 0).all() and (db == 0).any()


def test_rgb_is_viridis_and_holds_the_same_levels_as_grey():
    from matplotlib import colormaps
    grey, colour = draw_image(note(2), rgb=False), draw_image(note(2))
    assert np.array_equal(colour, colormaps['viridis'](grey, bytes=True)[..., :3])
    steps = (image_to_db(colour) - image_to_db(grey))*255/80
    assert set(np.unique(steps.round(6))) <= {-1, 0, 1}


def test_a_colour_that_is_not_in_the_table_counts_as_the_nearest():
    colour = draw_image(note(2))
    nearly = np.clip(colour.astype(int) + np.array([1, -1, 0]), 0, 255).astype('uint8')
    assert np.abs(image_to_db(nearly) - image_to_db(colour)).max() < 80/255*4


@pytest.mark.parametrize('rgb', [False, True], ids=['grey', 'rgb'])
def test_silence_is_drawn_finite_and_without_warning(rgb):
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        assert not image_to_db(draw_image(np.zeros(RATE, 'float32'), rgb=rgb)).any()


# ------------------------------------------------------------------------------------------------------- a whole folder

@pytest.mark.parametrize('rgb', [False, True], ids=['grey', 'rgb'])
def test_the_folder_is_mirrored(clips, tmp_path, rgb):
    drawn = draw(clips, tmp_path/'png', rgb=rgb)
    assert {p.relative_to(clips).with_suffix('.png') for p in clips.rglob('*.wav')} == {
        p.relative_to(tmp_path/'png') for p in drawn} == {Path(p) for p in pngs(tmp_path/'png')}
    assert {p.name for p in (tmp_path/'png').iterdir()} == {'train', 'valid', 'settings.json'}
    for k, p in enumerate(sorted(drawn, key=lambda p: p.name)):
        with Image.open(p) as image:
            assert (image.mode, image.size, image.format) == ('RGB' if rgb else 'L', (63, 40), 'PNG')
        stored = sf.read(clips/p.relative_to(tmp_path/'png').with_suffix('.wav'), dtype='float32')[0]
        assert np.array_equal(np.asarray(Image.open(p)), draw_image(stored, rgb=rgb))


def test_bytes_do_not_depend_on_the_number_of_workers(clips, tmp_path):
    for n in 1, 2, 3: draw(clips, tmp_path/str(n), num_workers=n)
    assert pngs(tmp_path/'1') == pngs(tmp_path/'2') == pngs(tmp_path/'3') != {}


def test_other_rates_are_resampled_and_lengths_made_equal(tmp_path):
    (tmp_path/'clips').mkdir()
    for rate, seconds, name in (44100, 1.5, 'a.flac'), (8000, 0.5, 'b.wav'), (16000, 1, 'c.WAV'):
        sf.write(tmp_path/'clips'/name, np.sin(np.arange(int(rate*seconds))/5), rate, format=name[-3:].replace('lac', 'flac'))
    drawn = draw(tmp_path/'clips', tmp_path/'own')
    assert [Image.open(p).width for p in drawn] == [94, 32, 63]
    drawn = draw(tmp_path/'clips', tmp_path/'equal', duration=1)
    assert [Image.open(p).width for p in drawn] == [63, 63, 63]


def test_a_second_call_draws_what_is_missing(clips, tmp_path):
    dest = tmp_path/'png'
    lost = draw(clips, dest)[3:6]
    whole, times = pngs(dest), {p: p.stat().st_mtime_ns for p in dest.rglob('*.png')}
    assert draw(clips, dest) == []
    for p in lost: p.unlink()
    (dest/'train'/'x.png.17.part').write_bytes(b'half')
    (dest/'settings.json.17.part').write_bytes(b'{')
    assert draw(clips, dest) == lost
    assert pngs(dest) == whole and litter(dest) == []
    assert {p for p, t in times.items() if p.stat().st_mtime_ns != t} == set(lost)


KILLED = """
import sys, time
import audio_tutorial.images as images
plain = images.draw_image
def slowly(*args): time.sleep(0.05); return plain(*args)
images.draw_image = slowly
images.draw_images(sys.argv[1], sys.argv[2], progress=False, num_workers=2)
"""


def running(group):
    "Processes of a process group that still run"
    found = []
    for stat in Path('/proc').glob('[0-9]*/stat'):
        try: fields = stat.read_text().rpartition(')')[2].split()
        except OSError: continue # it has just ended
        if int(fields[2]) == group and fields[0] not in 'ZX': found.append(stat.parent.name)
    return found


@pytest.mark.skipif(sys.platform != 'linux', reason='looks into /proc')
def test_killed_in_the_middle(tmp_path):
    clips, dest = fill(tmp_path/'clips', 60, 0.2), tmp_path/'png'
    process = subprocess.Popen([sys.executable, '-c', KILLED, clips, dest], start_new_session=True)
    deadline = time.monotonic() + 120
    while len(pngs(dest)) < 10: # at most
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL) # the workers are not told
    process.wait()
    while running(process.pid): # they notice
        assert time.monotonic() < deadline
        time.sleep(0.05)
    there = pngs(dest)
    assert 10 <= len(there) < 60
    drawn = draw(clips, dest)
    assert {p.relative_to(dest).as_posix() for p in drawn}.isdisjoint(there) and len(drawn) + len(there) == 60
    assert litter(dest) == []
    draw(clips, tmp_path/'at once')
    assert pngs(dest) == pngs(tmp_path/'at once')
    assert (dest/'settings.json').read_bytes() == (tmp_path/'at once'/'settings.json').read_bytes()


FULL = """
import resource, signal, sys
from audio_tutorial.images import draw_images
import audio_tutorial.images as images, numpy as np
images.draw_image(np.zeros(1024, 'float32')) # what librosa caches on disk is there
signal.signal(signal.SIGXFSZ, signal.SIG_IGN) # a write beyond the limit is an OSError
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), resource.RLIM_INFINITY))
try: draw_images(sys.argv[1], sys.argv[2], progress=False)
except OSError as e: print(type(e).__name__)
"""


@pytest.mark.skipif(sys.platform != 'linux', reason='limits the size of files')
@pytest.mark.parametrize('limit, left', [(1000, ['settings.json']), (20, [])], ids=['pictures', 'settings'])
def test_nothing_half_written_when_the_disk_is_full(clips, tmp_path, limit, left):
    dest = tmp_path/'png'
    done = subprocess.run([sys.executable, '-c', FULL, clips, dest, str(limit)], capture_output=True, text=True)
    assert done.stdout == 'OSError\n', done.stderr
    assert [p.name for p in dest.rglob('*') if p.is_file()] == left
    assert len(draw(clips, dest)) == 12 and litter(dest) == []


def test_the_next_picture_keeps_its_old_self_when_saving_fails(clips, tmp_path, monkeypatch):
    "Whatever goes wrong on the way, a final name is never touched by halves"
    def breaks(self, file, **options):
        file.write_bytes(b'half')
        raise OSError(28, 'No space left on device')
    monkeypatch.setattr(Image.Image, 'save', breaks)
    with pytest.raises(OSError, match='No space'): draw(clips, tmp_path/'png', num_workers=1)
    assert pngs(tmp_path/'png') == {} and litter(tmp_path/'png') == []


# ------------------------------------------------------------------------------------------------------ what is refused

@pytest.mark.parametrize('other, names', [
    (dict(settings=MelSettings(n_mels=64)), 'n_mels.*40, 64'), (dict(settings=MelSettings(top_db=60)), 'top_db'),
    (dict(rgb=False), 'rgb'), (dict(duration=2), 'duration')])
def test_other_settings_are_not_mixed_in(clips, tmp_path, other, names):
    draw(clips, tmp_path/'png')
    before = pngs(tmp_path/'png')
    with pytest.raises(ValueError, match=names): draw(clips, tmp_path/'png', **other)
    assert pngs(tmp_path/'png') == before
    assert draw(clips, tmp_path/'png', MelSettings(f_min=20)) == [] # the same number, an int


def test_other_clips_are_not_mixed_in(clips, tmp_path):
    draw(clips, tmp_path/'png')
    next(clips.rglob('*003-*.wav')).unlink()
    with pytest.raises(ValueError, match='other clips.*003-060'): draw(clips, tmp_path/'png')


def test_pictures_of_unknown_settings_are_not_mixed_in(clips, tmp_path):
    (tmp_path/'png').mkdir()
    Image.new('L', (3, 3)).save(tmp_path/'png'/'mine.png')
    with pytest.raises(ValueError, match='unknown settings'): draw(clips, tmp_path/'png')
    assert [p.name for p in (tmp_path/'png').iterdir()] == ['mine.png']


def test_the_settings_lie_beside_the_pictures(clips, tmp_path):
    draw(clips, tmp_path/'png', MelSettings(n_mels=64), rgb=False)
    card = json.loads((tmp_path/'png'/'settings.json').read_text())
    assert (card.pop('rgb'), card.pop('duration')) == (False, None)
    assert MelSettings(**card) == MelSettings(n_mels=64)


@pytest.mark.parametrize('num_workers', [1, 2])
def test_a_bad_clip_is_named(clips, tmp_path, num_workers):
    (clips/'train'/'bad.wav').write_bytes(b'RIFF, but not really')
    with pytest.raises(AudioError, match=re.escape(str(clips/'train'/'bad.wav'))):
        draw(clips, tmp_path/'png', num_workers=num_workers)
    assert litter(tmp_path/'png') == [] and 'train/bad.png' not in pngs(tmp_path/'png')
    (clips/'train'/'bad.wav').unlink()
    draw(clips, tmp_path/'png')
    assert len(pngs(tmp_path/'png')) == 12


def test_two_clips_of_one_picture_are_refused(clips, tmp_path):
    sf.write(clips/'train'/'guitar_acoustic_001-060-100.flac', note(0), RATE)
    with pytest.raises(ValueError, match='would both become'): draw(clips, tmp_path/'png')


def test_nothing_to_draw_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match='nowhere'): draw(tmp_path/'nowhere', tmp_path/'png')
    (tmp_path/'empty').mkdir()
    with pytest.raises(ValueError, match='no sound files below .*empty'): draw(tmp_path/'empty', tmp_path/'png')
    assert not (tmp_path/'png').exists()


# ---------------------------------------------------------------------------------------------------- labels and imports

def test_the_label_is_found_in_the_name_of_the_picture():
    assert re.search(image_pattern, 'guitar_acoustic_010-060-100.png')[1] == family('guitar_acoustic_010-060-100.wav')
    assert not re.search(image_pattern, 'guitar_acoustic_010-060-100.wav') and image_pattern != note_pattern


def test_a_function_of_a_script_can_be_drawn_with(clips, tmp_path):
    "In a notebook the functions live in `__main__`: the module run as a script"
    import audio_tutorial.images as images
    script = Path(images.__file__).read_text().replace('from .', 'from audio_tutorial.')
    script += f'\nprint(len(draw_images({str(clips)!r}, {str(tmp_path/"png")!r}, progress=False)))'
    done = subprocess.run([sys.executable, '-'], input=script, capture_output=True, text=True, env=os.environ, cwd=tmp_path)
    assert done.stdout == '12\n', done.stderr
