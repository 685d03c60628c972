"Nothing is left out without a word, and one bad file stops nobody"
import os
import subprocess
import sys
import warnings

import numpy as np
import pytest
import soundfile as sf
from click.testing import CliRunner

from audio_tutorial.cli import app
from audio_tutorial.folders import find_clips
from audio_tutorial.train import usual_duration
from audio_tutorial.arrays import AudioError
from audio_tutorial.files import audio_endings, get_audio_files
from audio_tutorial.clips import load_clip
from audio_tutorial.mel import MelSettings
from audio_tutorial.report import clip_report
from audio_tutorial.folders import read_table

RATE = 16000


def tone(seconds=0.5, hz=440): return 0.3*np.sin(2*np.pi*hz*np.arange(round(seconds*RATE))/RATE)


def clips(folder, n=3, ending='wav', hz=440, **how):
    folder.mkdir(parents=True)
    for i in range(n): sf.write(folder/f'{i}.{ending}', tone(0.5, hz + i), RATE, **how)
    return folder


def quietly(call, *args, **kwargs):
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        return call(*args, **kwargs)


# -------------------------------------------------------------------------------------------------------------- folders

def test_links_to_folders_are_followed(tmp_path):
    clips(tmp_path/'root'/'dog')
    clips(tmp_path/'other disk'/'owl')
    (tmp_path/'root'/'owl').symlink_to(tmp_path/'other disk'/'owl')
    (tmp_path/'root'/'fox.wav').symlink_to(tmp_path/'root'/'dog'/'0.wav')
    found = [f.relative_to(tmp_path/'root').as_posix() for f in quietly(get_audio_files, tmp_path/'root')]
    assert found == ['dog/0.wav', 'dog/1.wav', 'dog/2.wav', 'fox.wav', 'owl/0.wav', 'owl/1.wav', 'owl/2.wav']
    os.remove(tmp_path/'root'/'fox.wav')
    assert list(find_clips(tmp_path/'root').label) == ['dog']*3 + ['owl']*3
    assert len(clip_report(tmp_path/'root', progress=False)) == 6


def test_a_loop_of_links_ends(tmp_path):
    clips(tmp_path/'root'/'dog')
    (tmp_path/'root'/'dog'/'up').symlink_to(tmp_path/'root')
    (tmp_path/'root'/'self').symlink_to(tmp_path/'root'/'self')
    (tmp_path/'root'/'dog'/'here').symlink_to('.')
    assert len(get_audio_files(tmp_path/'root')) == 3


WRITTEN = [('wav', None), ('aifc', 'AIFF'), ('aif', 'AIFF'), ('au', 'AU'), ('snd', 'AU'), ('w64', 'W64'), ('rf64', 'RF64'),
           ('caf', 'CAF'), ('oga', 'OGG'), ('ogg', 'OGG'), ('mp3', 'MP3'), ('flac', 'FLAC'), ('voc', 'VOC'), ('sf', 'IRCAM'),
           ('paf', 'PAF'), ('svx', 'SVX'), ('8svx', 'SVX'), ('iff', 'SVX'), ('nist', 'NIST'), ('sph', 'NIST'), ('avr', 'AVR'),
           ('pvf', 'PVF'), ('htk', 'HTK')]


@pytest.mark.parametrize('ending, format', WRITTEN)
def test_every_ending_that_a_decoder_reads_is_taken(tmp_path, ending, format):
    clips(tmp_path/'dog', 2, ending, format=format)
    clips(tmp_path/'cat', 2, ending.upper(), format=format or 'WAV')
    files = quietly(get_audio_files, tmp_path)
    assert len(files) == 4 and set(find_clips(tmp_path).label) == {'cat', 'dog'}
    assert all(len(load_clip(f)[0]) >= 7900 for f in files)


def test_endings_of_phones_are_taken():
    assert {'.m4a', '.mp4', '.aac', '.3gp', '.webm', '.opus', '.amr', '.wma'} <= set(audio_endings)


def test_what_is_left_out_is_counted(tmp_path):
    clips(tmp_path/'dog')
    for name in 'a.txt', 'b.TXT', 'c.jpg', 'noending', '.hidden':  (tmp_path/'dog'/name).touch()
    (tmp_path/'dog'/'gone.wav').symlink_to('nowhere.wav')
    with pytest.warns(UserWarning, match='left out 2 .txt') as told: assert len(get_audio_files(tmp_path)) == 3
    said = str(told[0].message)
    assert all(part in said for part in ('1 .jpg', '1 without an ending', '1 broken link', str(tmp_path))) and 'hidden' not in said
    with pytest.warns(UserWarning, match='2 .txt'): report = clip_report(tmp_path, progress=False)
    assert report.attrs['left_out']['.txt'] == 2
    with pytest.warns(UserWarning, match='2 .txt'): assert find_clips(tmp_path).attrs['left_out']['.jpg'] == 1
    with pytest.warns(UserWarning): run = CliRunner().invoke(app, ['report', str(tmp_path), '--out', str(tmp_path/'r.html')])
    assert run.exit_code == 0 and 'left out: 2 .txt' in run.output and 'left out: 2 .txt' in (tmp_path/'r.html').read_text()


