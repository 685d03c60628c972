"""Measure speed and memory side by side, print tables of ratios, and write bench/results/MACHINE.json

Each library runs in a process of its own. They take turns, nobody computes beside another, and that all give the same
numbers is asserted first. The page "How fast is it?" of the book shows the results. Run it on an idle machine.
`python -m bench article` runs the article's experiment instead; see there."""
import argparse, datetime, json, os, platform, re, sys, tempfile, time
from pathlib import Path

from bench import cluster, cold, epoch, kills, loading, memory, naming, tables, training, transform
from audio_tutorial.files import thread_settings
from bench.turns import KEEP_MEMORY, ROOT, TRAINING, contestants, launches, rounds

SETTINGS = [dict(n_fft=1024, hop_length=256, n_mels=40), dict(n_fft=1024, hop_length=256, n_mels=128),
            dict(n_fft=2048, hop_length=512, n_mels=128), dict(n_fft=400, hop_length=160, n_mels=80)]
SIZES = [(1, 4), (16, 1), (16, 10), (256, 1), (256, 10)] # batch and seconds, against torchaudio alone
start = time.monotonic()

def say(text): print(f"[{time.monotonic() - start:4.0f} s] {text}", flush=True)

def machine():
    "What the figures depend on"
    import torch
    found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text()) if sys.platform == "linux" else None
    return dict(cpu=found[1] if found else platform.processor() or platform.machine(),
                cores=os.cpu_count(), threads=torch.get_num_threads(), torch=torch.__version__,
                gpu=torch.cuda.get_device_name() if torch.cuda.is_available() else None)

def file_name(machine):
    "`amd-epyc-2-cores.json`"
    name = machine["gpu"] or f"{machine['cpu']} {machine['cores']} cores"
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") + ".json"

def measure_transform(device, size, folder):
    "Clips per second of all in batches of 64 clips, and of two of them in other batches"
    names = [n for n in transform.CONTESTANTS if device == "cpu" or n not in
             ("librosa, clip by clip", "librosa, whole batch", "audioflux", transform.KEPT)]
    done = []
    with contestants("transform", names, env={transform.KEPT: KEEP_MEMORY}, device=device) as made:
        for settings in SETTINGS:
            some = {n: c for n, c in made.items() if transform.can(n, settings)}
            transform.check_equal(some, settings, folder)
            say(f"{device}: {tables.setting_name(settings)}: all give the same numbers")
            for batch, seconds in [(size["batch"], size["seconds"]), *size["sizes"]]:
                own = some if not done or (batch, seconds) == (size["batch"], size["seconds"]) else \
                    {n: some[n] for n in ("ours", "torchaudio")}
                rates = rounds(own, size["rounds"], settings=settings, batch=batch, seconds=seconds,
                               lasting=size["lasting"])
                done.append(dict(device=device, settings=settings, batch=batch, seconds=seconds, rates=rates))
                r = tables.ratio(rates["ours"], rates["torchaudio"])
                say(f"  {tables.case_name(done[-1])}: {tables.shown(r)} times as fast as torchaudio")
    return done

def measure_memory(size):
    "Peak memory in MB beyond the batch, each time in a new process"
    if not Path("/proc/self/clear_refs").exists(): return None
    found = {name: [] for name in memory.CONTESTANTS}
    for _ in range(size["memory_rounds"]):
        for name in found:
            with contestants("memory", [name]) as made:
                found[name].append(made[name].turn(settings=SETTINGS[0], batch=size["memory_batch"], seconds=4))
    return found

def measure_training(size):
    "Clips per second, alone and beside other programs: `{how many of them: {name: [rates]}}`"
    found = {}
    with contestants("training", list(training.CONTESTANTS), env=training.ENV) as made:
        for n in dict.fromkeys((0, 1, os.cpu_count())):
            with training.neighbours(n): found[str(n)] = rounds(made, size["rounds"], lasting=size["training"])
    return found

def prepare_notes(size, folder):
    "Notes and their pictures: `(folder of sounds, {channels: folder of pictures}, seconds spent drawing)`"
    from audio_tutorial.images import draw_images
    from audio_tutorial.notes import make_notes
    sounds = make_notes(folder/"sounds", size["notes"], 20, seed=0, progress=False)
    begin = time.perf_counter()
    for n_in in 3, 1: draw_images(sounds, folder/str(n_in), rgb=n_in == 3, progress=False)
    return sounds, {str(n): str(folder/str(n)) for n in (3, 1)}, time.perf_counter() - begin

def measure_loading(size, files, folder):
    "Microseconds per clip, `{format: {name: [...]}}`"
    with contestants("loading", list(loading.CONTESTANTS), files=loading.prepare(files, folder)) as made:
        for format in loading.FORMATS: loading.check_equal(made, folder, format)
        say("  all give the same samples")
        return {f: rounds(made, size["rounds"], format=f) for f in loading.FORMATS}

