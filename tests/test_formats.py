"Which lengths `load_clip` believes: the decoder's end, and what a container states; every format, whole and in parts"
import io
import struct
import sys

import numpy as np
import pytest
import soundfile as sf

from audio_tutorial.arrays import AudioError
from audio_tutorial.clips import crop_or_pad, load_clip

RATE = 44100
SECONDS = 6
av = pytest.importorskip('av')


def sound(kind, rate=RATE, seconds=SECONDS):
    "A tone, or noise that begins or ends in the middle: what makes an estimate of the length too short or too long"
    t = np.arange(round(seconds*rate))/rate
    noise = np.random.default_rng(0).normal(0, 0.3, len(t)).clip(-1, 1)
    half = t < seconds/2
    return {'steady': 0.3*np.sin(2*np.pi*440*t), 'quiet_then_loud': np.where(half, 0, noise),
            'loud_then_quiet': np.where(half, noise, 0.003*np.sin(2*np.pi*440*t))}[kind].astype('float32')


def encoded(samples, format, rate=RATE, **kwargs):
    file = io.BytesIO()
    sf.write(file, samples, rate, format=format, **kwargs)
    return file.getvalue()


def written(path, content):
    path.write_bytes(bytes(content))
    return path


def seconds_of(path):
    samples, rate = load_clip(path)
    assert samples.dtype == np.float32 and np.isfinite(samples).all()
    return len(samples)/rate


def refused(path, reason, **kwargs):
    with pytest.raises(AudioError, match=reason) as e: load_clip(path, **kwargs)
    assert str(path) in str(e.value)


def with_av(path, codec, sample_format, samples, rate=RATE, container=None, **options):
    "Write a file with FFmpeg's encoders"
    with av.open(str(path), 'w', format=container, options=options) as c:
        stream = c.add_stream(codec, rate=rate)
        stream.layout = 'mono'
        for i in range(0, len(samples), 1024):
            part = samples[None, i:i + 1024]
            if sample_format.startswith('s16'): part = (32767*part).astype('int16')
            frame = av.AudioFrame.from_ndarray(part, format=sample_format, layout='mono')
            frame.rate, frame.pts = rate, i
            for packet in stream.encode(frame): c.mux(packet)
        for packet in stream.encode(None): c.mux(packet)
    return path


# ------------------------------------------------------------------------------------------------------------------ MP3

RATES = [0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320]
MODES = 'VARIABLE', 'AVERAGE', 'CONSTANT'
ID3 = b'ID3\x04\0\0' + bytes([0, 1, 0x48, 0]) + b'\xff\xfb\x90'*8533 + b'\0' # 25,600 bytes that look like cover art
BEHIND = {'ID3v1': b'TAG' + b'x'*125, 'zeros': bytes(7000), 'APE': b'APETAGEX' + struct.pack('<4I', 2000, 3032, 1, 0xA0000000)
          + bytes(8) + b'\xff\xe0\0\x10JFIF'*375 + b'APETAGEX' + struct.pack('<4I', 2000, 3032, 1, 0x80000000) + bytes(8)}


def mp3(kind='steady', mode='VARIABLE', tag=True, level=0.3):
    "Bytes of an MP3 file with or without a length tag, and the frames of sound in it"
    whole = encoded(sound(kind), 'MP3', bitrate_mode=mode, compression_level=level)
    n, at, first = 0, 0, 0
    while at + 4 <= len(whole) and whole[at] == 0xff:
        n, at = n + 1, at + 144000*RATES[whole[at + 2] >> 4]//RATE + (whole[at + 2] >> 1 & 1)
        first = first or at
    assert b'Xing' in whole[:200] or b'Info' in whole[:200]
    return whole if tag else whole[first:], n - 1


@pytest.mark.parametrize('mode', MODES)
@pytest.mark.parametrize('kind', ['steady', 'quiet_then_loud', 'loud_then_quiet'])
def test_mp3_without_a_length_is_read_to_its_end(tmp_path, kind, mode):
    content, n = mp3(kind, mode, tag=False)
    for name, front, behind in ('bare', b'', b''), ('art', ID3, BEHIND['ID3v1']), ('padded', bytes(3000), bytes(5000)):
        path = written(tmp_path/f'{name}.mp3', front + content + behind)
        assert seconds_of(path) == pytest.approx(n*1152/RATE, abs=0.06), name