def test_cards_that_describe_sounds_are_not_counted(tmp_path):
    clips(tmp_path/'dog')
    for name in 'notes.json', 'dog/0.JSON': (tmp_path/name).write_text('{}')
    assert len(quietly(get_audio_files, tmp_path)) == 3


def test_a_folder_of_other_files_says_what_is_there(tmp_path):
    for name in 'a.txt', 'b.xyz': (tmp_path/name).touch()
    with pytest.raises(ValueError, match='there are 1 .txt, 1 .xyz'): get_audio_files(tmp_path)


@pytest.mark.parametrize('sides', [('train', 'valid'), ('Training', 'validation', 'test'), ('fold1', 'fold2', 'fold3'), ('train', 'val')])
def test_sides_of_a_data_set_are_no_classes(tmp_path, sides):
    for side in sides:
        for label in 'dog', 'cat': clips(tmp_path/side/label, 2)
    with pytest.raises(ValueError, match=f'{sorted(sides)[0]}.*not classes.*--valid'): find_clips(tmp_path)
    first = sorted(sides)[0]
    run = CliRunner().invoke(app, ['train', str(tmp_path), '--out', str(tmp_path/'model')])
    assert run.exit_code == 2 and '--valid' in run.output
    assert set(find_clips(tmp_path/first).label) == {'cat', 'dog'}, 'as the hint says'


def test_classes_may_have_such_names(tmp_path):
    for label in 'train', 'bus', 'test': clips(tmp_path/label/'recordings', 2)
    assert set(find_clips(tmp_path).label) == {'bus', 'test', 'train'}
    for label in 'train', 'test': clips(tmp_path/'two'/label, 2)
    assert set(find_clips(tmp_path/'two').label) == {'test', 'train'}


# ------------------------------------------------------------------------------------------- steps, bands and channels

def test_a_batch_larger_than_the_training_set_is_an_error_with_both_numbers(tmp_path):
    from fastai.vision.all import CategoryBlock, DataBlock, RandomSplitter, parent_label
    from audio_tutorial.learner import AudioBlock, audio_learner
    for label in 'ab': clips(tmp_path/label, 5)
    dls = DataBlock((AudioBlock(MelSettings(n_mels=32), 0.5), CategoryBlock), get_items=get_audio_files, get_y=parent_label,
                    splitter=RandomSplitter(0.2, seed=1)).dataloaders(tmp_path, num_workers=0)
    learn = audio_learner(dls, 'squeezenet1_1', pretrained=False)
    with learn.no_bar(), learn.no_logging(), pytest.raises(ValueError, match='64 clips is larger than .* of 8'): learn.fit(1)
    with learn.no_bar(), learn.no_logging(): learn.validate()


@pytest.mark.parametrize('rate, n_fft, n_mels', [(256000, 1024, 64), (96000, 1024, 128), (16000, 256, 128)])
def test_a_band_without_a_bin_warns_by_number(rate, n_fft, n_mels):
    settings = MelSettings(rate, n_fft=n_fft, n_mels=n_mels, f_max=rate/2)
    with pytest.warns(UserWarning, match='mel bands contain no bin') as told: bank = settings.filterbank()
    empty = np.flatnonzero(bank.sum(axis=1) == 0)
    assert len(empty) and f'{len(empty)} of {n_mels}' in str(told[0].message)
    assert ', '.join(map(str, empty)) in str(told[0].message)


@pytest.mark.parametrize('n_mels', [40, 128, None])
def test_bands_that_all_have_bins_do_not_warn(n_mels): quietly(MelSettings(n_mels=n_mels).filterbank)


@pytest.mark.parametrize('right, cancel', [(-1, True), (-0.999, True), (1, False), (0, False), (-0.5, False)])
def test_channels_that_cancel_each_other(tmp_path, right, cancel):
    x = tone()
    sf.write(tmp_path/'x.wav', np.stack([x, right*x], axis=1), RATE, subtype='FLOAT')
    if cancel:
        with pytest.warns(UserWarning, match='x.wav: its channels cancel each other'): load_clip(tmp_path/'x.wav')
    else: quietly(load_clip, tmp_path/'x.wav')
    report = clip_report(tmp_path, progress=False)
    assert ('channels cancel' in report.faults.iloc[0]) == cancel


def test_silence_in_both_channels_is_silence(tmp_path):
    sf.write(tmp_path/'x.wav', np.zeros((RATE, 2)), RATE)
    quietly(load_clip, tmp_path/'x.wav')
    assert clip_report(tmp_path, progress=False).faults.tolist() == ['silent']


