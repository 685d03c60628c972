"""Renders the sounds of `audio_tutorial/samples/` from two MIT-licensed soundfonts. How to run it: tools/README.md"""
import argparse, csv, hashlib, io, struct, subprocess, tempfile, zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import soundfile as sf
import soxr

from soundfont import read_soundfont, real_range, recording

SOUNDFONTS = {"FluidR3": Path("/usr/share/sounds/sf2/FluidR3_GM.sf2"),
              "MuseScore": Path("/usr/share/sounds/sf2/MuseScore_General_Full.sf2")}
LICENCES = {"FluidR3": Path("/usr/share/doc/fluid-soundfont-gm/copyright"),
            "MuseScore": Path("/usr/share/doc/musescore-general-soundfont-lossless/copyright")}
SAMPLES = Path(__file__).resolve().parents[1] / "audio_tutorial" / "samples"
PRESETS = Path(__file__).with_name("presets.csv")

SAMPLE_RATE = 16_000   # of the bank, in Hz
HOLD = 4.52            # seconds a note is held: 4 s are left when it is transposed up by 2 semitones and a bit
STEP = 6               # semitones between neighbouring zones, at most
LAYERS = (75, 127)     # velocities rendered of an instrument with two recorded layers; otherwise the last alone
FLOOR = 10 ** (-50 / 20)   # what lies this far below a sample's peak is silence, before and after it
LIMIT = 5_000_000      # bytes of the bank
QUALITY = 0.96         # of the codec: libsndfile's compression level for Opus (0 = largest)
SHORTEST = 13          # keys: an instrument with a smaller range is left out

