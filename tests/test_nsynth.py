"Appendix: NSynth is there whole or not at all, whatever the server, the archive or the process does"
import gzip
import io
import json
import re
import signal
import subprocess
import sys
import tarfile
import threading
import time
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import audio_tutorial.notes as notes
import audio_tutorial.nsynth as N
import numpy as np
import pytest
import soundfile as sf
from audio_tutorial.files import get_audio_files
from audio_tutorial.folders import ParentSplitter
from audio_tutorial.notes import get_notes, make_notes
from audio_tutorial.nsynth import nsynth, nsynth_counts, nsynth_table

ARCHIVE = '/nsynth-test.jsonwav.tar.gz'
NAMES = [f'{family}_{source}_{k:03d}-060-100' for k, (family, source) in enumerate(
    [('guitar', 'acoustic'), ('bass', 'electronic'), ('synth_lead', 'synthetic'), ('flute', 'acoustic'),
     ('organ', 'electronic'), ('string', 'acoustic')])]
ACOUSTIC = {name for name in NAMES if '_acoustic_' in name}


def wav(k):
    "The bytes of a note"
    file = io.BytesIO()
    sf.write(file, np.random.default_rng(k).normal(0, 0.1, 4000), 16000, format='WAV')
    return file.getvalue()


NOTES = {name: wav(k) for k, name in enumerate(NAMES)}
EXAMPLES = {name: dict(note=k, note_str=name, instrument_str=name[:-8], instrument=k, pitch=60, velocity=100,
                       sample_rate=16000, qualities=[0, 1], qualities_str=['dark', 'tempo-synced'][:k % 3],
                       instrument_family_str=name.split('_')[0], instrument_source_str=name.split('_')[-2])
            for k, name in enumerate(NAMES)}


def member(name, content=b'', **attributes):
    "A member of an archive and its content"
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for key, value in attributes.items(): setattr(info, key, value)
    return info, io.BytesIO(content)


def packed(notes=NOTES, examples=EXAMPLES, extra=(), split='test'):
    "An archive as Magenta's"
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode='w:gz') as tar:
        tar.addfile(member(f'nsynth-{split}', type=tarfile.DIRTYPE)[0])
        if examples is not None: tar.addfile(*member(f'nsynth-{split}/examples.json', json.dumps(examples).encode()))
        for name, content in notes.items(): tar.addfile(*member(f'nsynth-{split}/audio/{name}.wav', content))
        for one in extra: tar.addfile(*one)
    return file.getvalue()


class Server(ThreadingHTTPServer):
    "Serves `files`, as a well-behaved server or otherwise"
    daemon_threads = True

    def __init__(self, files):
        super().__init__(('127.0.0.1', 0), Handler)
        self.files, self.asked, self.stop_at, self.ranges, self.status, self.stall = files, [], [], True, 200, None
        self.url = f'http://127.0.0.1:{self.server_port}/'


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server, wanted = self.server, self.headers.get('Range')
        server.asked.append(wanted)
        if server.status != 200 or self.path not in server.files:
            return self.send_error(server.status if server.status != 200 else 404)
        body = server.files[self.path]
        start = int(re.fullmatch(r'bytes=(\d+)-', wanted)[1]) if wanted and server.ranges else 0
        if start >= len(body):
            self.send_response(416)
            self.send_header('Content-Range', f'bytes */{len(body)}')
            self.send_header('Content-Length', '0')
            return self.end_headers()
        self.send_response(206 if start else 200)
        if start: self.send_header('Content-Range', f'bytes {start}-{len(body) - 1}/{len(body)}')
        self.send_header('Content-Length', str(len(body) - start))
        self.end_headers()
        stop = server.stop_at.pop(0) if server.stop_at else len(body)
        self.wfile.write(body[start:stop])
        self.wfile.flush()
        if server.stall: server.stall.wait(60)

    def log_message(self, *args): pass


