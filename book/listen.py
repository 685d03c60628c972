"""The scripts of the pages that listen, and the sounds they come with, written where Jupyter Book finds them.

Pages opened from disk may run scripts, but not load modules or data from files. So `listen.js` holds the modules of
`_listen/` as text, and data comes as scripts that hand it over."""
import base64, io, json
from pathlib import Path

import matplotlib, numpy as np, soundfile as sf

from audio_tutorial.clips import example_clip, load_clip
from audio_tutorial.notes import note_rate, play_note

HERE = Path(__file__).parent/"_listen"
NOTES = {  # what the list of sounds shows: the note, its instrument first
    "Guitar": ("guitar_acoustic_000", 52), "Marimba": ("mallet_acoustic_004", 64), "Flute": ("flute_acoustic_001", 72),
    "Trumpet": ("brass_acoustic_000", 65), "Choir": ("vocal_acoustic_000", 57)}

def base64_of(content: bytes) -> str: return base64.b64encode(content).decode()

def flac(samples) -> str:
    "A sound at the rate of the notes as a FLAC file, which every browser decodes sample by sample"
    file = io.BytesIO()
    sf.write(file, samples, note_rate, format="FLAC", subtype="PCM_16")
    return base64_of(file.getvalue())

def sounds() -> list:
    "The sounds of the book to choose from"
    phrase, _ = load_clip(example_clip(), note_rate, duration=5)
    made = {"Saxophone (chapters 1 to 4)": phrase, **{name: play_note(*note) for name, note in NOTES.items()}}
    return [dict(name=name, file=flac(samples)) for name, samples in made.items()]

def colours() -> str:
    "Red, green and blue of 256 levels, the colours of all spectrograms of the book"
    return base64_of(np.uint8(matplotlib.colormaps["magma"](np.arange(256))[:, :3]*255).tobytes())

def write(folder: Path):
    "Fill the folder of the scripts"
    folder.mkdir(parents=True)
    modules = {p.stem: p.read_text() for p in sorted(HERE.glob("*.js")) if p.stem != "loader"}
    start = (HERE/"loader.js").read_text()
    (folder/"listen.js").write_text(f"({start})({json.dumps(modules)}, {json.dumps(colours())})\n")
    (folder/"listen.css").write_text((HERE/"listen.css").read_text())
    give(folder, "sounds", dict(sounds=sounds()))

def give(folder: Path, name: str, content: dict):
    "Write data that a page asks for with `load(name)`"
    (folder/f"{name}.js").write_text(f"listen.give({json.dumps(name)}, {json.dumps(content)})\n")
