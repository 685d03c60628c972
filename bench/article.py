"""The article's experiment at its own size: a network trained on pictures drawn in advance, and on the fly

102,165 notes for training and 5,124 for validation, ten families, three epochs of resnet18. Without a folder of NSynth's
notes, built-in ones are played in several takes: each plays the instruments again, with other accidents of tuning, level,
tone and room, and no instrument is in both sets. Writes bench/results/article/MACHINE.json, which chapter 11's page of speed shows."""
import argparse, datetime, json, os, tempfile, time
from pathlib import Path

from bench.turns import ROOT, TRAINING

FULL = dict(n_train=102165, n_valid=5124, epochs=3, bs=64)
TINY = dict(n_train=60, n_valid=20, epochs=1, bs=10)
TAKE = 6000 # notes for training that can be different and balanced at once
WAYS = "pictures, RGB", "on the fly"

def built_in_notes(folder, n_train, n_valid, seed=42):
    "Play notes, take after take, all of the same split of instruments: `(files for training, files for validation)`"
    from audio_tutorial.files import get_audio_files
    from audio_tutorial.notes import make_notes
    takes = range(-(-n_train//TAKE))
    shares = [[len(part) for part in split_evenly(n, len(takes))] for n in (n_train, n_valid)]
    made = [make_notes(folder/f"take{take:02d}", *sizes, seed, progress=False, take=take)
            for take, sizes in zip(takes, zip(*shares))]
    return tuple([file for take in made for file in get_audio_files(take/side)] for side in ("train", "valid"))

def split_evenly(n, parts): return [range(n)[i::parts] for i in range(parts)]

def nsynth_notes(folder, n_train, n_valid):
    "The notes of a folder laid out as `{train,valid}/NAME.wav`, at most so many"
    from audio_tutorial.files import get_audio_files
    return get_audio_files(folder/"train")[:n_train], get_audio_files(folder/"valid")[:n_valid]

def loaders(way, sides, sounds, pictures, bs):
    "fastai's loaders of one way"
    import torch
    from audio_tutorial.learner import AudioBlock, in_memory
    from audio_tutorial.notes import family
    from fastai.vision.all import CategoryBlock, DataBlock, ImageBlock, IndexSplitter
    gpu = torch.cuda.is_available()
    items = [*sides[0], *sides[1]]
    if way == WAYS[0]: items = [(pictures/file.relative_to(sounds)).with_suffix(".png") for file in items]
    dls = DataBlock(
        blocks=(ImageBlock if way == WAYS[0] else AudioBlock, CategoryBlock), get_items=lambda items: items,
        splitter=IndexSplitter(range(len(sides[0]), len(items))), get_y=lambda file: family(file.with_suffix(".wav")),
    ).dataloaders(items, bs=bs, num_workers=None if gpu else 0)
    return in_memory(dls) if way == WAYS[1] else dls

def train(way, dls, epochs, weights, seed):
    "Seconds and accuracy of a training by the one-cycle schedule"
    import torch
    from audio_tutorial.networks import create_network
    from fastai.vision.all import Learner, accuracy, set_seed
    set_seed(seed, reproducible=True)
    network = create_network("resnet18", dls.c, 3 if way == WAYS[0] else 1, weights or False)
    learn = Learner(dls, network, metrics=accuracy, path=tempfile.gettempdir())
    if torch.cuda.is_available(): learn.to_bf16()
    begin = time.perf_counter()
    with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(epochs, 2e-3)
    if torch.cuda.is_available(): torch.cuda.synchronize()
    return dict(training=time.perf_counter() - begin, accuracy=float(learn.recorder.values[-1][-1]))

def measure(folder, size, sounds=None, weights=None, repeats=1, say=print):
    "Notes, pictures, and both ways in turn: seconds and accuracies"
    from audio_tutorial.images import draw_images
    import audio_tutorial.learner # whose import, of fastai, belongs to nobody's time
    begin = time.perf_counter()
    if sounds: sides = nsynth_notes(sounds, size["n_train"], size["n_valid"])
    else:
        sounds = folder/"sounds"
        sides = built_in_notes(sounds, size["n_train"], size["n_valid"])
    seconds = dict(notes=time.perf_counter() - begin)
    say(f"{len(sides[0]):,} and {len(sides[1]):,} notes: {seconds['notes']:.0f} s")
    begin = time.perf_counter()
    draw_images(sounds, folder/"pictures", progress=False)
    seconds["drawing"] = time.perf_counter() - begin
    drawn = sum(file.stat().st_size for file in (folder/"pictures").rglob("*.png"))
    say(f"drawing: {seconds['drawing']:.0f} s, {drawn/1e6:,.0f} MB")
    runs = []
    for repeat in range(repeats):
        for way in WAYS[::1 - 2*(repeat % 2)]: # another one begins each time
            begin = time.perf_counter()
            dls = loaders(way, sides, sounds, folder/"pictures", size["bs"])
            reading = time.perf_counter() - begin
            runs.append(dict(way=way, seed=42 + repeat, reading=reading,
                             **train(way, dls, size["epochs"], weights, 42 + repeat)))
            say("{way}: read {reading:.1f} s, trained {training:.0f} s, accuracy {accuracy:.1%}".format(**runs[-1]))
    return dict(seconds=seconds, drawn_bytes=drawn, notes=[*map(len, sides)], runs=runs)

def main(argv=None):
    "The command"
    from bench.__main__ import file_name, machine
    p = argparse.ArgumentParser(prog="bench article", description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--sounds", type=Path, help="folder of NSynth's acoustic notes: {train,valid}/NAME.wav")
    p.add_argument("--weights", help="file of ImageNet weights for resnet18; without it the network starts at random")
    p.add_argument("--share", type=float, default=1, help="of the article's notes, such as 0.1 (default: 1)")
    p.add_argument("--repeats", type=int, default=1, help="trainings of each way (default: 1)")
    p.add_argument("--tiny", action="store_true", help="next to nothing: the figures mean nothing")
    p.add_argument("--work", type=Path, help="folder for notes and pictures (default: a temporary one)")
    p.add_argument("--out", type=Path, default=ROOT/"bench/results/article", help="folder of results")
    args = p.parse_args(argv)
    os.environ |= TRAINING
    size = dict(TINY if args.tiny else FULL)
    for key in "n_train", "n_valid": size[key] = max(1, round(size[key]*args.share))
    start = time.monotonic()
    say = lambda text: print(f"[{time.monotonic() - start:4.0f} s] {text}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        result = measure(args.work or Path(folder), size, args.sounds, args.weights, args.repeats, say)
    result |= dict(machine=machine(), data="NSynth" if args.sounds else "built-in notes", pretrained=bool(args.weights),
                   epochs=size["epochs"], bs=size["bs"], date=datetime.date.today().isoformat())
    args.out.mkdir(parents=True, exist_ok=True)
    file = args.out/file_name(result["machine"])
    file.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    say(f"written to {os.path.relpath(file)}")
