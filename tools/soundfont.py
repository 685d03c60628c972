"Reads soundfonts (SF2 files): their recordings, and which keys each preset plays from them"
import struct
from pathlib import Path

import numpy as np

STRETCH = 11           # semitones a soundfont may have moved a recording for a key to count as covered

def chunks(
    data: memoryview, # Bytes of a RIFF file
    start: int, # First byte to look at
    end: int, # First byte not to look at
): # Yields name, first byte and size of each chunk
    "The RIFF chunks that lie one after another between `start` and `end`"
    while start + 8 <= end:
        name, size = struct.unpack_from("<4sI", data, start)
        yield name.decode("latin1"), start + 8, size
        start += 8 + size + size % 2

def text(raw: bytes) -> str:
    "A name of a soundfont, padded with zeros"
    return raw.split(b"\0")[0].decode("latin1").strip()

def zones(
    generators: list, # (operator, amount) of every generator
    bags: list, # Index of the first generator of every zone
    first: int, # First zone
    last: int, # First zone not to read
    final: int, # The operator a real zone ends in; without it, a first zone is the global one
) -> list: # One dictionary operator -> amount a zone
    "Zones of one preset or instrument, the global zone's values filled in"
    found, common = [], {}
    for bag in range(first, last):
        values = dict(generators[bags[bag]:bags[bag + 1]])
        if final in values: found.append({**common, **values})
        elif bag == first: common = values
    return found

def span(values: dict, operator: int) -> tuple:
    "A range generator as (low, high); the whole range where it is not given"
    return (values[operator] & 255, values[operator] >> 8) if operator in values else (0, 127)

def signed(value: int) -> int:
    "A 16-bit amount as a signed number"
    return value - 65_536 if value > 32_767 else value

def read_soundfont(
    path: Path, # An SF2 file
) -> dict: # `pcm` (int16), `headers` of its samples, `presets`: (bank, program) -> (name, zones)
    "Reads an SF2 file; a preset's zone is (keys, velocities, sample number, root key), ranges intersected"
    data = memoryview(np.memmap(path, np.uint8, "r"))
    part = {}
    for name, start, size in chunks(data, 12, len(data)):
        if name == "LIST": part |= {n: data[s:s + z] for n, s, z in chunks(data, start + 4, start + size)}
    table = lambda name, layout: list(struct.iter_unpack(layout, part[name]))
    pgen, igen = table("pgen", "<HH"), table("igen", "<HH")
    pbag, ibag = [b[0] for b in table("pbag", "<HH")], [b[0] for b in table("ibag", "<HH")]
    inst, headers = table("inst", "<20sH"), table("shdr", "<20sIIIIIBbHH")
    presets = {}
    phdr = table("phdr", "<20sHHHIII")
    for this, after in zip(phdr, phdr[1:]):
        plays = []
        for outer in zones(pgen, pbag, this[3], after[3], 41):
            for inner in zones(igen, ibag, inst[outer[41]][1], inst[outer[41] + 1][1], 53):
                keys, speeds = ((max(a[0], b[0]), min(a[1], b[1]))
                                for a, b in ((span(outer, g), span(inner, g)) for g in (43, 44)))
                if keys[0] > keys[1] or speeds[0] > speeds[1]: continue
                root = inner[58] if inner.get(58, 65_535) < 128 else headers[inner[53]][6]
                root -= signed(outer.get(51, 0)) + signed(inner.get(51, 0))
                plays.append((keys, speeds, inner[53], root))
        presets[this[2], this[1]] = text(this[0]), plays
    return dict(pcm=np.frombuffer(part["smpl"], "<i2"), headers=headers, presets=presets)

def covered(
    plays: list, # Zones of a preset
) -> set: # MIDI keys
    "Keys that a preset plays from a recording at most `STRETCH` semitones away"
    return {key for keys, _, _, root in plays for key in range(keys[0], keys[1] + 1) if abs(key - root) <= STRETCH}

def real_range(
    plays: list, # Zones of a preset
    low: int, # Lowest key of the instrument in the world
    high: int, # Highest
) -> tuple: # (low, high), the longest run of keys that are covered as well
    "An instrument's range: keys it has in the world and that the soundfont has recordings near"
    best, run, keys = [], [], covered(plays)
    for key in range(max(low, 21), min(high, 108) + 1):
        run = run + [key] if key in keys else []
        if len(run) > len(best): best = run
    return best[0], best[-1]

def recording(
    font: dict, # A soundfont as read
    number: int, # Number of a sample in it
) -> np.ndarray: # int16
    "The samples of one recording"
    header = font["headers"][number]
    return font["pcm"][header[1]:header[2]]