@pytest.mark.parametrize('behind', BEHIND)
def test_what_lies_behind_the_frames_of_an_mp3_does_not_matter(tmp_path, behind):
    content, _ = mp3()
    wanted, _ = load_clip(written(tmp_path/'alone.mp3', content))
    assert len(wanted) == SECONDS*RATE, 'a tag of LAME says how much of the last frame is sound'
    for front in b'', ID3:
        assert np.array_equal(load_clip(written(tmp_path/'x.mp3', front + content + BEHIND[behind]))[0], wanted)


@pytest.mark.parametrize('between', [b'', BEHIND['ID3v1'], ID3, BEHIND['ID3v1'] + ID3])
@pytest.mark.parametrize('tag', [True, False])
def test_joined_mp3_files_are_read_to_the_last(tmp_path, between, tag):
    content, n = mp3(tag=tag)
    path = written(tmp_path/'x.mp3', content + between + content)
    assert seconds_of(path) == pytest.approx(2*n*1152/RATE, abs=0.15)


def test_a_joined_mp3_of_another_rate_is_an_error_that_says_so(tmp_path):
    content, _ = mp3()
    refused(written(tmp_path/'x.mp3', content + encoded(sound('steady', 48000), 'MP3', 48000)), 'rate changes from 44100 to 48000')


@pytest.mark.parametrize('mode', MODES)
@pytest.mark.parametrize('missing', [1, 150, 5000])
def test_an_mp3_that_falls_short_of_its_tag_is_cut_off(tmp_path, mode, missing):
    content, _ = mp3('quiet_then_loud', mode)
    refused(written(tmp_path/'x.mp3', content[:-missing]), 'cut off')


def test_an_mp3_whose_tag_counts_itself_is_whole(tmp_path):
    content = bytearray(mp3()[0])
    at = content.index(b'Xing') + 8
    wanted = seconds_of(written(tmp_path/'x.mp3', content))
    content[at:at + 4] = struct.pack('>I', struct.unpack_from('>I', content, at)[0] + 1)
    assert seconds_of(written(tmp_path/'x.mp3', content)) == pytest.approx(wanted, abs=0.05)


# ------------------------------------------------------------------------------------------------- WAV, AIFF, FLAC, CAF

@pytest.mark.parametrize('size', [0, 0x7FFFF000, 0x80000000, 0xFFFFFFFF])
@pytest.mark.parametrize('subtype', ['PCM_16', 'PCM_24', 'FLOAT', 'PCM_U8'])
def test_wav_from_a_pipe_or_an_interrupted_recorder(tmp_path, size, subtype):
    x = sound('steady', 16000)
    content = bytearray(encoded(x, 'WAV', 16000, subtype=subtype))
    wanted, _ = load_clip(written(tmp_path/'whole.wav', content))
    at = content.index(b'data') + 4
    for riff in size, min(size + 36, 2**32 - 1), 36:
        content[at:at + 4], content[4:8] = struct.pack('<I', size), struct.pack('<I', riff)
        assert np.array_equal(load_clip(written(tmp_path/'x.wav', content))[0], wanted), riff


@pytest.mark.parametrize('size', [0, 0x7FFFF000, 0x80000000, 0xFFFFFFFF])
@pytest.mark.parametrize('frames', [None, 0])
def test_aiff_from_a_pipe_or_an_interrupted_recorder(tmp_path, size, frames):
    content = bytearray(encoded(sound('steady', 16000), 'AIFF', 16000))
    wanted, _ = load_clip(written(tmp_path/'whole.aiff', content))
    at = content.index(b'SSND') + 4
    content[at:at + 4], content[4:8] = struct.pack('>I', size), struct.pack('>I', min(size + 46, 2**32 - 1))
    if frames is not None:
        at = content.index(b'COMM') + 10
        content[at:at + 4] = struct.pack('>I', frames)
    assert np.array_equal(load_clip(written(tmp_path/'x.aiff', content))[0], wanted)


def test_an_empty_wav_with_a_chunk_behind_it_holds_no_samples(tmp_path):
    content = bytearray(encoded(np.zeros(0), 'WAV'))
    content += b'LIST' + struct.pack('<I', 400) + b'INFO' + bytes(396)
    content[4:8] = struct.pack('<I', len(content) - 8)
    refused(written(tmp_path/'x.wav', content), 'no samples')


