"""The sounds that come with the package: the note bank, its table, and the saxophone phrase."""
import io, zipfile
from collections import defaultdict
from importlib.resources import files
from pathlib import Path

import numpy as np, pytest, soundfile as sf
from audio_tutorial.notes import families, instruments

TOOLS = Path(__file__).parents[1] / "tools"
SAMPLES = Path(str(files("audio_tutorial") / "samples"))
# Families for which the soundfonts have fewer than three recorded instruments.
SHORT = {}


@pytest.fixture(scope="module")
def table(): return instruments()

@pytest.fixture(scope="module")
def members():
    "(instrument, pitch, velocity) -> bytes"
    with zipfile.ZipFile(SAMPLES / "bank.zip") as bank:
        return {(n.split("/")[0], int(n[-12:-9]), int(n[-8:-5])): bank.read(n) for n in bank.namelist()}

@pytest.fixture(scope="module")
def sounds(members): return {k: sf.read(io.BytesIO(b), dtype="float32") for k, b in members.items()}

@pytest.fixture(scope="module")
def zones(members):
    found = defaultdict(lambda: defaultdict(list))
    for who, pitch, velocity in sorted(members): found[who][velocity].append(pitch)
    return found

@pytest.fixture(scope="module")
def tool():
    if not (TOOLS / "render_bank.py").exists(): pytest.skip("tools/ is not part of this checkout")
    import render_bank
    return render_bank

@pytest.fixture(scope="module")
def fonts(tool):
    for path in tool.SOUNDFONTS.values():
        if not path.exists(): pytest.skip(f"no soundfont {path}: see tools/README.md")
    return {name: tool.read_soundfont(path) for name, path in tool.SOUNDFONTS.items()}


# --- the table --------------------------------------------------------------------------------------------------------

def test_all_ten_families_have_recorded_instruments(table):
    recorded = table[table.source == "acoustic"].family.value_counts()
    for family in families: assert recorded[family] >= SHORT.get(family, 3)

def test_a_name_tells_family_and_source(table):
    parts = table.instrument.str.extract(r"^([a-z]+)_(acoustic|synthetic)_(\d{3})$")
    assert (parts[0] == table.family).all() and (parts[1] == table.source).all()
    assert set(table.family) == set(families)
    assert table.instrument.is_unique

def test_acoustic_means_recorded(table):
    assert (table.recorded == table.source.map({"acoustic": "recorded", "synthetic": "synthesised"})).all()

def test_one_instrument_a_group(table): assert table.group.is_unique

def test_the_table_lists_what_the_bank_holds(table, zones):
    assert set(table.instrument) == set(zones)
    for row in table.itertuples():
        assert row.velocities == " ".join(map(str, sorted(zones[row.instrument])))
        assert row.samples == sum(map(len, zones[row.instrument].values()))

def test_zones_lie_at_most_six_semitones_apart(table, zones):
    for row in table.itertuples():
        for pitches in zones[row.instrument].values():
            assert max(np.diff(pitches), default=0) <= 6
            assert row.low <= pitches[0] <= row.low + 3 and row.high - 3 <= pitches[-1] <= row.high

def test_ranges_are_on_the_keyboard(table):
    assert (table.low >= 21).all() and (table.high <= 108).all()
    assert (table.high - table.low >= 12).all()

def test_some_instruments_have_two_recorded_layers(table):
    assert table.velocities.isin(["127", "75 127"]).all()
    assert (table.velocities == "75 127").any()


# --- the sounds -------------------------------------------------------------------------------------------------------

def test_the_bank_is_small(): assert (SAMPLES / "bank.zip").stat().st_size <= 5_000_000

def test_the_bank_has_sorted_members_and_one_date():
    with zipfile.ZipFile(SAMPLES / "bank.zip") as bank:
        infos = bank.infolist()
    assert [i.filename for i in infos] == sorted(i.filename for i in infos)
    assert {i.date_time for i in infos} == {(2020, 1, 1, 0, 0, 0)}
    assert {i.compress_type for i in infos} == {zipfile.ZIP_STORED}

def test_every_sample_is_mono_at_16_khz(sounds):
    for samples, rate in sounds.values(): assert rate == 16_000 and samples.ndim == 1

