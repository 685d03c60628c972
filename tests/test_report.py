"Chapter 6: what `clip_report` finds in a folder"
import shutil
import subprocess
import sys

import numpy as np
import pytest
import soundfile as sf
from audio_tutorial import report as R
from audio_tutorial.arrays import AudioError
from audio_tutorial.clips import load_clip
from audio_tutorial.notes import make_notes
from audio_tutorial.report import clip_report, show_report

RATE = 16000


def noise(seed, seconds=1., level=0.1):
    return np.random.default_rng(seed).normal(0, level, int(seconds*RATE)).clip(-0.9, 0.9)


@pytest.fixture
def folder(tmp_path):
    "Twenty good clips, in two folders"
    for k in range(20):
        path = tmp_path/'clips'/'ab'[k % 2]/f'{k:02d}.wav'
        path.parent.mkdir(parents=True, exist_ok=True)
        sf.write(path, noise(k), RATE)
    return tmp_path/'clips'


def report(folder, **kwargs): return clip_report(folder, progress=False, **kwargs)
def faults(folder): return {name: f for name, f in report(folder).faults.items() if f}


# ----------------------------------------------------------------------------------------------------------- the report

def test_good_clips_have_no_faults(folder):
    table = report(folder)
    assert len(table) == 20 and (table.faults == '').all() and (table.error == '').all()
    assert list(table.index[:2]) == ['a/00.wav', 'a/02.wav'] and table.index.name == 'file'


