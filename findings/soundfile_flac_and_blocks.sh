#!/usr/bin/env bash
# soundfile 0.14.0 (libsndfile 1.2.2) does not read a FLAC file whose header leaves the number of samples open (0, which the
# format allows and streaming encoders write): soundfile.read raises ValueError, "array is too big", because it makes room for
# the largest number there is. FFmpeg 8 by PyAV 18.1.0 reads the file whole.
# And samples depend on the size of the blocks in which an MP3 of one channel is read (by 1e-7), because SoundFile.read seeks
# after every block; a subclass whose seekable() returns False gets the same samples for every size.
# Seen with Python 3.11 and 3.12 on Linux x86_64, November 2026. Needs uv.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
uv venv --quiet --no-config --python "${PYTHON:-python3}" env
uv pip install --quiet --no-config --python env soundfile==0.14.0 numpy av==18.1.0
env/bin/python - <<'PY'
import av, numpy as np, soundfile as sf

t = np.arange(5*44100)/44100
x = 0.2*np.random.default_rng(0).normal(size=len(t)).clip(-1, 1)
sf.write('x.mp3', x, 44100)

def outcome(source):
    try: return str(len(sf.read(source)[0]))
    except (ValueError, sf.SoundFileError): return 'error'

sf.write('x.flac', x[:44100], 44100)
content = bytearray(open('x.flac', 'rb').read())
content[21] &= 0xf0        # total samples: 36 bits
content[22:26] = bytes(4)
open('x.flac', 'wb').write(content)
with av.open('x.flac') as c: by_ffmpeg = sum(f.samples for f in c.decode(audio=0))
print('FLAC of an unknown number of samples: soundfile', outcome('x.flac'), 'PyAV', by_ffmpeg)
assert outcome('x.flac') == 'error' and by_ffmpeg == 44100

class Sequential(sf.SoundFile):
    def seekable(self): return False

def blocks(kind, size):
    parts = []
    with kind('x.mp3') as f:
        while len(block := f.read(size, 'float32')): parts.append(block)
    return np.concatenate(parts)

differences = {k.__name__: float(np.abs(blocks(k, 1152) - blocks(k, 10**6)).max()) for k in (sf.SoundFile, Sequential)}
print('blocks of 1,152 frames against one block:', differences)
assert 0 < differences['SoundFile'] < 1e-6 and differences['Sequential'] == 0
PY