@pytest.fixture
def server():
    s = Server({ARCHIVE: packed()})
    threading.Thread(target=s.serve_forever, daemon=True).start()
    yield s
    s.shutdown()
    s.server_close()


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch): monkeypatch.setattr(N.time, 'sleep', lambda seconds: None)


def fetch(dest, server, **kwargs):
    return nsynth(**{'split': 'test', 'dest': dest, 'url': server.url, 'n_notes': len(NAMES), 'progress': False} | kwargs)


def there(folder): return {p.stem: p.read_bytes() for p in folder.glob('*.wav')}
def everything(dest): return sorted(p.relative_to(dest).as_posix() for p in dest.rglob('*'))


def assert_whole(dest):
    "All acoustic notes, and nothing else"
    assert there(dest/'test') == {name: NOTES[name] for name in ACOUSTIC}
    assert everything(dest) == sorted(['notes.json', 'test', 'test/examples.json', *(f'test/{n}.wav' for n in ACOUSTIC)])


def assert_nothing_installed(dest):
    "No folder under its final name, and no half-unpacked note that a chapter would take for one"
    assert not (dest/'test').exists()
    with pytest.raises(ValueError, match='no sound files'): get_audio_files(dest)


# ----------------------------------------------------------------------------------------------------------- good times

def test_the_published_counts(): assert nsynth_counts == dict(train=289_205, valid=12_678, test=4_096)


def test_acoustic_notes_in_the_books_layout(tmp_path, server):
    assert fetch(tmp_path, server) == tmp_path/'test'
    assert_whole(tmp_path)


def test_all_notes_by_option(tmp_path, server):
    assert there(fetch(tmp_path, server, acoustic=False)) == NOTES


def test_a_second_call_asks_nobody(tmp_path, server):
    fetch(tmp_path, server)
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob('*')}
    assert fetch(tmp_path, server) == tmp_path/'test'
    assert len(server.asked) == 1 and before == {p: p.stat().st_mtime_ns for p in tmp_path.rglob('*')}


def test_splits_lie_side_by_side_as_the_splitter_wants_them(tmp_path, server):
    for split in 'train', 'valid':
        server.files[f'/nsynth-{split}.jsonwav.tar.gz'] = packed(split=split)
        fetch(tmp_path, server, split=split)
    train, valid = ParentSplitter()(get_audio_files(tmp_path))
    assert len(train) == len(valid) == len(ACOUSTIC)


def test_progress_bars(tmp_path, server, monkeypatch):
    shown = []
    monkeypatch.setattr(N, 'progress_bar', lambda items, *how: shown.append(how) or items)
    fetch(tmp_path, server, progress=True)
    assert shown == [(1, 'MB', True), (len(NAMES), 'notes', True)]


def test_without_a_folder_it_is_the_cache(tmp_path, server, monkeypatch):
    monkeypatch.setenv('HOME', str(tmp_path))
    assert fetch(None, server) == tmp_path/'.cache/audio_tutorial/nsynth-acoustic/test'
    assert fetch(None, server, acoustic=False) == tmp_path/'.cache/audio_tutorial/nsynth-all/test'


def test_real_notes_survive_the_way(tmp_path, server, real_notes):
    examples = json.loads((real_notes[0].parents[1]/'examples.json').read_text())
    server.files[ARCHIVE] = packed({p.stem: p.read_bytes() for p in real_notes}, examples)
    folder = fetch(tmp_path, server, n_notes=416)
    assert there(folder) == {p.stem: p.read_bytes() for p in real_notes}
    table = nsynth_table(folder)
    assert len(table) == 416 and set(table.source) == {'acoustic'} and set(table.family) <= set(notes.families)
    assert 'reverb' in table.qualities['brass_acoustic_006-030-075'].split(' ')


# ---------------------------------------------------------------------------------------------------------- the server