def test_no_sample_is_silent_or_clipped(sounds):
    for key, (samples, _) in sounds.items():
        assert 0.02 < np.abs(samples).max() < 1, key

def test_samples_begin_at_once(sounds):
    for key, (samples, _) in sounds.items():
        loud = np.abs(samples) > 0.01 * np.abs(samples).max()
        assert loud.argmax() < 0.05 * 16_000, key

def test_a_sample_lasts_for_a_transposed_note_unless_it_has_died(sounds):
    for key, (samples, _) in sounds.items():
        if len(samples) < 4 * 2 ** (2.08 / 12) * 16_000:
            end = np.abs(samples[-480:-320]).max()   # before the fade of 20 ms
            assert end < 0.05 * np.abs(samples).max(), key


# --- where they come from ---------------------------------------------------------------------------------------------

def test_every_instrument_is_a_preset_that_was_tried(table, tool):
    tried = {(r["family"], r["source"], r["soundfont"], r["bank"], r["program"]): r for r in tool.candidates()}
    assert len(tried) == len(tool.candidates()) # none twice
    for row in table.itertuples():
        preset = tried[row.family, row.source, row.soundfont, row.bank, row.program]
        assert preset["low"] <= row.low < row.high <= preset["high"] and preset["layers"] == len(row.velocities.split())

def test_no_two_instruments_share_a_recording(table, tool, fonts):
    rows = [dict(soundfont=r.soundfont, bank=r.bank, program=r.program) for r in table.itertuples()]
    for root, _, users in tool.recordings(rows, fonts).values():
        assert len(users) == 1, [table.preset[i] for i in users]

def test_presets_known_to_share_recordings_are_one_group(tool, fonts):
    presets = [("FluidR3", 0, 0), ("FluidR3", 0, 3),     # grand and honky-tonk piano
               ("FluidR3", 0, 24), ("FluidR3", 8, 24),   # nylon guitar and ukulele
               ("FluidR3", 0, 60), ("MuseScore", 0, 60), # french horns: stereo, and its copy in mono
               ("MuseScore", 0, 12), ("FluidR3", 0, 11)] # marimba and vibraphone: nothing in common
    rows = [dict(zip(("soundfont", "bank", "program"), p)) for p in presets]
    assert tool.groups(rows, fonts) == [1, 1, 2, 2, 3, 3, 4, 5]

def test_the_presets_exist_and_reach_their_range(table, fonts):
    from soundfont import covered
    for row in table.itertuples():
        name, plays = fonts[row.soundfont]["presets"][row.bank, row.program]
        assert name == row.preset
        if row.source == "acoustic": assert set(range(row.low, row.high + 1)) <= covered(plays), name

def test_the_licence_names_both_soundfonts():
    text = (SAMPLES / "LICENSE.md").read_text()
    for words in "Frank Wen", "S. Christian Collins", "MIT", "Permission is hereby granted": assert words in text


# --- the saxophone ----------------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def saxophone(): return sf.read(SAMPLES / "saxophone.flac")

def test_the_saxophone_is_ten_seconds_of_stereo_at_44_khz(saxophone):
    samples, rate = saxophone
    info = sf.info(SAMPLES / "saxophone.flac")
    assert rate == 44_100 and samples.shape == (441_000, 2) and info.subtype == "PCM_16"
    assert (SAMPLES / "saxophone.flac").stat().st_size < 1_000_000
    assert 0.5 < np.abs(samples).max() < 1

def test_the_saxophone_begins_with_half_a_second_of_silence(saxophone):
    samples, rate = saxophone
    assert not samples[:int(0.49 * rate)].any()
    assert np.abs(samples[int(0.5 * rate):int(0.6 * rate)]).max() > 0.1

def test_chapter_2_looks_into_a_loud_steady_note(saxophone):
    mono = saxophone[0].mean(axis=1)
    levels = [mono[i:i + 1024].std() for i in range(42_000, 50_000, 1024)]
    assert min(levels) > 0.05 and max(levels) / min(levels) < 3
    assert mono[45_000:46_024].std() > 0.05
