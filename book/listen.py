"""The scripts of the pages that listen, and the sounds they come with, written where Jupyter Book finds them.

Pages opened from disk may run scripts, but not load modules or data from files. So `listen.js` holds the modules of
`_listen/` as text, and data comes as scripts that hand it over."""
import base64, gzip, io, json
from pathlib import Path

import matplotlib, numpy as np, soundfile as sf

from audio_tutorial.clips import example_clip, load_clip
from audio_tutorial.notes import note_rate, play_note

HERE = Path(__file__).parent/"_listen"
RUNTIME = Path(__file__).resolve().parents[1]/".venv/node/node_modules/onnxruntime-web/dist"
DATA = "application/vnd.audio-tutorial+json"  # what a chapter displays as this goes to the pages: {name: content}
PAGES = "classifier", "quiz"  # names of such data
NOTES = {  # what the list of sounds shows: the note, its instrument first
    "Guitar": ("guitar_acoustic_000", 52), "Marimba": ("mallet_acoustic_004", 64), "Flute": ("flute_acoustic_001", 72),
    "Trumpet": ("brass_acoustic_000", 65), "Choir": ("vocal_acoustic_000", 57)}

def base64_of(content: bytes) -> str: return base64.b64encode(content).decode()

def flac(samples) -> str:
    "A sound at the rate of the notes as a FLAC file, which every browser decodes sample by sample"
    file = io.BytesIO()
    sf.write(file, samples, note_rate, format="FLAC", subtype="PCM_16")
    return base64_of(file.getvalue())

def smaller(note: dict) -> dict:
    "A note of the quiz with its sound as FLAC instead of WAV"
    samples, _ = sf.read(io.BytesIO(base64.b64decode(note["wav"])), dtype="float32")
    return {key: value for key, value in note.items() if key != "wav"} | dict(file=flac(samples))

def sounds() -> dict:
    "The sounds of the book to choose from, by the name that a reader sees"
    phrase, _ = load_clip(example_clip(), note_rate, duration=5)
    return {"Saxophone (chapters 1 to 4)": phrase, **{name: play_note(*note) for name, note in NOTES.items()}}

def colours() -> str:
    "Red, green and blue of 256 levels, the colours of all spectrograms of the book"
    return base64_of(np.uint8(matplotlib.colormaps["magma"](np.arange(256))[:, :3]*255).tobytes())

def zipped(content: bytes) -> str: return base64_of(gzip.compress(content, mtime=0))

def runtime() -> dict|None:
    "onnxruntime-web: its script, its module and its WebAssembly; `None` if it was not fetched"
    if not RUNTIME.exists(): return None
    return dict(script=(RUNTIME/"ort.wasm.min.js").read_text(), mjs=(RUNTIME/"ort-wasm-simd-threaded.mjs").read_text(),
                wasm=zipped((RUNTIME/"ort-wasm-simd-threaded.wasm").read_bytes()))

def take(notebooks: list) -> dict:
    "Take out of the notebooks, as they ran, what their chapters have displayed for the pages"
    found = {}
    for nb in notebooks:
        for cell in nb.cells:
            for output in cell.get("outputs", []):
                for name, content in output.get("data", {}).get(DATA, {}).items(): found[name] = content
            if "outputs" in cell: cell.outputs = [o for o in cell.outputs if DATA not in o.get("data", {})]
    return found

def write(
    folder: Path, # To make
    given: dict|None=None, # What chapters have displayed for the pages
):
    "Write the scripts, the sounds, the network and the runtime it needs"
    given = dict.fromkeys(PAGES) | (given or {})
    if unknown := given.keys() - {*PAGES}: raise ValueError(f"data for no page: {', '.join(unknown)}; known: {PAGES}")
    engine, model = runtime(), None
    if about := given["classifier"]:
        model = zipped(base64.b64decode(about["model"]))
        given["classifier"] = about | dict(model=None, bytes=len(model) + len(json.dumps(engine)))
    if quiz := given["quiz"]: given["quiz"] = quiz | dict(notes=[smaller(note) for note in quiz["notes"]])
    folder.mkdir(parents=True)
    modules = {p.stem: p.read_text() for p in sorted(HERE.glob("*.js")) if p.stem != "loader"}
    start = (HERE/"loader.js").read_text()
    (folder/"listen.js").write_text(f"({start})({json.dumps(modules)}, {json.dumps(colours())})\n")
    (folder/"listen.css").write_text((HERE/"listen.css").read_text())
    known = sounds()
    files = {f"sound{i}": flac(samples) for i, samples in enumerate(known.values())}  # a page loads those it plays
    for name, content in dict(sounds=[*known], runtime=engine, network=model, **files, **given).items():
        give(folder, name, content)

def give(folder: Path, name: str, content: dict|list|str|None):
    "Write data that a page asks for with `load(name)`"
    (folder/f"{name}.js").write_text(f"listen.give({json.dumps(name)}, {json.dumps(content)})\n")