@pytest.mark.parametrize('format, subtype', [('WAV', 'PCM_16'), ('WAVEX', 'PCM_24'), ('WAV', 'IMA_ADPCM'), ('RF64', 'PCM_16'),
                                             ('W64', 'PCM_16'), ('AIFF', 'PCM_16'), ('AU', 'PCM_16'), ('CAF', 'PCM_16'),
                                             ('FLAC', 'PCM_16'), ('OGG', 'VORBIS'), ('OGG', 'OPUS'), ('MP3', None)])
@pytest.mark.parametrize('share', [0.5, 0.97])
def test_what_falls_short_of_its_header_is_refused(tmp_path, format, subtype, share):
    content = encoded(sound('loud_then_quiet', 16000), format, 16000, subtype=subtype)
    path = written(tmp_path/'x', content)
    assert seconds_of(path) == pytest.approx(SECONDS, abs=0.07)
    refused(written(path, content[:int(share*len(content))]), 'cannot use')


@pytest.mark.parametrize('bits', [16, 24])
def test_flac_of_an_unknown_number_of_samples(tmp_path, bits):
    x = sound('loud_then_quiet', 16000)
    content = bytearray(encoded(x, 'FLAC', 16000, subtype=f'PCM_{bits}'))
    wanted, _ = load_clip(written(tmp_path/'whole.flac', content))
    content[21] &= 0xF0 # 36 bits of total samples
    content[22:26] = bytes(4)
    for checksum in content[26:42], bytes(16):
        content[26:42] = checksum
        path = written(tmp_path/'x.flac', content)
        assert np.array_equal(load_clip(path)[0], wanted)
        kept, _ = load_clip(path, keep_int16=True)
        assert kept.dtype == (np.int16 if bits == 16 else np.float32)
        assert np.array_equal(load_clip(path, 8000)[0], load_clip(tmp_path/'whole.flac', 8000)[0])


def test_caf_whose_size_is_not_known(tmp_path):
    content = bytearray(encoded(sound('steady'), 'CAF', subtype='PCM_16'))
    wanted, _ = load_clip(written(tmp_path/'whole.caf', content))
    at = content.index(b'data') + 4
    content[at:at + 8] = b'\xff'*8
    assert np.array_equal(load_clip(written(tmp_path/'x.caf', content))[0], wanted)


# ------------------------------------------------------------------------------------------------------------------ Ogg

def pages(content):
    at = 0
    while at < len(content):
        n = content[at + 26]
        size = 27 + n + sum(content[at + 27:at + 27 + n])
        yield at, size
        at += size


def checksum(page):
    c = 0
    for byte in page:
        c ^= byte << 24
        for _ in range(8): c = (c << 1 ^ 0x04c11db7) & 0xffffffff if c & 0x80000000 else c << 1
    return c


def renumbered(content, serial=None, last=None):
    "An Ogg file of another serial number; `last`: flags of its last page"
    content = bytearray(content)
    for at, size in list(pages(content)):
        if serial is not None: content[at + 14:at + 18] = struct.pack('<I', serial)
        if last is not None and at + size == len(content): content[at + 5] = last
        content[at + 22:at + 26] = bytes(4)
        content[at + 22:at + 26] = struct.pack('<I', checksum(content[at:at + size]))
    return bytes(content)


@pytest.mark.parametrize('subtype', ['VORBIS', 'OPUS'])
def test_all_links_of_a_chained_ogg_are_read(tmp_path, subtype):
    kinds = 'steady', 'quiet_then_loud', 'loud_then_quiet'
    links = [encoded(sound(kind, 16000, 2), 'OGG', 16000, subtype=subtype) for kind in kinds]
    wanted = np.concatenate([load_clip(written(tmp_path/'link', link))[0] for link in links])
    assert len(wanted) == 6*16000
    chain = b''.join(renumbered(link, 100 + i) for i, link in enumerate(links))
    for behind in b'', b'TAG' + bytes(125):
        assert np.array_equal(load_clip(written(tmp_path/'x.ogg', chain + behind))[0], wanted)
    part, _ = load_clip(tmp_path/'x.ogg', offset=1.5, duration=3)
    assert np.array_equal(part, wanted[24000:72000])
    refused(written(tmp_path/'x.ogg', chain[:-200]), 'cut off')
    same_serial = written(tmp_path/'x.ogg', links[0]*3)
    assert np.array_equal(load_clip(same_serial)[0], np.tile(wanted[:32000], 3))