def test_a_connection_that_is_cut_goes_on_where_it_stopped(tmp_path, server):
    server.stop_at = [1000, 1700, 1800]
    fetch(tmp_path, server)
    assert server.asked == [None, 'bytes=1000-', 'bytes=1700-', 'bytes=1800-']
    assert_whole(tmp_path)


def test_a_later_call_goes_on_where_an_earlier_one_gave_up(tmp_path, server):
    server.stop_at = [1000]*4
    with pytest.raises(ConnectionError, match='Call again to go on'): fetch(tmp_path, server)
    assert_nothing_installed(tmp_path)
    fetch(tmp_path, server)
    assert server.asked[-1] == 'bytes=1000-'
    assert_whole(tmp_path)


def test_a_server_that_ignores_ranges_sends_all_of_it_again(tmp_path, server):
    server.ranges, server.stop_at = False, [1000]
    fetch(tmp_path, server)
    assert server.asked == [None, 'bytes=1000-']
    assert_whole(tmp_path)


def test_one_that_never_gets_further_is_given_up(tmp_path, server):
    server.ranges, server.stop_at = False, [1000]*100
    with pytest.raises(ConnectionError, match='connection broke'): fetch(tmp_path, server)
    assert len(server.asked) == 4 and len(there(tmp_path)) == 0


def test_all_arrived_but_the_name_was_not_given(tmp_path, server):
    "Killed between the last byte and the renaming: the server has nothing more to send"
    (tmp_path/'.test').mkdir()
    (tmp_path/'notes.json').write_text('{"data": "nsynth", "notes": "acoustic"}')
    (tmp_path/'.test'/f'{ARCHIVE[1:]}.download').write_bytes(server.files[ARCHIVE])
    fetch(tmp_path, server)
    assert len(server.asked) == 1
    assert_whole(tmp_path)


def test_more_is_there_than_the_server_has(tmp_path, server):
    server.stop_at = [1000]*4
    with pytest.raises(ConnectionError): fetch(tmp_path, server)
    with (tmp_path/'.test'/f'{ARCHIVE[1:]}.download').open('ab') as f: f.write(b'x'*10**6)
    server.stop_at = []
    fetch(tmp_path, server)
    assert server.asked[-1] is None
    assert_whole(tmp_path)


