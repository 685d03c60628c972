"Measured results as tables of ratios"
import json
from pathlib import Path
from statistics import median

from bench import cluster, cold, naming, training

def ratio(ours, theirs):
    "Round by round: median, smallest, largest"
    each = [a/b for a, b in zip(ours, theirs)]
    return median(each), min(each), max(each)

def shown(r): return f"{r[0]:.2f} ({r[1]:.2f} to {r[2]:.2f})"

def table(head, rows):
    "A Markdown table, its first column to the left"
    lines = [head, [":--"] + ["--:"]*(len(head) - 1), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)

def setting_name(settings): return "{n_fft}/{hop_length}/{n_mels}".format(**settings)

def case_name(case):
    return f"{setting_name(case['settings'])}, {case['batch']} × {case['seconds']} s"

def transform_table(case):
    "Clips per second of everybody in one case"
    rates = case["rates"]
    rows = [(name, f"{median(r):,.0f}", f"{min(r):,.0f} to {max(r):,.0f}",
             "" if name == "ours" else shown(ratio(rates["ours"], r))) for name, r in rates.items()]
    return table(["mel power", "clips/s", "slowest to fastest round", "ours is so many times as fast"], rows)

def sizes_table(cases):
    "Ours against torchaudio: settings down, sizes of the batch across"
    sizes = list(dict.fromkeys((c["batch"], c["seconds"]) for c in cases))
    settings = list(dict.fromkeys(setting_name(c["settings"]) for c in cases))
    found = {(setting_name(c["settings"]), c["batch"], c["seconds"]): c["rates"] for c in cases}
    rows = [[s, *(f"{ratio(found[s, *size]['ours'], found[s, *size]['torchaudio'])[0]:.1f}" for size in sizes)]
            for s in settings]
    return table(["settings", *(f"{b} × {s} s" for b, s in sizes)], rows)

def by_format(loading):
    "Times of each format; results of old have WAV files alone"
    return loading if "WAV" in loading else {"WAV": loading}

def loading_table(loading):
    rows = [(format, name, f"{median(t):,.0f}", shown(ratio(times["librosa.load"], t)))
            for format, times in by_format(loading).items() for name, t in times.items()]
    return table(["format", "reading a file", "µs per clip", "librosa.load takes so many times as long"], rows)

def training_table(found):
    "Clips per second beside so many other programs, and the share that is left"
    beside = {"0": "alone", "1": "beside one program"}
    columns = [beside.get(n, f"beside {n} programs") for n in found]
    most = list(found)[-1]
    rows = [(name, *(f"{median(rates[name]):.1f}" for rates in found.values()),
             f"{median(found[most][name])/median(found['0'][name]):.2f}") for name in found["0"]]
    return table(["training, clips/s", *columns, "last ÷ alone"], rows)

def cold_table(taken):
    "Seconds of whole processes"
    bare = median(taken[cold.BARE])
    return table(["from start to end", "s", "fastest to slowest", "÷ the first row"],
                 [(f"`{name}`" if name.startswith("import") else name, f"{median(t):.2f}", f"{min(t):.2f} to {max(t):.2f}",
                   f"{median(t)/bare:.1f}") for name, t in taken.items()])

def naming_table(rates):
    return table(["from files to a table", "clips/s", "÷ the first"],
                 [(name, f"{median(r):,.0f}", shown(ratio(r, rates[naming.TORCH]))) for name, r in rates.items()])

def cluster_table(found):
    rows = [(name, f"{found['named' if name.startswith('predict') else 'reported']:,}", f"{median(s):.1f}",
             f"{min(s):.1f} to {max(s):.1f}") for name, s in found["seconds"].items()]
    return table(["way", "clips", "s", "from to"], rows)

def kills_table(killed):
    "A row for each run: when a worker was killed, and what the table had in the end"
    return table(["killed after s", "s in all", "clips", "missing", "twice", "other label"],
                 [(f"{k['after']:.1f} of {k['undisturbed']:.1f}", f"{k['seconds']:.1f}", k["clips"], k["missing"],
                   k["twice"], k["other"]) for k in killed])

PARTS = "load", "transform", "forward", "backward", "rest"

def epoch_table(epochs):
    rows = []
    for way, turns in epochs.items():
        total = [t["total"] for t in turns]
        parts = [f"{median(1e3*t[p]/t['clips'] for t in turns):.2f}" for p in PARTS]
        rows.append((way, f"{median(t['clips']/t['total'] for t in turns):,.0f}", *parts,
                     shown(ratio(total, [t["total"] for t in epochs["pictures, RGB"]]))))
    return table(["way", "clips/s", *PARTS, "÷ RGB pictures"], rows)

