"""Chapter 7: names and labels, the split, and the notes that `make_notes` plays."""
import hashlib, re, subprocess, sys
from collections import Counter

import numpy as np, pytest, soundfile as sf
from audio_tutorial import notes as N
from audio_tutorial.arrays import AudioError
from audio_tutorial.notes import (families, family, instrument, instruments, make_notes, note_pattern, pitch, play_note,
                                  split_instruments, velocity)

N_TRAIN, N_VALID = 103, 57
# Instruments whose strongest frequencies are not multiples of the note's: no test of pitch by harmonics.
INHARMONIC = {"mallet"}

@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make_notes(tmp_path_factory.mktemp("notes") / "made", N_TRAIN, N_VALID, seed=1, progress=False)

@pytest.fixture(scope="module")
def table(): return instruments().set_index("instrument")

def wavs(folder): return sorted(folder.rglob("*.wav"))
def digest(folder): return {p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
                            for p in wavs(folder)}
def rms(x): return float(np.sqrt(np.mean(np.square(x, dtype="float64"))))


def centroid(samples):
    "Average frequency in Hz, weighted by magnitude"
    magnitude = np.abs(np.fft.rfft(samples))
    return magnitude @ np.fft.rfftfreq(len(samples), 1/16000)/magnitude.sum()


# --- names ------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("name, label", [("guitar_acoustic_010-060-100.wav", "guitar"),
                                         ("a/b/bass_synthetic_134-021-025.wav", "bass"),
                                         ("synth_lead_synthetic_000-064-075.wav", "synth_lead")])
def test_the_label_is_the_first_part_of_the_name(name, label):
    assert family(name) == label == re.search(note_pattern, name.split("/")[-1])[1]

def test_the_rest_of_the_name():
    name = "x/organ_acoustic_002-048-075.wav"
    assert (instrument(name), pitch(name), velocity(name)) == ("organ_acoustic_002", 48, 75)

@pytest.mark.parametrize("name", ["song.wav", "guitar_acoustic_010-060-100.mp3", "guitar_acoustic_010-060-100xwav",
                                  "guitar-060-100.wav", "guitar_acoustic_010-060-100.wav.part"])
def test_another_name_is_an_error_that_names_the_file(name):
    for part in family, instrument, pitch, velocity:
        with pytest.raises(AudioError, match=re.escape(name)): part(name)

def test_there_are_ten_families(): assert families == ("bass", "brass", "flute", "guitar", "keyboard", "mallet",
                                                      "organ", "reed", "string", "vocal")


# --- the split --------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("seed", range(8))
def test_no_instrument_is_on_both_sides_and_every_family_is(seed):
    train, valid = split_instruments(seed)
    acoustic = instruments().query("source == 'acoustic'").instrument
    assert not set(train) & set(valid) and sorted(train + valid) == sorted(acoustic)
    for side in train, valid: assert {n.split("_")[0] for n in side} == set(families)

def test_the_seed_draws_the_split():
    assert split_instruments(3) == split_instruments(3)
    assert len({str(split_instruments(s)) for s in range(10)}) > 5

def test_with_the_synthetic_ones(): assert len(sum(split_instruments(0, source="all"), [])) == len(instruments())

@pytest.mark.parametrize("bad", [dict(valid=0), dict(valid=1), dict(source="electric")])
def test_arguments_of_the_split(bad):
    with pytest.raises(ValueError, match=str(next(iter(bad.values())))): split_instruments(0, **bad)


# --- a folder of notes ------------------------------------------------------------------------------------------------

def test_layout_and_names(made):
    for p in wavs(made):
        assert p.parent in (made / "train", made / "valid")
        assert re.fullmatch(r"[a-z]+_acoustic_\d{3}-\d{3}-(025|050|075|100|127)\.wav", p.name)
    assert len(wavs(made / "train")) == N_TRAIN and len(wavs(made / "valid")) == N_VALID
    assert {p.name for p in made.iterdir()} == {"train", "valid", "notes.json"}

def test_the_format_is_nsynths(made):
    for p in wavs(made):
        i = sf.info(p)
        assert (i.samplerate, i.channels, i.frames, i.subtype) == (16_000, 1, 64_000, "PCM_16")

def test_families_are_balanced(made):
    for side in "train", "valid":
        count = Counter(family(p) for p in wavs(made / side))
        assert set(count) == set(families) and max(count.values()) - min(count.values()) <= 1

def test_sides_follow_the_split(made):
    for side, names in zip(("train", "valid"), split_instruments(1)):
        assert {instrument(p) for p in wavs(made / side)} <= set(names)

def test_pitches_lie_within_reach_of_the_instrument_and_on_a_piano(made, table):
    for p in wavs(made):
        assert table.low[instrument(p)] - N.reach <= pitch(p) <= table.high[instrument(p)] + N.reach
        assert 21 <= pitch(p) <= 108