def measure_naming(size, files, folder):
    "Clips per second from files to a table"
    many = (files*10)[:size["named"]]
    with contestants("naming", list(naming.CONTESTANTS), env=naming.ENV, models=str(folder), files=many) as made:
        return dict(clips=len(many), rates=rounds(made, size["rounds"]))

def measure_cluster(size, files, folder):
    "Seconds of predictions and reports, with two Dask workers and without"
    clips = cluster.prepare(files, folder, size["reported"])
    with contestants("cluster", list(cluster.CONTESTANTS), env=cluster.ENV, models=str(folder), clips=clips,
                     named=size["shared"]) as made:
        seconds = rounds(made, size["cluster_rounds"], warm=0)
    with contestants("kills", [kills.KILLED], env={kills.KILLED: cluster.ENV[cluster.WORKERS]},
                     models=str(folder), clips=clips, named=size["killed"]) as made:
        killed = [made[kills.KILLED].turn() for _ in range(size["kills"])]
    return dict(named=size["shared"], reported=size["reported"], seconds=seconds, kills=killed)

def measure_epochs(size, options, sounds, folders):
    "Seconds of the parts of an epoch"
    env = {way: thread_settings if way == epoch.GIVEN_BACK else TRAINING for way in epoch.CONTESTANTS}
    return launches(size["epoch_launches"], "epoch", size["epoch_rounds"], names=list(epoch.CONTESTANTS), env=env,
                    sounds=str(sounds), folders=folders, **options)

PARTS = "transform", "memory", "loading", "cold", "naming", "cluster", "training", "epoch"

def measure(size, parts):
    "What goes into the file, of these parts"
    about, today = machine(), datetime.date.today().isoformat()
    options = size["gpu" if about["gpu"] else "epoch"]
    devices = ["cpu", "cuda"] if about["gpu"] else ["cpu"]
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        say("notes, their pictures, and a model")
        sounds, folders, drawing = prepare_notes(size, folder)
        files = sorted(map(str, sounds.rglob("*.wav")))[:200]
        naming.save_model(folder)
        ways = dict(transform=lambda: [case for d in devices for case in measure_transform(d, size, folder)],
                    memory=lambda: measure_memory(size), loading=lambda: measure_loading(size, files, folder),
                    cold=lambda: cold.measure(folder, files[0], **size["cold"]),
                    naming=lambda: measure_naming(size, files, folder),
                    cluster=lambda: measure_cluster(size, files, folder), training=lambda: measure_training(size),
                    epoch=lambda: measure_epochs(size, options, sounds, folders))
        result = dict(machine=about, rounds=size["rounds"])
        for part in parts:
            say(part)
            result[part] = ways[part]()
    if "epoch" in parts: result |= dict(options, drawing=drawing, notes=size["notes"] + 20)
    return result | dict(dates=dict.fromkeys(parts, today))

FULL = dict(rounds=5, lasting=0.25, batch=64, seconds=4, sizes=SIZES, memory_rounds=1, memory_batch=256, notes=256,
            training=3, named=1000, shared=2000, reported=10_000, cluster_rounds=3, killed=400, kills=10,
            cold=dict(rounds=5, warm=1), epoch_launches=4, epoch_rounds=2, epoch=dict(batch=32, copies=1, arch="resnet18"),
            gpu=dict(batch=256, copies=20, arch="resnet18"))
TINY = dict(rounds=2, lasting=0, batch=2, seconds=1, sizes=[(1, 1)], memory_rounds=1, memory_batch=2, notes=20,
            training=0, named=3, shared=3, reported=4, cluster_rounds=1, killed=20, kills=1,
            cold=dict(rounds=1, warm=0), epoch_launches=1, epoch_rounds=1, epoch=dict(batch=10, copies=1, arch="squeezenet1_1"),
            gpu=dict(batch=10, copies=1, arch="squeezenet1_1"))

def main(argv=None):
    "The command"
    p = argparse.ArgumentParser(prog="bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--tiny", action="store_true", help="run everything on next to nothing: the figures mean nothing")
    p.add_argument("--out", type=Path, default=ROOT/"bench/results", help="folder of results (default: bench/results)")
    p.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="measure these parts again, keep the others")
    args = p.parse_args(argv)
    result = measure(TINY if args.tiny else FULL, args.only)
    args.out.mkdir(parents=True, exist_ok=True)
    file = args.out/file_name(result["machine"])
    if file.exists() and set(args.only) != set(PARTS):
        old = json.loads(file.read_text())
        result = old | result | dict(dates=old["dates"] | result["dates"])
    file.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    print("\n" + tables.report(result))
    say(f"written to {os.path.relpath(file)}")

if __name__ == "__main__":
    if sys.argv[1:2] == ["article"]:
        from bench import article
        article.main(sys.argv[2:])
    else: main()