def zone_pitches(
    low: int, # Lowest key of an instrument
    high: int, # Highest key
) -> list: # Keys to render
    "Evenly spaced keys, at most `STEP` apart: from one of them, each key is at most 2 up or 3 down"
    first, last = min(low + STEP // 2, high), max(high - STEP // 2 + 1, low)
    n = max(-(-(last - first) // STEP) + 1, 1)
    return [round(first + (last - first) * i / max(n - 1, 1)) for i in range(n)]

# --- which presets are one instrument -------------------------------------------------------------------------------

def candidates() -> list:
    "Rows of presets.csv as dictionaries"
    with open(PRESETS, newline="") as file:
        return [{k: int(v) if v.isdigit() else v for k, v in row.items()} for row in csv.DictReader(file)]

def recordings(
    rows: list, # The candidates
    fonts: dict, # Soundfonts as read, by name
) -> dict: # digest of the PCM -> (root key, versions at 11,025 Hz, numbers of the rows that use it)
    "What all presets are made of; a stereo pair also as its mean, since another soundfont may hold only that"
    found = {}
    for i, row in enumerate(rows):
        font = fonts[row["soundfont"]]
        for _, _, number, root in font["presets"][row["bank"], row["program"]][1]:
            pcm, header = recording(font, number), font["headers"][number]
            if len(pcm) < 64: continue
            digest = hashlib.sha256(pcm.tobytes()).hexdigest()
            if digest not in found:
                versions = [pcm]
                if header[9] in (2, 4) and font["headers"][header[8]][8] == number:
                    other = recording(font, header[8])
                    n = min(len(pcm), len(other))
                    versions.append((pcm[:n].astype(np.float32) + other[:n]) / 2)
                versions = [soxr.resample(v[:header[5]].astype(np.float32), header[5], 11_025)[:WINDOW] for v in versions]
                found[digest] = root, versions, set()
            found[digest][2].add(i)
    return found

WINDOW, PIECE = 11_025, slice(0, 5_512)   # samples at 11,025 Hz: where a copy is looked for, and of what

def copies(
    sounds: list, # Versions at 11,025 Hz
) -> np.ndarray: # Matrix: normalised correlation of the first half second of one at its best place in the other
    "Finds copies whatever their level and start: 1 for a copy; overtones count as much as the fundamental"
    n, size = len(sounds), 16_384
    spectra, pieces, power, energy = [], [], np.zeros((n, WINDOW), np.float32), np.zeros(n)
    for i, x in enumerate(sounds):
        x = np.diff(np.pad(x, (0, WINDOW + 2 - len(x))).astype(np.float64), 2)
        x /= np.sqrt(np.sum(x ** 2)) + 1e-9
        piece = x[PIECE]
        total = np.concatenate([[0.0], np.cumsum(x ** 2)])
        lags = WINDOW - len(piece)
        power[i, :lags] = np.maximum(total[len(piece):-1] - total[:lags], 1e-3)
        energy[i] = np.sum(piece ** 2)
        spectra.append(np.fft.rfft(x, size).astype(np.complex64))
        pieces.append(np.conj(np.fft.rfft(piece, size)).astype(np.complex64))
    spectra, match = np.array(spectra), np.zeros((n, n), np.float32)
    for i in range(n):
        if energy[i] < 1e-4: continue
        found = np.fft.irfft(spectra * pieces[i], size)[:, :lags]
        match[i] = np.max(found / np.sqrt(power[:, :lags] * energy[i]), axis=1)
    return np.maximum(match, match.T)

def groups(
    rows: list, # The candidates
    fonts: dict, # Soundfonts as read, by name
    least: float=0.98, # Correlation from which two recordings are one
) -> list: # A group number for each row
    """Presets that share any recording are one instrument: union-find over equal PCM data, and over copies of it
    that are trimmed, faded, resampled, at another level, or one channel made of two (looked for where the root
    keys are the same but for octaves)"""
    parent = list(range(len(rows)))
    def top(i):
        while parent[i] != i: i = parent[i]
        return i
    def join(users):
        tops = sorted({top(i) for i in users})
        for i in tops[1:]: parent[i] = tops[0]
    found = list(recordings(rows, fonts).values())
    for _, _, users in found: join(users)
    for pitch_class in range(12):
        here = [(v, users) for root, versions, users in found if root % 12 == pitch_class for v in versions]
        match = copies([v for v, _ in here])
        for i, j in np.argwhere(match > least): join(here[i][1] | here[j][1])
    order = sorted({top(i) for i in range(len(rows))})
    return [order.index(top(i)) + 1 for i in range(len(rows))]

# --- playing --------------------------------------------------------------------------------------------------------

def varlen(value: int) -> bytes:
    "A number as MIDI writes delta times: seven bits a byte, the last one without the top bit"
    out = [value & 127]
    while value := value >> 7: out.append(128 | value & 127)
    return bytes(reversed(out))

def midi_file(
    events: list, # (time in milliseconds, message as bytes), in any order
) -> bytes: # A MIDI file whose ticks are milliseconds
    "One track of `events`; events of the same time keep their order"
    track, now = b"\0\xff\x51\x03" + (1_000_000).to_bytes(3, "big"), 0
    for time, message in sorted(events, key=lambda e: e[0]):
        track += varlen(time - now) + bytes(message)
        now = time
    track += b"\0\xff\x2f\0"
    return (b"MThd" + struct.pack(">IHHH", 6, 0, 1, 1_000) + b"MTrk" + struct.pack(">I", len(track)) + track)

def render(
    events: list, # As `midi_file` takes them
    soundfont: Path, # The SF2 file
    gain: float=0.4, # fluidsynth's gain: fixed, and low enough that nothing clips
    reverb: bool=False, # Whether to add fluidsynth's room
) -> np.ndarray: # float32 (n_samples, 2) at 44.1 kHz
    "What fluidsynth plays, in floating point and without chorus"
    with tempfile.TemporaryDirectory() as folder:
        song, wav = Path(folder) / "song.mid", Path(folder) / "song.wav"
        song.write_bytes(midi_file(events))
        subprocess.run(["fluidsynth", "-niq", f"-R{int(reverb)}", "-C0", f"-g{gain}", "-r44100", "-Twav", "-Ofloat",
                        "-osynth.dynamic-sample-loading=1", f"-F{wav}", soundfont, song],
                       check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return sf.read(wav, dtype="float32", always_2d=True)[0]

def choose(
    bank: int, # Bank of a preset
    program: int, # Its number
) -> list: # Messages
    "The MIDI messages that choose a preset on the first channel"
    return [(0, bytes([0xb0, 0, bank])), (0, bytes([0xc0, program]))]

def trim(
    samples: np.ndarray, # A note
    sample_rate: int, # Its rate in Hz
) -> np.ndarray: # The note from 2 ms before its onset until it has died away
    "Cuts the silence before and after, at `HOLD` at the latest, with 2 ms of fade in and 20 ms of fade out"
    loud = np.flatnonzero(np.abs(samples) > FLOOR * np.abs(samples).max())
    fade_in, fade_out = sample_rate // 500, sample_rate // 50
    start = max(0, loud[0] - fade_in)
    samples = samples[start:min(loud[-1] + fade_out, start + int(HOLD * sample_rate))].copy()
    samples[:fade_in] *= np.linspace(0, 1, fade_in)
    samples[-fade_out:] *= np.linspace(1, 0, fade_out)
    return samples

def render_notes(
    row: dict, # An instrument: soundfont, bank, program, pitches, velocities
) -> dict: # (pitch, velocity) -> mono float32 at `SAMPLE_RATE`
    "Plays every zone of an instrument, one after the other, and cuts them apart"
    notes = [(p, v) for v in row["velocities"] for p in row["pitches"]]
    slot, events = int(1000 * HOLD) + 1_200, choose(row["bank"], row["program"])
    for i, (pitch, velocity) in enumerate(notes):
        start = 1_000 + i * slot
        events += [(start, bytes([0x90, pitch, velocity])), (start + int(1000 * HOLD) + 100, bytes([0xb0, 120, 0]))]
    sound = render(events + [(1_000 + len(notes) * slot, bytes([0xb0, 123, 0]))], SOUNDFONTS[row["soundfont"]])
    sound = soxr.resample(sound.mean(axis=1), 44_100, SAMPLE_RATE)
    cut = {}
    for i, note in enumerate(notes):
        start = SAMPLE_RATE * (1_000 + i * slot) // 1000
        piece = sound[start - 80:start + int(SAMPLE_RATE * (HOLD + 0.09))]
        cut[note] = trim(piece, SAMPLE_RATE)
    return cut

def level(
    notes: dict, # (pitch, velocity) -> samples
) -> dict: # The same, at levels that suit the bank
    "Levels: the loudest half second of each layer's loudest zone at -14 dB, others at most 9 dB below, no peak over 0.75"
    def loudness(x): return max(np.sqrt(np.mean(x[i:i + 8_000] ** 2)) for i in range(0, max(len(x) - 4_000, 1), 2_000))
    out = {}
    for layer in {v for _, v in notes}:
        own = {k: x for k, x in notes.items() if k[1] == layer}
        strong = {k: loudness(x) for k, x in own.items()}
        top = max(strong.values())
        for k, x in own.items():
            wanted = 10 ** (-14 / 20) * max(strong[k] / top, 10 ** (-9 / 20))
            out[k] = x * min(wanted / strong[k], 0.75 / np.abs(x).max())
    return out

# --- writing --------------------------------------------------------------------------------------------------------

def ogg_checksum(page: bytes) -> int:
    "The CRC of an Ogg page: polynomial 0x04c11db7, not reflected"
    crc = 0
    for byte in page: crc = (crc << 8) & 0xffffffff ^ CRC[crc >> 24 ^ byte]
    return crc

def crc_row(value: int) -> int:
    "One entry of the table of `ogg_checksum`"
    value <<= 24
    for _ in range(8): value = value << 1 ^ (0x04c11db7 if value & 0x80000000 else 0)
    return value & 0xffffffff

CRC = [crc_row(i) for i in range(256)]

def same_serial(ogg: bytes) -> bytes:
    "An Ogg file with serial number 1 in place of the random one, so that the same sound gives the same bytes"
    out, start = b"", 0
    while start < len(ogg):
        n = ogg[start + 26]
        end = start + 27 + n + sum(ogg[start + 27:start + 27 + n])
        page = bytearray(ogg[start:end])
        page[14:18], page[22:26] = (1).to_bytes(4, "little"), bytes(4)
        page[22:26] = ogg_checksum(page).to_bytes(4, "little")
        out, start = out + bytes(page), end
    return out

def encode(
    samples: np.ndarray, # float32
    sample_rate: int=SAMPLE_RATE, # In Hz
) -> bytes: # An Ogg file
    """Opus, one quality for the whole bank: at 11 to 12 KB a note it keeps the band up to 8 kHz, of which MP3
    (13 to 17 KB) drops what lies above 7.4 kHz and Vorbis needs 16 to 20 KB"""
    file = io.BytesIO()
    sf.write(file, samples, sample_rate, format="OGG", subtype="OPUS", compression_level=QUALITY)
    return same_serial(file.getvalue())

def write_bank(
    members: dict, # Name -> bytes
    path: Path, # The zip file
):
    "A stored zip with sorted names and one fixed date: the same members give the same bytes"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as bank:
        for name in sorted(members):
            info = zipfile.ZipInfo(name, (2020, 1, 1, 0, 0, 0))
            info.external_attr = 0o644 << 16
            bank.writestr(info, members[name])

def instruments(
    rows: list, # The candidates
    fonts: dict, # Soundfonts as read, by name
) -> list: # The instruments of the bank: the first candidate of each group that is long enough to play a tune on
    "Chooses one preset a group and gives it a name, a range and its zones"
    numbers, chosen, counts = groups(rows, fonts), {}, {}
    for row, group in zip(rows, numbers):
        name, plays = fonts[row["soundfont"]]["presets"][row["bank"], row["program"]]
        low, high = (row["low"], row["high"]) if row["source"] == "synthetic" else real_range(
            plays, row["low"], row["high"])
        if group in chosen: chosen[group]["same"].append(f"{row['soundfont']} {row['bank']}:{row['program']} {name}")
        elif high - low >= SHORTEST - 1:
            chosen[group] = row | dict(low=low, high=high, group=group, preset=name, same=[],
                                       pitches=zone_pitches(low, high), velocities=LAYERS[-row["layers"]:])
    for row in chosen.values():
        kind = row["family"], row["source"]
        row["instrument"] = f"{kind[0]}_{kind[1]}_{counts.get(kind, 0):03d}"
        counts[kind] = counts.get(kind, 0) + 1
    return list(chosen.values())

def write_table(
    rows: list, # The instruments
    path: Path, # The CSV file
):
    "One line an instrument"
    with open(path, "w", newline="") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow("instrument family source recorded soundfont bank program preset group low high samples velocities"
                     " same_recordings".split())
        for r in sorted(rows, key=lambda r: r["instrument"]):
            recorded = "synthesised" if r["source"] == "synthetic" else "recorded"
            out.writerow([r["instrument"], r["family"], r["source"], recorded, r["soundfont"], r["bank"], r["program"],
                          r["preset"], r["group"], r["low"], r["high"], len(r["pitches"]) * len(r["velocities"]),
                          " ".join(map(str, r["velocities"])), "; ".join(r["same"])])

# --- the saxophone --------------------------------------------------------------------------------------------------

SILENCE, BEAT, LENGTH = 500, 600, 10.0   # milliseconds before the phrase, of a beat; seconds of the clip
PHRASE = [(62, .5, 84), (69, 1.5, 104), (67, .5, 88), (65, .5, 84), (64, .5, 82), (62, .5, 80), (65, 1, 96),
          (72, 1.5, 110), (70, .5, 92), (69, 1, 96), (None, .5, 0), (67, .5, 84), (69, .5, 88), (65, .5, 84),
          (64, 1, 88), (62, 2.5, 92)]   # MIDI pitch (None: a breath), beats, velocity

def play_saxophone() -> np.ndarray: # int16 (n_samples, 2) at 44.1 kHz
    "The phrase on an alto saxophone: long notes swell and get vibrato after a while"
    events, now = choose(0, 65) + [(0, bytes([0xb0, 1, 0]))], SILENCE
    for pitch, beats, velocity in PHRASE:
        length = round(beats * BEAT)
        if pitch is not None:
            events += [(now, bytes([0xb0, 11, 112])), (now, bytes([0xb0, 1, 0])), (now, bytes([0x90, pitch, velocity])),
                       (now + length - 12, bytes([0x80, pitch, 0]))]
            if beats >= 1:
                steps = range(60, length - 40, 30)
                for t in steps:
                    x = t / length
                    events += [(now + t, bytes([0xb0, 11, round(112 + 15 * np.sin(np.pi * min(x * 1.4, 1)))])),
                               (now + t, bytes([0xb0, 1, round(70 * min(max(x - 0.3, 0) * 2, 1))]))]
        now += length
    sound = render(events + [(now + 1_000, bytes([0xb0, 123, 0]))], SOUNDFONTS["FluidR3"], reverb=True)
    sound = sound[:round(LENGTH * 44_100)]
    sound[-8_820:] *= np.linspace(1, 0, 8_820)[:, None]
    sound[:round(0.49 * 44_100)] = 0
    return np.round(sound * (0.8 * 32_767 / np.abs(sound).max())).astype(np.int16)

# --- all of it ------------------------------------------------------------------------------------------------------

def licence() -> str:
    "LICENSE.md: what was made from what, and both soundfonts' own texts"
    parts = ["# The sounds in this folder", "",
             "`bank.zip`, `instruments.csv` and `saxophone.flac` were made by `tools/render_bank.py` from two soundfonts"
             " under the MIT licence, FluidR3 GM and MuseScore General (parts of which are in the public domain or"
             " CC0). `bank.zip` holds single notes of their presets, played by FluidSynth without reverb or chorus,"
             " mixed to one channel, resampled to 16 kHz, levelled and encoded as Opus; `instruments.csv` says which"
             " preset each comes from. `saxophone.flac` is a phrase played on FluidR3's alto saxophone. They are"
             " distributed under the same licences, whose texts and credits follow as their Debian packages give them."]
    for name, path in LICENCES.items():
        parts += ["", f"## {name} ({SOUNDFONTS[name].name})", "", "```text",
                  path.read_text().rstrip().replace("\t", "    "), "```"]
    return "\n".join(parts) + "\n"

def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=SAMPLES, help="folder to write into")
    parser.add_argument("--only", choices=["bank", "saxophone"], help="write this alone")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "LICENSE.md").write_text(licence())
    if args.only != "bank":
        sf.write(args.out / "saxophone.flac", play_saxophone(), 44_100, subtype="PCM_16", compression_level=1.0)
    if args.only == "saxophone": return
    rows = instruments(candidates(), {name: read_soundfont(path) for name, path in SOUNDFONTS.items()})
    members = {}
    with ThreadPoolExecutor(2) as pool:
        for row, notes in zip(rows, pool.map(lambda r: level(render_notes(r)), rows)):
            members |= {f"{row['instrument']}/{p:03d}-{v:03d}.opus": encode(x) for (p, v), x in notes.items()}
            size = sum(map(len, members.values()))
            print(f"{row['instrument']:24} {row['preset']:22} {row['low']:3}-{row['high']:3} {len(notes):3} samples"
                  f" {size / 1e6:6.3f} MB so far", flush=True)
    write_bank(members, args.out / "bank.zip")
    write_table(rows, args.out / "instruments.csv")
    size = (args.out / "bank.zip").stat().st_size
    print(f"{len(rows)} instruments, {len(members)} samples, {size:,} bytes")
    if size > LIMIT: raise SystemExit(f"bank.zip is larger than {LIMIT:,} bytes: take instruments out of presets.csv")

if __name__ == "__main__": main()