def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(tmp_path):
    a, b, c = (make_notes(tmp_path / n, 20, 10, s, progress=False) for n, s in (("a", 5), ("b", 5), ("c", 6)))
    assert digest(a) == digest(b)
    assert not set(digest(a).values()) & set(digest(c).values())

def test_a_large_draw_has_no_note_twice():
    names, _ = split_instruments(0)
    drawn = [name for name, _ in N._draw(names, 3000, 0)]
    assert len(set(drawn)) == 3000

def test_synthetic_notes_say_so(tmp_path):
    path = make_notes(tmp_path / "all", 300, 10, 0, source="all", progress=False)
    table = instruments().set_index("instrument")
    found = {instrument(p) for p in wavs(path)}
    assert any("_synthetic_" in n for n in found)
    for n in found: assert ("_synthetic_" in n) == (table.recorded[n] == "synthesised")


# --- how they sound ---------------------------------------------------------------------------------------------------

def test_notes_are_audible_not_clipped_and_end_in_silence(made):
    for p in wavs(made):
        x = sf.read(p)[0]
        assert 0.002 < np.abs(x).max() < 1, p.name
        assert np.abs(x[:1600]).max() > 0.03 * np.abs(x).max(), p.name   # it begins at once
        assert np.abs(x[-160:]).max() <= 2e-4 * max(np.abs(x).max() / 0.05, 1), p.name
        assert abs(x[-1]) < 1e-4

def test_the_release_decays_smoothly():
    x = play_note("organ_acoustic_000", 60, 127)
    level = [rms(x[i:i + 3200]) for i in range(45_000, 64_000 - 3200, 3200)]
    assert all(np.diff(level) < 0) and x.shape == (64_000,) and x.dtype == np.float32

def comb(x, f0):
    "Share of the energy up to the sixth harmonic of `f0` that lies within half a semitone of a harmonic"
    power = np.abs(np.fft.rfft(x * np.hanning(len(x)))) ** 2
    f = np.fft.rfftfreq(len(x), 1 / 16_000)
    nearest = np.maximum(np.round(f / f0), 1) * f0
    here = (f > 0.7 * f0) & (f < min(6.4 * f0, 7_500))
    return power[here & (np.abs(f / nearest - 1) < 0.028)].sum() / power[here].sum()

def test_the_pitch_is_what_the_name_says(made):
    for p in wavs(made):
        if family(p) in INHARMONIC: continue
        x, f0 = sf.read(p)[0][1_600:32_000], 440 * 2 ** ((pitch(p) - 69) / 12)
        right, near = comb(x, f0), max(comb(x, f0 * 2 ** (s / 12)) for s in (-1, 1))
        # an organ also has stops an octave lower, plucked strings end in noise: a third is far above chance
        assert right > 0.33 and right > near, (p.name, right, near)

def test_level_and_brightness_rise_with_velocity(table):
    for who in [n for n in table.index if n.endswith("000")]:
        middle = int(table.low[who] + table.high[who]) // 2
        heard = [play_note(who, middle, v)[:32_000] for v in N.velocities]
        assert all(np.diff([rms(x) for x in heard]) > 0), who
        if table.velocities[who] == "127": assert all(np.diff([centroid(x) for x in heard]) > 0), who

def test_cents_level_and_tilt():
    plain = play_note("reed_acoustic_000", 60, 75)
    assert np.allclose(play_note("reed_acoustic_000", 60, 75, level=-6), plain * 10 ** (-6 / 20), atol=1e-6)
    assert centroid(play_note("reed_acoustic_000", 60, 75, tilt=1.5)) > centroid(plain)
    assert not np.allclose(play_note("reed_acoustic_000", 60, 75, cents=8), plain, atol=1e-3)

def test_what_sounds_on_does_so_when_it_is_played_faster(table):
    "The recording of the highest key is over after 2 s; its loop goes on at the same level, without a gap"
    for who in "organ_acoustic_000", "flute_acoustic_001", "string_acoustic_002":
        x = play_note(who, min(table.high[who] + N.reach, 108), 127)
        level = [rms(x[i:i + 1600]) for i in range(8_000, 48_000, 1600)]
        assert min(level) > 0.4 * max(level), who

def test_what_dies_away_goes_on_dying_in_its_loop():
    x = play_note("keyboard_acoustic_000", 33, 127)
    level = [rms(x[i:i + 8_000]) for i in range(0, 48_000, 8_000)]
    assert all(np.diff(level) < 0)

