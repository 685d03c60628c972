"""The rooms of the package: what imports what, and the picture of it that the book shows.

A module imports from its own floor or from one below. Imports inside functions count."""
import ast, html
from pathlib import Path

# From top to bottom, as a reader of the code goes down. `all` and `check` are beside the house: they may use every room.
FLOORS = {
    "Shell": ["cli"],
    "Use": ["train", "report_page", "datasets", "onnx_classifier", "classifier", "recordings", "predictor"],
    "Evidence": ["scoreboard", "errors", "calibration", "evaluate"],
    "Learning": ["together", "pretrain", "techniques", "augment", "shards", "learner", "transforms", "networks", "images",
                 "batches"],
    "Data": ["notes", "nsynth", "report", "folders"],
    "Sound": ["mel", "stft", "fft", "clips"],
    "Ground": ["distributed", "files", "decoders", "players", "arrays"]}
BESIDE = ["check", "all"]

def lines(root: Path) -> dict:
    "`{module: lines of code, comments and docstrings}`"
    return {p.stem: len(p.read_text().splitlines()) for p in sorted((root/"audio_tutorial").glob("*.py")) if p.stem[0] != "_"}

def imported(path: Path) -> list:
    "`(module, name)` of everything that a module of the package imports from another one, at its top or later"
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import): # import audio_tutorial.clips
            found += [(a.name.split(".")[1], "") for a in node.names if a.name.startswith("audio_tutorial.")]
        if not isinstance(node, ast.ImportFrom): continue
        module = (node.module or "").removeprefix("audio_tutorial").removeprefix(".")
        if not (node.level or (node.module or "").split(".")[0] == "audio_tutorial"): continue
        if module: found += [(module, a.name) for a in node.names]
        else: found += [(a.name, "") for a in node.names if not a.name.startswith("__")] # from audio_tutorial import check
    return found

def arrows(root: Path) -> dict:
    "`{module: modules it imports}`"
    return {m: {to for to, _ in imported(root/f"audio_tutorial/{m}.py")} for m in lines(root)}

def reached(graph: dict, start: str) -> set:
    "Every module that one can get to from `start`, which itself is among them only in a circle"
    found, todo = set(), [*graph[start]]
    while todo:
        if (m := todo.pop()) not in found:
            found.add(m)
            todo += graph[m]
    return found

def needed(graph: dict) -> dict:
    "The arrows that are left without those to be reached by way of another module, too"
    return {m: {to for to in tos if not any(to in reached(graph, other) for other in tos - {to})}
            for m, tos in graph.items()}

def picture(root: Path) -> str:
    "The house as SVG: a row for each floor, a box for each room, an arrow for each import that needs no other way"
    width, step, box, n = 760, 92, 26, lines(root)
    place = {}
    for row, rooms in enumerate(FLOORS.values()):
        for i, room in enumerate(rooms): place[room] = 92 + (i + 0.5)*(width - 100)/len(rooms), 12 + row*step
    graph = needed({m: tos & place.keys() for m, tos in arrows(root).items() if m in place})
    drawn = []
    for m, tos in graph.items():
        for to in sorted(tos):
            (x, y), (u, v) = place[m], place[to]
            bend = (step if v > y else 0)*0.5
            if v > y: path = f"M{x:.0f} {y + box} C{x:.0f} {y + box + bend:.0f} {u:.0f} {v - bend:.0f} {u:.0f} {v - 2}"
            else: path = f"M{x:.0f} {y + box} C{x:.0f} {y + box + 22} {u:.0f} {v + box + 22} {u:.0f} {v + box + 2}" # same floor
            drawn.append(f'<path d="{path}" marker-end="url(#house-tip)"/>')
    boxes = []
    for room, (x, y) in place.items():
        w = min(98, (width - 100)/len(FLOORS[next(f for f in FLOORS if room in FLOORS[f])]) - 6)
        boxes.append(f'<rect x="{x - w/2:.0f}" y="{y}" width="{w:.0f}" height="{box}" rx="4"/>'
                     f'<text x="{x:.0f}" y="{y + 11}">{html.escape(room)}</text>'
                     f'<text class="lines" x="{x:.0f}" y="{y + 22}">{n[room]} lines</text>')
    floors = [f'<text class="floor" x="0" y="{28 + row*step}">{floor}</text>' for row, floor in enumerate(FLOORS)]
    height = 12 + (len(FLOORS) - 1)*step + box + 30
    told = "; ".join(f"{m} imports {', '.join(sorted(tos))}" for m, tos in graph.items() if tos)
    return (f'<svg class="house" viewBox="0 0 {width} {height}" role="img" aria-label="Rooms of the package, floor by floor. '
            f'{html.escape(told)}."><defs><marker id="house-tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="6" '
            'markerHeight="6" orient="auto"><path d="M0 0 L8 4 L0 8 z"/></marker></defs>'
            f'{"".join(drawn)}{"".join(boxes)}{"".join(floors)}</svg>')