def goals(result):
    "What the project asks of itself: `(what, measured, must, aim, met)`"
    rows = []
    def at_least(what, value, must, aim): rows.append((what, value, f"≥ {must}", f"≥ {aim}", value >= must))
    def at_most(what, value, must, aim): rows.append((what, value, f"≤ {must}", f"≤ {aim}", value <= must))
    def worst(cases, rival="torchaudio"): return min(ratio(c["rates"]["ours"], c["rates"][rival])[0] for c in cases)
    cpu = [c for c in result.get("transform", []) if c["device"] == "cpu"]
    first = [c for c in cpu if "rfft alone" in c["rates"]]
    if main := [c for c in first if setting_name(c["settings"]) in ("1024/256/40", "1024/256/128")]:
        at_least("transform ÷ torchaudio, 1024/256, batch of 64", worst(main), 4, 5)
        at_least("transform ÷ librosa clip by clip, the same", worst(main, "librosa, clip by clip"), 3, 4)
        at_least("transform ÷ `rfft` alone, the same", worst(main, "rfft alone"), 0.4, 0.5)
    if others := [c for c in cpu if c["batch"] > 1 and c not in main]:
        at_least("transform ÷ torchaudio, all other settings and sizes", worst(others), 2.5, 2.5)
    if single := [c for c in cpu if c["batch"] == 1]: at_least("transform ÷ torchaudio, a single clip", worst(single), 1, 1)
    if result.get("loading"):
        for format, times in by_format(result["loading"]).items():
            at_most(f"`load_clip` ÷ librosa.load, {format}", ratio(times["load_clip"], times["librosa.load"])[0], 1.0, 0.9)
        wav = by_format(result["loading"])["WAV"]
        at_least("librosa.load ÷ `load_clip` with int16 kept, WAV", ratio(wav["librosa.load"], wav["load_clip, int16 kept"])[0],
                 1.6, 2)
    if memory := result.get("memory"):
        at_most("memory ÷ torchaudio's, 256 clips of 4 s", median(memory["ours"])/median(memory["torchaudio"]), 0.25, 0.25)
    if epoch := result.get("epoch"):
        epochs = {way: [t["total"] for t in turns] for way, turns in epoch.items()}
        for way in "on the fly, from files", "on the fly, from memory":
            at_most(f"epoch {way} ÷ RGB pictures", ratio(epochs[way], epochs["pictures, RGB"])[0], 1.0, 0.9)
            at_most(f"epoch {way} ÷ grey pictures", ratio(epochs[way], epochs["pictures, grey"])[0], 1.05, 1.0)
    if found := result.get("training"):
        most = list(found)[-1]
        left = median(found[most][training.NOW])/median(found["0"][training.NOW])
        at_least("training beside a busy program for each core ÷ alone", left, 0.4, 0.5)
        at_least("training alone, waiting as in this book ÷ as torch does",
                 ratio(found["0"][training.NOW], found["0"][training.AS_IT_WAS])[0], 0.97, 1.0)
    if taken := result.get("cold"):
        s = {name: median(t) for name, t in taken.items()}
        at_most("predict one clip, cold ÷ by torch", s[cold.NOW]/s[cold.TORCH], 0.17, 0.1)
        at_most("predict one clip, cold ÷ bare imports", s[cold.NOW]/s[cold.BARE], 3, 2.5)
        for ours, theirs in (("classifier", "torch, torchvision"), ("learner", "torch, torchvision, fastai.vision.all")):
            at_most(f"import audio_tutorial.{ours} ÷ {theirs}", s[f"import audio_tutorial.{ours}"]/s[f"import {theirs}"], 1.15, 1.05)
    if named := result.get("naming"):
        for name in (n for n in (naming.NOW, naming.SMALL) if n in named["rates"]):
            at_least(f"clips classified in a second: {name} ÷ {naming.TORCH}",
                     ratio(named["rates"][name], named["rates"][naming.TORCH])[0], 2, 2)
    if shared := result.get("cluster"):
        s = shared["seconds"]
        for ours, theirs, must, aim in ((cluster.WORKERS, cluster.ONE, 0.6, 0.55), (cluster.WORKERS, cluster.TWO, 1.1, 1.0),
                                        (cluster.BY_WORKERS, cluster.POOL, 1.2, 1.1)):
            at_most(f"{ours} ÷ {theirs}", ratio(s[ours], s[theirs])[0], must, aim)
    if result["machine"]["gpu"] and epoch:
        share = median(t["transform"]/t["total"] for t in epoch["on the fly, from memory"])
        at_most("share of a training step spent on spectrograms", share, 0.05, 0.03)
    return rows