# ------------------------------------------------------------------------------------------- one bad file stops nobody

@pytest.fixture
def latin(tmp_path):
    "A folder of two classes with a name in Latin-1, as an old archive unpacks it"
    for label, hz in ('low', 300), ('high', 2000): clips(tmp_path/'data'/label, 4, hz=hz)
    os.rename(os.fsencode(tmp_path/'data'/'low'/'0.wav'), os.fsencode(tmp_path/'data'/'low') + b'/caf\xe9.wav')
    return tmp_path/'data'


@pytest.mark.skipif(sys.platform != 'linux', reason='names are bytes')
def test_a_name_that_is_no_utf8(latin):
    odd = next(f for f in get_audio_files(latin) if 'caf' in f.name)
    assert len(load_clip(odd)[0]) == 8000
    report = clip_report(latin, progress=False)
    assert len(report) == 8 and (report.error == '').all() and 'low/caf\\xe9.wav' in report.index
    table = find_clips(latin)
    assert len(table) == 8 and usual_duration(table.path) == 0.5
    odd.write_bytes(b'RIFF')
    with pytest.raises(AudioError, match=r'caf\\xe9.wav') as e: load_clip(odd)
    str(e.value).encode() # can be printed
    report = clip_report(latin, progress=False)
    assert list(report.index[report.error != '']) == ['low/caf\\xe9.wav'] and 'cannot use' not in report.error['low/caf\\xe9.wav']


@pytest.mark.skipif(sys.platform != 'linux', reason='names are bytes')
def test_the_shell_names_a_name_that_is_no_utf8(latin, tmp_path):
    from audio_tutorial.classifier import AudioClassifier
    AudioClassifier(MelSettings(n_mels=32), ['a', 'b'], 0.5).save(tmp_path/'model')
    for options in [], ['--json'], ['--csv']:
        run = subprocess.run([sys.executable, '-m', 'audio_tutorial.cli', 'predict', tmp_path/'model', latin, *options],
                             capture_output=True, text=True)
        assert run.returncode == 0 and 'caf\\' in run.stdout and 'xe9.wav' in run.stdout, run.stderr
    next(f for f in get_audio_files(latin) if 'caf' in f.name).write_bytes(b'RIFF')
    run = subprocess.run([sys.executable, '-m', 'audio_tutorial.cli', 'report', latin, '--out', tmp_path/'r.html'],
                         capture_output=True, text=True)
    assert run.returncode == 1 and 'xe9.wav: unreadable' in run.stdout, run.stderr


@pytest.mark.parametrize('content, reason', [
    ('path,label\na.wav,a\n'.encode('utf-16'), 'not UTF-8'), ('path,label\ncafé.wav,a\n'.encode('latin-1'), 'not UTF-8'),
    (b'', 'No columns'), (b'path,label\na.wav,"a\nb.wav,b\n', 'EOF inside string'),
    (b'path,label\na.wav,"a\nb.wav,b"\n', 'line 2: label extends over several lines')])
def test_a_table_that_cannot_be_read_is_named(tmp_path, content, reason):
    for name in 'ab': sf.write(tmp_path/f'{name}.wav', tone(), RATE)
    (tmp_path/'table.csv').write_bytes(content)
    for read in read_table, find_clips:
        with pytest.raises(ValueError, match=f'table.csv.*{reason}'): read(tmp_path/'table.csv')
    run = CliRunner().invoke(app, ['train', str(tmp_path/'table.csv'), '--out', str(tmp_path/'model')])
    assert run.exit_code == 2 and 'table.csv' in run.output


@pytest.mark.parametrize('error', [RuntimeError('odd'), ValueError(), MemoryError(), SystemError('x'), KeyError('k'), OSError(5, 'I/O')])
def test_whatever_a_decoder_raises_names_the_file(tmp_path, monkeypatch, error):
    clips(tmp_path/'a')
    def fail(*args, **kwargs): raise error
    with monkeypatch.context() as m:
        m.setattr(sf.SoundFile, 'read', fail)
        with pytest.raises(AudioError, match='0.wav'): load_clip(tmp_path/'a'/'0.wav')
        report = clip_report(tmp_path, progress=False)
        assert (report.error != '').all() and len(report) == 3


def test_the_length_of_a_file_without_a_stated_one_is_counted(tmp_path):
    sf.write(tmp_path/'x.flac', tone(2.5), RATE)
    content = bytearray((tmp_path/'x.flac').read_bytes())
    content[21] &= 0xF0
    content[22:26] = bytes(4)
    (tmp_path/'x.flac').write_bytes(content)
    assert usual_duration([tmp_path/'x.flac']) == 2.5
    report = clip_report(tmp_path, progress=False)
    assert report.error.tolist() == [''] and report.seconds.tolist() == [2.5]