def test_it_measures(tmp_path):
    t = np.arange(RATE)/RATE
    sound = np.stack([0.5*np.sin(2*np.pi*100*t) + 0.02, 0*t], axis=1)
    sound[RATE//2:] = 0
    sf.write(tmp_path/'x.flac', sound, RATE, subtype='PCM_24')
    row = report(tmp_path).loc['x.flac']
    assert (row.sample_rate, row.channels, row.format, row.subtype, row.seconds) == (RATE, 2, 'FLAC', 'PCM_24', 1)
    assert row.peak_db == pytest.approx(20*np.log10(0.52), abs=1e-3)
    assert row.rms_db == pytest.approx(10*np.log10((sound**2).mean()), abs=1e-3)
    assert row.dc == pytest.approx(0.01, abs=1e-5)
    assert row.silence == pytest.approx(0.75)
    assert row.clipped == 0


def test_levels_are_of_full_scale(tmp_path):
    sf.write(tmp_path/'full.wav', np.tile(np.array([32767, -32768], 'int16'), 8000), RATE)
    sf.write(tmp_path/'none.wav', np.zeros(RATE), RATE)
    table = report(tmp_path)
    assert table.peak_db['full.wav'] == 0 and table.rms_db['full.wav'] == pytest.approx(0, abs=1e-3)
    assert table.peak_db['none.wav'] == table.rms_db['none.wav'] == -np.inf


@pytest.mark.parametrize('name, spoil, fault', [
    ('empty', lambda p: p.write_bytes(b''), 'unreadable'),
    ('text', lambda p: p.write_text('not a sound'), 'unreadable'),
    ('cut off', lambda p: p.write_bytes(p.read_bytes()[:9000]), 'unreadable'),
    ('no samples', lambda p: sf.write(p, np.zeros(0), RATE), 'unreadable'),
    ('not a number', lambda p: sf.write(p, np.where(noise(0) > 0.2, np.nan, 0.1), RATE, subtype='FLOAT'), 'unreadable'),
    ('silent', lambda p: sf.write(p, np.zeros(RATE), RATE), 'silent'),
    ('faint', lambda p: sf.write(p, noise(0)*1e-3, RATE), 'silent'),
    ('clipped', lambda p: sf.write(p, (20*noise(0)).clip(-1, 1), RATE), 'clipped'),
    ('offset', lambda p: sf.write(p, noise(0)/2 - 0.05, RATE), 'DC offset'),
    ('copy', lambda p: p.write_bytes((p.parent/'00.wav').read_bytes()), 'duplicate'),
    ('copy in another format', lambda p: sf.write(p, sf.read(p.parent/'02.wav')[0], RATE, format='FLAC'), 'duplicate'),
    ('another rate', lambda p: sf.write(p, noise(99), RATE//2 + 8000 + 50), 'other rate'),
    ('stereo', lambda p: sf.write(p, np.stack([noise(98), noise(97)], 1), RATE), 'other channels'),
    ('short', lambda p: sf.write(p, noise(96, 0.4), RATE), 'other length'),
    ('long', lambda p: sf.write(p, noise(95, 2.1), RATE), 'other length')])
def test_every_fault_is_found_and_nothing_else(folder, name, spoil, fault):
    spoil(shutil.copy(folder/'a'/'04.wav', folder/'a'/f'zz {name}.wav') and folder/'a'/f'zz {name}.wav')
    assert faults(folder) == {f'a/zz {name}.wav': fault}


def test_the_reason_is_that_of_load_clip(folder):
    (folder/'a'/'00.wav').write_bytes((folder/'a'/'00.wav').read_bytes()[:9000])
    sf.write(folder/'b'/'01.wav', np.full(100, np.inf), RATE, subtype='FLOAT')
    (folder/'b'/'03.wav').write_bytes(b'RIFF')
    table = report(folder)
    bad = table[table.faults == 'unreadable']
    assert list(bad.index) == ['a/00.wav', 'b/01.wav', 'b/03.wav']
    for name, reason in bad.error.items():
        with pytest.raises(AudioError) as e: load_clip(folder/name)
        assert str(e.value) == f'cannot use {folder/name}: {reason}'
    assert bad[['seconds', 'peak_db', 'sample_rate']].isna().all(axis=None)


def test_it_says_where_a_clip_is_clipped_first(folder):
    sound = np.stack([noise(0, 90), noise(1, 90)], 1)
    sound[70*RATE:70*RATE + 10, 1] = sound[80*RATE:80*RATE + 10, 0] = 1
    sf.write(folder/'x.wav', sound, RATE)
    table = report(folder)
    assert table.clipped_at['x.wav'] == pytest.approx(70, abs=1e-3) and table.clipped_at.notna().sum() == 1


@pytest.mark.filterwarnings('error')
def test_values_beyond_all_measure_can_be_drawn(folder):
    sf.write(folder/'x.wav', (noise(0)*1e37).astype('float32'), RATE, subtype='FLOAT')
    table = report(folder)
    assert table.peak_db['x.wav'] > 700 and table.error['x.wav'] == ''
    show_report(table)
    show_report(table.loc[['x.wav']])


def test_some_files_only(folder, tmp_path):
    (folder/'a'/'note.txt').write_text('no sound')
    sf.write(tmp_path/'beside.wav', noise(0), RATE)
    names = ['b/01.wav', 'a/00.wav', 'a/note.txt', 'a/gone.wav', '../beside.wav']
    table = report(folder, files=[folder/name for name in names])
    assert list(table.index) == names
    assert list(table.faults) == ['', '', 'unreadable', 'unreadable', 'duplicate']
    with pytest.raises(ValueError, match='no files'): report(folder, files=[])


@pytest.mark.filterwarnings('error', 'ignore::DeprecationWarning') # matplotlib's own, of pyparsing
def test_a_folder_with_nothing_but_bad_files(tmp_path):
    for name in 'a.wav', 'b.wav': (tmp_path/name).write_bytes(b'')
    table = report(tmp_path)
    assert list(table.faults) == ['unreadable']*2
    show_report(table)


def test_duplicates_name_the_first(folder):
    for name in 'x', 'y': shutil.copy(folder/'a'/'00.wav', folder/'b'/f'{name}.wav')
    table = report(folder)
    assert dict(table.duplicate_of[table.duplicate_of != '']) == {'b/x.wav': 'a/00.wav', 'b/y.wav': 'a/00.wav'}


def test_loud_and_low_is_not_clipped(tmp_path):
    "A full sine stays near its top for a while, and never twice at the same value"
    sf.write(tmp_path/'x.wav', 0.9999*np.sin(2*np.pi*30*np.arange(RATE)/RATE), RATE, subtype='PCM_24')
    assert report(tmp_path).clipped.tolist() == [0]


def test_nothing_depends_on_the_number_of_workers(folder):
    assert report(folder, num_workers=1).equals(report(folder, num_workers=3))


def test_the_books_own_notes_are_healthy(tmp_path):
    table = report(make_notes(tmp_path/'n', 60, 30, progress=False))
    assert (table.faults == '').all() and set(table.seconds) == {4}


def test_real_notes(real_notes):
    table = report(real_notes[0].parent)
    assert len(table) == 416 and (table.error == '').all()
    assert set(table.sample_rate) == {RATE} and not (table.duplicate_of != '').any()


def test_a_bar_shows_how_far_it_is(folder, monkeypatch):
    shown = []
    monkeypatch.setattr(R, 'progress_bar', lambda rows, total, show: shown.append((total, show)) or rows)
    clip_report(folder)
    report(folder)
    assert shown == [(20, True), (20, False)]


@pytest.mark.skipif(sys.platform != 'linux', reason='workers are forked')
def test_a_new_measurement_is_a_new_column(folder, monkeypatch):
    measured = R._measured
    monkeypatch.setattr(R, '_measured', lambda totals: measured(totals) | dict(frames=totals.n))
    (folder/'a'/'bad.wav').write_bytes(b'RIFF')
    table = report(folder)
    assert table.frames['a/00.wav'] == RATE and np.isnan(table.frames['a/bad.wav'])
    only_bad = report(folder, files=[folder/'a'/'bad.wav'])
    assert 'frames' in table and [*only_bad] == [*table]


def test_one_screen(folder):
    (folder/'a'/'bad.wav').write_bytes(b'')
    sf.write(folder/'silent.wav', np.zeros(RATE), RATE)
    axs = show_report(report(folder))
    assert [ax.get_xlabel() for ax in axs.flat] == ['Files', 'Length (s)', 'Level (dB re full scale)',
        'DC offset (share of full scale)', 'Silence (% of the time)', 'Files']
    assert '22 files, 21 of them readable' in axs[0, 0].figure.get_suptitle()
    assert {t.get_text() for t in axs[2, 1].get_yticklabels()} == {'unreadable', 'silent'}
    assert [t.get_text() for t in axs[0, 0].get_yticklabels()] == ['16,000 Hz, 1 ch\nWAV PCM_16']


def test_nothing_to_report_on(tmp_path):
    with pytest.raises(FileNotFoundError, match='nowhere'): report(tmp_path/'nowhere')
    with pytest.raises(ValueError, match='no sound files'): report(tmp_path)


MEMORY = """
import resource, sys
from pathlib import Path
from audio_tutorial.report import _measure
path = Path(sys.argv[1])
_measure(path/'a.wav', path) # what is loaded on first use
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for name in 'long.wav', 'wide.wav': assert _measure(path/name, path)['error'] == ''
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)/1024)
"""


@pytest.mark.skipif(sys.platform != 'linux', reason='ru_maxrss in kB')
def test_memory_does_not_grow_with_the_clip(tmp_path):
    "A clip of 160 MB as float32 is measured in a few of them"
    sf.write(tmp_path/'a.wav', noise(0), RATE)
    sf.write(tmp_path/'long.wav', np.resize((noise(0)*2**15).astype('int16'), 40_000_000), RATE)
    sf.write(tmp_path/'wide.wav', np.resize((noise(0)*2**15).astype('int16'), (200_000, 200)), RATE)
    done = subprocess.run([sys.executable, '-c', MEMORY, tmp_path], capture_output=True, text=True)
    assert float(done.stdout) < 40, done.stdout + done.stderr