def test_decay_and_room():
    plain = play_note("organ_acoustic_000", 60, 75)
    faster = play_note("organ_acoustic_000", 60, 75, decay=6)
    assert rms(faster[32_000:32_160]) == pytest.approx(rms(plain[32_000:32_160]) * 10 ** (-12 / 20), rel=0.01)
    struck = play_note("mallet_acoustic_005", 80, 127)
    echoing = play_note("mallet_acoustic_005", 80, 127, room=2)
    assert rms(echoing[24_000:32_000]) > 3 * rms(struck[24_000:32_000])
    assert np.array_equal(echoing, play_note("mallet_acoustic_005", 80, 127, room=2))

@pytest.mark.parametrize("who, p, v, match", [("kazoo_acoustic_000", 60, 100, "kazoo"),
    ("flute_acoustic_001", 20, 100, "20"), ("flute_acoustic_001", 72, 0, "velocity"),
    ("flute_acoustic_001", 72, 128, "128")])
def test_a_note_that_cannot_be_played(who, p, v, match):
    with pytest.raises(ValueError, match=match): play_note(who, p, v)


# --- again, and interrupted -------------------------------------------------------------------------------------------

def test_a_second_call_writes_nothing(made):
    before = {p: p.stat().st_mtime_ns for p in wavs(made)}
    assert make_notes(made, N_TRAIN, N_VALID, seed=1, progress=False) == made
    assert before == {p: p.stat().st_mtime_ns for p in wavs(made)}

def test_after_an_interruption_only_what_is_missing_is_written(tmp_path, monkeypatch):
    whole = digest(make_notes(tmp_path / "whole", 20, 10, progress=False))
    play, played = N.play_note, []
    def breaks(*note):
        played.append(note)
        if len(played) == 12: raise KeyboardInterrupt
        return play(*note)
    monkeypatch.setattr(N, "play_note", breaks)
    with pytest.raises(KeyboardInterrupt): make_notes(tmp_path / "part", 20, 10, progress=False)
    monkeypatch.setattr(N, "play_note", play)
    done = {p: p.stat().st_mtime_ns for p in wavs(tmp_path / "part")}
    assert 0 < len(done) < 30 and all(sf.info(p).frames == 64_000 for p in done)
    assert not list(tmp_path.rglob("*.part"))
    assert digest(make_notes(tmp_path / "part", 20, 10, progress=False)) == whole
    assert all(p.stat().st_mtime_ns == t for p, t in done.items())

def test_what_a_killed_run_left_behind_is_cleared(tmp_path):
    path = make_notes(tmp_path / "x", 20, 10, progress=False)
    (path / "train" / "organ_acoustic_000-060-100.1.part").write_bytes(b"half")
    make_notes(path, 20, 10, progress=False)
    assert not list(path.rglob("*.part"))
    (tmp_path / "y").mkdir() # killed while it said what the folder is for
    (tmp_path / "y" / "notes.json.1.part").write_text("{")
    assert digest(make_notes(tmp_path / "y", 20, 10, progress=False)) == digest(path)

@pytest.mark.parametrize("change", [dict(n_train=21), dict(n_valid=11), dict(seed=43), dict(source="all")])
def test_notes_of_other_arguments_are_never_mixed(tmp_path, change):
    asked = dict(n_train=20, n_valid=10, seed=42, source="acoustic")
    path = make_notes(tmp_path / "x", **asked, progress=False)
    before = digest(path)
    with pytest.raises(ValueError, match="other|holds notes"): make_notes(path, **(asked | change), progress=False)
    assert digest(path) == before

def test_a_folder_with_other_things_in_it_is_refused(tmp_path):
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(ValueError, match="unknown settings"): make_notes(tmp_path, 20, 10, progress=False)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]

def test_without_a_folder_it_is_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    path = make_notes(None, 10, 10, 3, progress=False)
    assert path.parent == tmp_path / ".cache" / "audio_tutorial" and len(wavs(path)) == 20

@pytest.mark.parametrize("bad", [dict(n_train=0), dict(n_valid=-1)])
def test_a_number_of_notes_must_be_positive(tmp_path, bad):
    with pytest.raises(ValueError, match=next(iter(bad))): make_notes(tmp_path / "x", **bad)
    assert not (tmp_path / "x").exists()

def test_too_many_notes_is_an_error_that_says_how_many_there_are(tmp_path):
    with pytest.raises(ValueError, match=r"at most (\d+)") as e: make_notes(tmp_path / "x", 10**6, 10, 0)
    most = int(re.search(r"at most (\d+)", str(e.value))[1])
    names, _ = split_instruments(0)
    assert len(N._draw(names, most, 0)) == most
    with pytest.raises(ValueError): N._draw(names, most + 1, 0)
    assert not (tmp_path / "x").exists()


# --- the module -------------------------------------------------------------------------------------------------------

def test_importing_it_loads_nothing_heavy():
    code = ("import sys, audio_tutorial.notes; "
            "print([m for m in ('torch', 'fastai', 'pandas', 'matplotlib', 'numba') if m in sys.modules])")
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"