@pytest.mark.parametrize('subtype', ['VORBIS', 'OPUS'])
def test_a_chained_ogg_of_another_rate_is_an_error_that_says_so(tmp_path, subtype):
    links = [encoded(sound('steady', rate, 2), 'OGG', rate, subtype=subtype) for rate in (16000, 24000)]
    refused(written(tmp_path/'x.ogg', links[0] + renumbered(links[1], 7)), 'after 2.00 s its rate changes from 16000 to 24000')


def test_a_chained_ogg_may_go_from_one_channel_to_two(tmp_path):
    x = sound('steady', 16000, 2)
    links = [encoded(part, 'OGG', 16000) for part in (x, np.stack([x, x/2], axis=1))]
    samples, _ = load_clip(written(tmp_path/'x.ogg', links[0] + renumbered(links[1], 7)))
    assert len(samples) == 4*16000 and np.std(samples[40000:60000]) == pytest.approx(0.75*np.std(samples[10000:30000]), rel=0.05)


@pytest.mark.parametrize('subtype', ['VORBIS', 'OPUS'])
def test_an_ogg_that_nobody_ended_is_read_as_far_as_its_pages_go(tmp_path, subtype):
    "A recorder that was stopped: its last page lacks the mark of an end, which is no statement of a length"
    content = encoded(sound('loud_then_quiet', 16000, 3), 'OGG', 16000, subtype=subtype)
    path = written(tmp_path/'x.ogg', renumbered(content, last=0))
    assert seconds_of(path) == pytest.approx(3, abs=0.1)


# --------------------------------------------------------------------------------------------- what FFmpeg alone reads

PHONE = [('x.m4a', 'aac', 'fltp', {}), ('faststart.m4a', 'aac', 'fltp', dict(movflags='faststart')), ('x.mp4', 'aac', 'fltp', {}),
         ('fragmented.mp4', 'aac', 'fltp', dict(movflags='frag_keyframe+empty_moov')), ('x.3gp', 'aac', 'fltp', {}),
         ('alac.m4a', 'alac', 's16p', {}), ('x.aac', 'aac', 'fltp', dict(container='adts')), ('x.mka', 'flac', 's16', {}),
         ('x.wv', 'wavpack', 'fltp', {}), ('x.tta', 'tta', 's16', {})]


@pytest.mark.parametrize('name, codec, kind, options', PHONE, ids=[p[0] for p in PHONE])
def test_formats_that_ffmpeg_reads(tmp_path, name, codec, kind, options):
    x = sound('steady')
    path = with_av(tmp_path/name, codec, kind, x, **options)
    samples, rate = load_clip(path)
    assert rate == RATE and len(samples)/rate == pytest.approx(SECONDS, abs=0.06)
    assert np.std(samples[RATE:4*RATE]) == pytest.approx(np.std(x), rel=0.05)
    if codec == 'alac': assert np.abs(samples - x).max() <= 2**-14