@pytest.mark.parametrize('body, reason', [
    (lambda whole: whole[:len(whole)//2], 'end-of-stream'), (lambda whole: b' ', 'gzip'),
    (lambda whole: b'<html>Please log in to this wireless network</html>', 'gzip'),
    (lambda whole: gzip.compress(b'no archive, but compressed'*100), 'header|truncated'),
    (lambda whole: whole[:-8] + bytes(8), 'CRC'),
    (lambda whole: whole[:1500] + bytes(50) + whole[1550:], 'CRC|invalid|header|Error'),
    (lambda whole: packed(dict(list(NOTES.items())[:-1])), 'holds 5 notes, not 6'),
    (lambda whole: packed(split='valid', examples=None), 'examples.json is missing'),
    (lambda whole: packed(examples=dict(list(EXAMPLES.items())[1:])), 'of other notes'),
], ids=['short', 'nothing', 'a page', 'no archive', 'checksum', 'damaged', 'too few', 'no table', 'other table'])
def test_a_wrong_file_is_refused_and_fetched_anew(tmp_path, server, body, reason):
    whole = server.files[ARCHIVE]
    server.files[ARCHIVE] = body(whole)
    with pytest.raises(ValueError, match=reason) as e: fetch(tmp_path, server)
    assert server.url in str(e.value) and 'call again' in str(e.value)
    assert_nothing_installed(tmp_path)
    server.files[ARCHIVE] = whole
    fetch(tmp_path, server)
    assert server.asked[-1] is None
    assert_whole(tmp_path)


def test_a_split_of_the_published_size_is_expected_unless_told_otherwise(tmp_path, server):
    with pytest.raises(ValueError, match='holds 6 notes, not 4,096'): fetch(tmp_path, server, n_notes=None)
    assert_nothing_installed(tmp_path)


def test_not_found_is_said_at_once(tmp_path, server):
    server.files.clear()
    with pytest.raises(OSError, match='responds 404.*address'): fetch(tmp_path, server)
    assert len(server.asked) == 1
    assert_nothing_installed(tmp_path)


def test_a_server_in_trouble_is_asked_again(tmp_path, server):
    server.status = 503
    with pytest.raises(ConnectionError, match='503'): fetch(tmp_path, server)
    assert len(server.asked) == 3
    assert_nothing_installed(tmp_path)


def test_no_network_names_what_works_without_one(tmp_path, server):
    server.shutdown()
    server.server_close()
    with pytest.raises(ConnectionError, match='make_notes.*built-in') as e: fetch(tmp_path, server)
    assert server.url in str(e.value)
    assert_nothing_installed(tmp_path)


# --------------------------------------------------------------------------------------------------------- the archive

@pytest.mark.parametrize('bad', [
    member('../outside.wav', b'x'), member('nsynth-test/../../outside.wav', b'x'), member('/tmp/outside.wav', b'x'),
    member('nsynth-test/audio/guitar_acoustic_099-060-100.wav', type=tarfile.SYMTYPE, linkname='/etc/passwd'),
    member('nsynth-test/audio/guitar_acoustic_099-060-100.wav', type=tarfile.LNKTYPE, linkname='nsynth-test/examples.json'),
    member('nsynth-test/audio/guitar_acoustic_099-060-100.wav', type=tarfile.FIFOTYPE),
], ids=['up', 'further up', 'absolute', 'symbolic link', 'hard link', 'pipe'])
def test_members_that_lead_outside_are_refused(tmp_path, server, bad):
    server.files[ARCHIVE] = packed(extra=[bad])
    dest = tmp_path/'a'/'b'
    with pytest.raises(ValueError, match='is a link or leads out') as e: fetch(dest, server)
    assert bad[0].name in str(e.value)
    assert_nothing_installed(dest)
    assert not [p for p in tmp_path.rglob('outside*')] and not Path('/tmp/outside.wav').exists()


def test_what_else_lies_in_the_archive_is_left_there(tmp_path, server):
    server.files[ARCHIVE] = packed(extra=[member('nsynth-test/._README', b'x'), member('nsynth-test/audio/x.txt', b'x'),
                                           member('nsynth-test/a/examples.json', type=tarfile.DIRTYPE)])
    fetch(tmp_path, server)
    assert_whole(tmp_path)


# ---------------------------------------------------------------------------------------------------- a process killed

KILLED = """
import os, signal, sys, time
from audio_tutorial import nsynth as N
dest, url, stage = sys.argv[1:]
replace, copy, written = os.replace, N.shutil.copyfileobj, []
def killed(): os.kill(os.getpid(), signal.SIGKILL)
def move(source, target):
    if stage == 'before moving' and str(target).endswith('test'): killed()
    replace(source, target)
    if stage == 'after moving' and str(target).endswith('test'): killed()
    if stage == 'claiming' and str(target).endswith('notes.json'): killed()
    if stage == 'handing over' and str(source).endswith('gz.download'): killed()
def unpack(source, target):
    written.append(target)
    if stage == 'unpacking' and len(written) == 3:
        target.write(b'RIFF half a note')
        target.flush()
        killed()
    copy(source, target)
N.os.replace, N.shutil.copyfileobj = move, unpack
N.nsynth('test', dest, url=url, n_notes=6, progress=False)
"""


@pytest.mark.parametrize('stage, asked', [('claiming', 1), ('handing over', 1), ('unpacking', 1), ('before moving', 1),
                                          ('after moving', 1)])
def test_killed_and_called_again(tmp_path, server, stage, asked):
    done = subprocess.run([sys.executable, '-c', KILLED, tmp_path, server.url, stage])
    assert done.returncode == -signal.SIGKILL
    if stage == 'after moving': assert there(tmp_path/'test') == {name: NOTES[name] for name in ACOUSTIC}
    else: assert_nothing_installed(tmp_path)
    fetch(tmp_path, server)
    assert len(server.asked) == asked # an archive that was there is not fetched again
    assert_whole(tmp_path)


def test_killed_while_downloading(tmp_path, server):
    server.stop_at, server.stall = [1000], threading.Event()
    process = subprocess.Popen([sys.executable, '-c', KILLED, tmp_path, server.url, 'downloading'])
    part, deadline = tmp_path/'.test'/f'{ARCHIVE[1:]}.download', time.monotonic() + 60
    while not server.asked or not part.exists():
        assert process.poll() is None and time.monotonic() < deadline
        threading.Event().wait(0.02)
    process.kill()
    process.wait()
    server.stall.set()
    server.stall = None
    assert_nothing_installed(tmp_path)
    fetch(tmp_path, server)
    assert_whole(tmp_path)


def test_a_full_disk_is_not_taken_for_a_broken_connection(tmp_path, server, monkeypatch):
    def full(*args): raise OSError(28, 'No space left on device')
    monkeypatch.setattr(N.shutil, 'copyfileobj', full)
    with pytest.raises(OSError, match='No space') as e: fetch(tmp_path, server)
    assert not isinstance(e.value, ConnectionError)
    assert_nothing_installed(tmp_path)
    monkeypatch.undo()
    fetch(tmp_path, server)
    assert len(server.asked) == 1
    assert_whole(tmp_path)


# ----------------------------------------------------------------------------------------------- folders and arguments

def test_notes_of_different_kinds_are_never_mixed(tmp_path, server):
    fetch(tmp_path/'n', server)
    with pytest.raises(ValueError, match='acoustic.*choose another folder'): fetch(tmp_path/'n', server, acoustic=False)
    with pytest.raises(ValueError, match='choose another folder'): make_notes(tmp_path/'n', 10, 10, progress=False)
    make_notes(tmp_path/'m', 10, 10, progress=False)
    with pytest.raises(ValueError, match='choose another folder'): fetch(tmp_path/'m', server)


def test_a_split_that_there_is_not(tmp_path):
    with pytest.raises(ValueError, match="train, valid, test, not 'dev'"): nsynth('dev', tmp_path)


# --------------------------------------------------------------------------------------------- the table, one setting

def test_the_table_describes_the_notes_in_the_folder(tmp_path, server):
    table = nsynth_table(fetch(tmp_path, server))
    assert set(table.index) == ACOUSTIC and table.index.name == 'note'
    assert table.loc['string_acoustic_005-060-100'].to_dict() == dict(
        path=str(tmp_path/'test/string_acoustic_005-060-100.wav'), pitch=60, velocity=100, qualities='dark tempo-synced',
        family='string', source='acoustic', instrument='string_acoustic_005')
    assert table.qualities['guitar_acoustic_000-060-100'] == ''
    with pytest.raises(FileNotFoundError, match='examples.json'): nsynth_table(tmp_path)


def test_one_setting_chooses(tmp_path, server, monkeypatch):
    for split in 'train', 'valid': server.files[f'/nsynth-{split}.jsonwav.tar.gz'] = packed(split=split)
    monkeypatch.setattr(notes, 'nsynth', partial(nsynth, url=server.url, n_notes=6))
    real = get_notes('nsynth', tmp_path/'real', progress=False)
    assert real == tmp_path/'real' and {p.parent.name for p in get_audio_files(real)} == {'train', 'valid'}
    made = get_notes('built-in', tmp_path/'made', 10, 10, seed=3, progress=False)
    assert everything(made) == everything(make_notes(tmp_path/'again', 10, 10, 3, progress=False))
    with pytest.raises(ValueError, match="'built-in' or 'nsynth', not 'esc50'"): get_notes('esc50')
