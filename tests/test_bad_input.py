"""What bad input gets, where no chapter's own tests say it

The rest of the design's table is tested elsewhere: good and bad files one by one in test_clips, the folder report in
test_report, drawing that is killed or fills the disk in test_images, downloads and a missing network in test_nsynth (for
weights, in test_learner), a cell that fails in test_build."""
import io
import multiprocessing
import os
import resource
import socket
import struct
import sys
import tempfile
import warnings
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from hypothesis import HealthCheck, example, given, settings, strategies as st

from audio_tutorial.arrays import AudioError
from audio_tutorial.clips import load_clip

RATE = 16000
linux = pytest.mark.skipif(sys.platform != 'linux', reason='limits memory, forks')


# ------------------------------------------------------------------------------- whatever the bytes of a file are

def limit_memory(megabytes):
    "Let this process take so much more memory than it has"
    with open('/proc/self/statm') as f: pages = int(f.read().split()[0])
    limit = pages*os.sysconf('SC_PAGE_SIZE') + megabytes*2**20
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def outcome(path):
    "What `load_clip` makes of a file: a plain value that crosses to another process"
    try: samples, rate = load_clip(path, RATE)
    except Exception as e: return type(e).__name__, str(e)
    return 'loaded', (samples.dtype == np.float32, samples.ndim, bool(np.isfinite(samples).all()), len(samples))