@pytest.mark.parametrize('name, codec, kind, options', [PHONE[1], PHONE[8], PHONE[9]], ids=['m4a', 'wv', 'tta'])
def test_what_falls_short_of_a_stated_length_by_ffmpeg_is_cut_off(tmp_path, name, codec, kind, options):
    path = with_av(tmp_path/name, codec, kind, sound('loud_then_quiet'), **options)
    refused(written(path, path.read_bytes()[:path.stat().st_size*6//10]), 'cannot use')


def test_without_ffmpeg_the_error_names_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'av', None)
    refused(with_av(tmp_path/'x.m4a', 'aac', 'fltp', sound('steady')), 'pip install av')
    refused(written(tmp_path/'x.mp3', mp3(tag=False)[0]), 'pip install av')
    assert seconds_of(written(tmp_path/'y.mp3', mp3()[0])) == SECONDS, 'libsndfile is enough for the rest'


# ---------------------------------------------------------------------------------------------------------------- parts

PARTS = [('WAV', 'PCM_16'), ('WAV', 'PCM_24'), ('WAV', 'FLOAT'), ('WAV', 'IMA_ADPCM'), ('WAV', 'MS_ADPCM'), ('WAV', 'GSM610'),
         ('WAV', 'ULAW'), ('W64', 'PCM_16'), ('AIFF', 'PCM_16'), ('AIFF', 'GSM610'), ('AIFF', 'DWVW_16'), ('AU', 'G721_32'),
         ('CAF', 'ALAC_16'), ('FLAC', 'PCM_16'), ('FLAC', 'PCM_24'), ('OGG', 'VORBIS'), ('OGG', 'OPUS'), ('MP3', None)]


def is_the_slice(path):
    whole, rate = load_clip(path)
    rng = np.random.default_rng(0)
    for offset, duration in [(0, 0.1), (0.5, None), (len(whole)/rate - 0.01, 1), *rng.uniform([0, 0.01], [4, 1.5], (12, 2))]:
        start = int(offset*rate)
        wanted = whole[start:] if duration is None else crop_or_pad(whole, round(duration*rate), start)
        assert np.array_equal(load_clip(path, offset=offset, duration=duration)[0], wanted), (offset, duration)


@pytest.mark.parametrize('channels', [1, 2])
@pytest.mark.parametrize('format, subtype', PARTS)
def test_a_part_is_the_slice_of_the_whole(tmp_path, format, subtype, channels):
    if channels == 2 and subtype in ('GSM610', 'DWVW_16', 'G721_32'): pytest.skip('mono only')
    rate = 8000 if subtype in ('GSM610', 'G721_32') else 16000
    x = sound('steady', rate) + sound('quiet_then_loud', rate)/2
    path = written(tmp_path/'x', encoded(np.stack([x, x[::-1]][:channels], axis=1), format, rate, subtype=subtype))
    is_the_slice(path)


@pytest.mark.parametrize('name, codec, kind, options', [PHONE[0], PHONE[5], PHONE[6]], ids=['m4a', 'alac', 'aac'])
def test_a_part_of_what_ffmpeg_reads_is_the_slice_of_the_whole(tmp_path, name, codec, kind, options):
    is_the_slice(with_av(tmp_path/name, codec, kind, sound('steady') + sound('quiet_then_loud')/2, **options))


@pytest.mark.parametrize('mode', MODES)
def test_a_part_of_an_mp3_without_a_length_is_the_slice_of_the_whole(tmp_path, mode):
    is_the_slice(written(tmp_path/'x.mp3', mp3('quiet_then_loud', mode, tag=False)[0]))


# ----------------------------------------------------------------------------------------------- slow and fast recordings

@pytest.mark.parametrize('rate', [1, 10, 100, 250, 999])
def test_recordings_of_whales_and_earthquakes_are_sounds(tmp_path, rate):
    x = 0.3*np.sin(np.arange(60*rate)/3)
    sf.write(tmp_path/'x.wav', x, rate, subtype='FLOAT')
    assert load_clip(tmp_path/'x.wav')[1] == rate and np.allclose(load_clip(tmp_path/'x.wav')[0], x)
    assert len(load_clip(tmp_path/'x.wav', 2*rate)[0]) == 120*rate


def test_floats_of_an_open_length_are_checked(tmp_path):
    x = sound('steady', 16000)
    x[5000] = np.nan
    content = bytearray(encoded(x, 'WAV', 16000, subtype='FLOAT'))
    at = content.index(b'data') + 4
    content[at:at + 4] = content[4:8] = bytes(4)
    refused(written(tmp_path/'x.wav', content), 'NaN or infinite')


def test_more_than_eight_planar_channels_are_refused_before_they_are_converted(tmp_path, monkeypatch):
    "The guard in front of the decoder, which is replaced here: such a frame never reaches it"
    import av
    from types import SimpleNamespace as Fake

    def convert(): raise AssertionError('a frame was converted')
    frame = Fake(layout=Fake(channels=range(9)), format=Fake(is_planar=True, name='fltp'), to_ndarray=convert)
    container = Fake(streams=Fake(audio=['a stream']), demux=lambda stream: [Fake(decode=lambda: [frame])], close=lambda: None)
    monkeypatch.setattr(av, 'open', lambda *args, **kwargs: container)
    path = written(tmp_path/'x.wv', b'wvpk' + bytes(100))
    with pytest.raises(AudioError, match='x.wv: it has 9 channels, more than 8'): load_clip(path)