def goals_table(result):
    return table(["ratio", "measured", "must", "aim", "met"],
                 [(what, f"{value:.2f}", must, aim, "yes" if met else "**no**")
                  for what, value, must, aim, met in goals(result)])

def days(dates):
    "When which parts were measured"
    found = {}
    for part, date in dates.items(): found.setdefault(date, []).append(part)
    return "; ".join(date if len(found) == 1 else f"{', '.join(parts)} on {date}" for date, parts in found.items())

def report(result) -> str:
    "All tables of one machine, as Markdown: those of the parts that were measured"
    m = result["machine"]
    made = [f"## {m['gpu'] or m['cpu']}\n\n{m['cpu']}, {m['cores']} cores, {m['threads']} threads; "
            + (f"{m['gpu']}; " if m["gpu"] else "") + f"torch {m['torch']}; {days(result['dates'])}, "
            f"{result['rounds']} rounds. Ratios are medians over the rounds, with the smallest and the largest.",
            goals_table(result)]
    cases = result.get("transform", [])
    for case in cases:
        if "rfft alone" in case["rates"]:
            made += [f"**Spectrograms on the {case['device'].upper()}: {case_name(case)}**", transform_table(case)]
    if sizes := [c for c in cases if "rfft alone" not in c["rates"]]:
        made += ["**Times as fast as torchaudio, batches of other sizes**", sizes_table(sizes)]
    if memory := result.get("memory"):
        made += ["**Memory beyond the batch itself, 256 clips of 4 s**",
                 table(["mel power", "MB"], [(name, f"{median(mb):,.0f}") for name, mb in memory.items()])]
    if read := result.get("loading"): made += ["**Reading 16-bit files of 4 s**", loading_table(read)]
    if taken := result.get("cold"): made += ["**Cold starts**", cold_table(taken)]
    if named := result.get("naming"):
        made += [f"**Classifying {named['clips']:,} clips of 4 s**", naming_table(named["rates"])]
    if shared := result.get("cluster"):
        made += ["**Two Dask workers on this computer**", cluster_table(shared),
                 "**A worker killed at a random moment**", kills_table(shared["kills"])]
    if found := result.get("training"): made += ["**Training beside other programs**", training_table(found)]
    if epoch := result.get("epoch"):
        made += [f"**An epoch of {result['arch']}, batches of {result['batch']}; its parts in ms per clip**",
                 epoch_table(epoch),
                 f"Drawing the pictures took {result['drawing']:.1f} s for {result['notes']} notes, RGB and grey together."]
    return "\n\n".join(made) + "\n"

def minutes(seconds): return f"{int(seconds)//60} min {int(seconds) % 60:02d} s"

def article_table(result):
    "Both ways of the article's experiment: a row per way"
    rows, seconds = [], result["seconds"]
    for way in dict.fromkeys(run["way"] for run in result["runs"]):
        runs = [run for run in result["runs"] if run["way"] == way]
        before = (seconds["drawing"] if way.startswith("pictures") else 0) + median(r["reading"] for r in runs)
        spread = " to ".join(f"{100*a:.1f}" for a in sorted({f(r["accuracy"] for r in runs) for f in (min, max)}))
        rows.append((way, minutes(before), minutes(median(r["training"] for r in runs)), f"{spread} %",
                     f"{result['drawn_bytes']/1e6:,.0f} MB" if way.startswith("pictures") else "0 MB"))
    return table(["way", "before training", "training", "accuracy", "written to disk"], rows)

def article_report(result) -> str:
    "The article's experiment on one machine, as Markdown"
    m, (n_train, n_valid), n = result["machine"], result["notes"], len(result["runs"])//2
    start = "ImageNet's weights" if result["pretrained"] else "random weights"
    return (f"**The article's experiment on {m['gpu'] or m['cpu']}**: {n_train:,} and {n_valid:,} {result['data']}, "
            f"{result['epochs']} epochs of resnet18 from {start}, batches of {result['bs']}, {n} training"
            f"{'s' if n > 1 else ''} of each way, {result['date']}. The article drew for 10 min 43 s and trained for "
            "2 min 14 s (84 %) on pictures, and for 30 s more on the fly (80 %).\n\n" + article_table(result) + "\n")

def all_reports(
    folder: Path, # Of results: a JSON file per machine, and those of the article's experiment in `article`
) -> str: # Markdown
    "The reports of all machines that were measured"
    made = [show(json.loads(f.read_text())) for pattern, show in (("*.json", report), ("article/*.json", article_report))
            for f in sorted(Path(folder).glob(pattern))]
    return "\n".join(made) or "Nothing has been measured yet: `make bench` does it."