@pytest.fixture(scope='module')
def guarded(tmp_path_factory):
    "A function that gives bytes to `load_clip` in a process that may neither hang nor crash nor take 64 MB more"
    file = tmp_path_factory.mktemp('guarded')/'file'
    sf.write(file, np.zeros(RATE), RATE//2, format='WAV')
    load_clip(file, RATE) # what is loaded on first use
    pool = ProcessPoolExecutor(1, multiprocessing.get_context('fork'), limit_memory, (64,))

    def check(content):
        file.write_bytes(content)
        kind, what = pool.submit(outcome, file).result(timeout=60) # a crash is a BrokenProcessPool
        assert kind in ('loaded', 'AudioError'), (kind, what)
        if kind == 'loaded': assert what[:3] == (True, 1, True)
        else: assert what.startswith(f'cannot use {file}: ') and len(what) > len(f'cannot use {file}: ')
        return kind, what

    yield check
    for process in list(pool._processes.values()): process.kill() # one that hangs would be waited for
    pool.shutdown()


def encoded(format, subtype=None, channels=1):
    "The bytes of a short noise"
    file = io.BytesIO()
    samples = np.random.default_rng(0).normal(0, 0.1, (3000, channels)).clip(-1, 1)
    sf.write(file, samples, RATE, format=format, subtype=subtype)
    return file.getvalue()


FILES = [encoded(*kind) for kind in [
    ('WAV', 'PCM_16'), ('WAV', 'PCM_U8', 2), ('WAV', 'FLOAT'), ('WAV', 'DOUBLE', 2), ('WAV', 'IMA_ADPCM'), ('WAV', 'MS_ADPCM'),
    ('WAV', 'GSM610'), ('WAV', 'ULAW'), ('WAVEX', 'PCM_24', 6), ('RF64', 'PCM_16'), ('W64', 'PCM_24'), ('AIFF', 'PCM_16'),
    ('AIFF', 'DWVW_16'), ('AU', 'PCM_32'), ('CAF', 'ALAC_16'), ('FLAC', 'PCM_16', 2), ('FLAC', 'PCM_24'), ('OGG', 'VORBIS'),
    ('OGG', 'OPUS', 2), ('MP3', 'MPEG_LAYER_III')]]

fuzzed = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
odd32 = st.one_of(st.sampled_from([0, 1, 0x7fffffff, 0x80000000, 0xefffffff, 0xfffffff0, 0xffffffff]), st.integers(0, 2**32 - 1))
odd16 = st.one_of(st.sampled_from([0, 1, 2, 3, 6, 7, 17, 49, 85, 1024, 0x7fff, 0xfffe, 0xffff]), st.integers(0, 2**16 - 1))


@linux
@fuzzed
@given(st.sampled_from([b'', b'RIFF', b'fLaC', b'OggS', b'ID3\x03', b'\xff\xfb', b'FORM', b'.snd', b'caff', b'RF64']), st.binary(max_size=2000))
def test_random_bytes(guarded, start, content): guarded(start + content)


@linux
@fuzzed
@given(st.sampled_from(FILES), st.data())
def test_truncated_and_damaged_files(guarded, whole, data):
    content = bytearray(whole)
    for at in data.draw(st.lists(st.one_of(st.integers(0, 120), st.integers(0, len(whole) - 4)), max_size=5)):
        content[at:at + 4] = data.draw(st.one_of(st.binary(min_size=4, max_size=4), odd32.map(lambda n: struct.pack('<I', n)),
                                                 odd32.map(lambda n: struct.pack('>I', n))))
    guarded(bytes(content[:data.draw(st.integers(0, len(content)))]))


@linux
@fuzzed
@given(riff=odd32, fmt=odd32, tag=odd16, channels=odd16, rate=odd32, byte_rate=odd32, align=odd16, bits=odd16, length=odd32,
       sound=st.binary(max_size=600))
@example(36, 16, 1, 1, RATE, 2*RATE, 2, 16, 0xfffffff0, bytes(600))
@example(36, 16, 3, 0xffff, RATE, 2*RATE, 2, 32, 600, b'\xff'*600)
def test_odd_headers(guarded, riff, fmt, tag, channels, rate, byte_rate, align, bits, length, sound):
    guarded(struct.pack('<4sI4s4sIHHIIHH4sI', b'RIFF', riff, b'WAVE', b'fmt ', fmt, tag, channels, rate, byte_rate, align, bits,
                        b'data', length) + sound)


HEADERS = { # where a header says how much follows, and how it says it
    'WAV': (b'data', 4, '<I'), 'AU': (b'.snd', 8, '>I'), 'AIFF': (b'COMM', 10, '>I'), 'W64': (b'data', 16, '<Q'),
    'CAF': (b'data', 4, '>Q'), 'RF64': (b'ds64', 16, '<Q')}


@linux
@pytest.mark.parametrize('format', HEADERS)
@pytest.mark.parametrize('size', [2**32 - 20000, 2**40, 2**62], ids=['4 GB', '1 TB', '4 EB'])
def test_a_header_that_promises_more_than_there_is_room_for(guarded, format, size):
    "It takes no memory for what is promised, and either says so or loads what is there"
    chunk, offset, how = HEADERS[format]
    content = bytearray(encoded(format, 'PCM_16'))
    at = content.index(chunk) + offset
    content[at:at + struct.calcsize(how)] = struct.pack(how, min(size, 2**(8*struct.calcsize(how)) - 20000))
    kind, what = guarded(bytes(content))
    if kind == 'loaded': assert what[3] <= 3000, 'more than there is'


@linux
def test_a_flac_file_that_promises_gigabytes(guarded):
    content = bytearray(encoded('FLAC'))
    content[21] |= 0x0f # 36 bits of total samples
    content[22:26] = b'\xff'*4
    assert guarded(bytes(content))[0] == 'AudioError'


@pytest.mark.parametrize('value', [3e38, 1e300, -3e38])
def test_samples_beyond_float32_are_refused_without_a_warning(tmp_path, value):
    sf.write(tmp_path/'x.wav', np.full((1000, 2), value), 8000, subtype='DOUBLE')
    with pytest.raises(AudioError, match='x.wav'): load_clip(tmp_path/'x.wav', RATE)


@pytest.mark.parametrize('name, value', [('duration', float('nan')), ('duration', float('inf')), ('offset', float('nan')),
                                         ('offset', float('inf')), ('sample_rate', float('nan'))])
def test_arguments_that_are_no_numbers(tmp_path, name, value):
    sf.write(tmp_path/'x.wav', np.zeros(1000), RATE)
    with pytest.raises(ValueError, match=name) as e: load_clip(tmp_path/'x.wav', **{name: value})
    assert not isinstance(e.value, AudioError)


def test_a_rate_that_only_a_header_can_have(tmp_path):
    for rate in 1000, 1001, 1_000_003, 2**31 - 1:
        sf.write(tmp_path/'x.wav', np.random.default_rng(0).normal(0, 0.1, 2000), rate)
        samples, new = load_clip(tmp_path/'x.wav', RATE)
        assert new == RATE and np.isfinite(samples).all() and len(samples) == int(np.ceil(2000*RATE/rate))


# --------------------------------------------------------------------------------------- what is no file, or not ours

def refused(path, reason):
    with pytest.raises(AudioError, match=reason) as e: load_clip(path)
    assert str(path) in str(e.value)


def test_folders_pipes_sockets_and_devices(tmp_path):
    "A pipe without a writer would be waited for forever"
    refused(tmp_path, 'folder, a pipe or a device')
    refused('/dev/zero', 'folder, a pipe or a device')
    os.mkfifo(tmp_path/'pipe.wav')
    refused(tmp_path/'pipe.wav', 'folder, a pipe or a device')
    (tmp_path/'link.wav').symlink_to('pipe.wav')
    refused(tmp_path/'link.wav', 'folder, a pipe or a device')
    with tempfile.TemporaryDirectory() as short, socket.socket(socket.AF_UNIX) as s: # its path must be short
        s.bind(f'{short}/s.wav')
        refused(f'{short}/s.wav', 'folder, a pipe or a device')


def test_links(tmp_path):
    sf.write(tmp_path/'x.wav', np.zeros(100), RATE)
    (tmp_path/'good.wav').symlink_to('x.wav')
    assert len(load_clip(tmp_path/'good.wav')[0]) == 100
    (tmp_path/'dangling.wav').symlink_to('nowhere.wav')
    (tmp_path/'loop.wav').symlink_to('loop.wav')
    with pytest.raises(FileNotFoundError, match='dangling.wav'): load_clip(tmp_path/'dangling.wav')
    refused(tmp_path/'loop.wav', 'symbolic links')


@pytest.mark.parametrize('name', ['nowhere.wav', 'no/where.wav', 'x.wav/y.wav', ''])
def test_missing(tmp_path, name):
    sf.write(tmp_path/'x.wav', np.zeros(100), RATE)
    path = tmp_path/name if name else Path('nowhere')
    for p in path, str(path):
        with pytest.raises(FileNotFoundError, match=str(path)): load_clip(p)


def test_a_name_that_is_too_long(tmp_path): refused(tmp_path/('x'*300 + '.wav'), 'too long')


@linux
def test_a_file_that_may_not_be_read():
    "Nobody is the user nobody, so that this can be tested by root too"
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        path = Path(folder)/'secret.wav'
        sf.write(path, np.zeros(100), RATE)
        os.chmod(path, 0)
        read, write = os.pipe()
        if (child := os.fork()) == 0:
            try:
                if os.geteuid() == 0: os.setuid(65534)
                os.write(write, ': '.join(outcome(path)).encode())
            finally: os._exit(0)
        os.close(write)
        os.waitpid(child, 0)
        with open(read) as f: assert f.read() == f'AudioError: cannot use {path}: Permission denied'


# ------------------------------------------------------------------------------------ silence, and a bad file in training

def test_silence_is_finite_by_every_route():
    import torch
    from audio_tutorial.batches import MelSpectrogram
    from audio_tutorial.images import draw_image, image_to_db
    from audio_tutorial.mel import MelSettings
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        for s in MelSettings(), MelSettings(n_mels=None):
            silent = np.zeros(RATE, 'float32')
            routes = (s.scale(s.log_mel(silent)), MelSpectrogram(s)(torch.zeros(3, RATE)).numpy(),
                      s.scale(image_to_db(draw_image(silent, s, rgb=False), s)))
            for values in routes: assert np.isfinite(values).all() and np.ptp(values) == 0
            assert all(np.allclose(values.flat[0], routes[0].flat[0]) for values in routes)


@pytest.mark.parametrize('side', ['train', 'valid'])
def test_a_bad_file_stops_a_training_by_name_and_the_report_finds_it_before(tmp_path, side):
    import torch
    from fastai.vision.all import CategoryBlock, DataBlock
    from audio_tutorial.files import get_audio_files
    from audio_tutorial.learner import AudioBlock, audio_learner
    from audio_tutorial.folders import ParentSplitter
    from audio_tutorial.report import clip_report
    from audio_tutorial.notes import family, make_notes
    notes = make_notes(tmp_path, 12, 8, seed=0, progress=False)
    bad = sorted((notes/side).glob('*.wav'))[5]
    bad.write_bytes(bad.read_bytes()[:1000])
    dls = DataBlock((AudioBlock(), CategoryBlock), get_items=get_audio_files, splitter=ParentSplitter(),
                    get_y=family).dataloaders(notes, bs=4, num_workers=2, device=torch.device('cpu'))
    learn = audio_learner(dls, 'squeezenet1_1', pretrained=False)
    with learn.no_bar(), learn.no_logging(), pytest.raises(AudioError, match=f'cannot use {bad}: it is cut off'): learn.fit(1)
    report = clip_report(notes, progress=False)
    assert dict(report.error[report.error != '']) == {
        bad.relative_to(notes).as_posix(): 'it is cut off: its header promises more samples'}
