"""Cold starts: seconds of whole processes, from the command to its end, files in the cache"""
import subprocess, sys, time

from bench.turns import ROOT

BARE = "import numpy, soundfile, soxr, onnxruntime"
IMPORTS = {BARE: BARE, "import torch, torchvision": "import torch, torchvision",
           "import audio_tutorial.classifier": "import audio_tutorial.classifier",
           "import torch, torchvision, fastai.vision.all": "import torch, torchvision, fastai.vision.all",
           "import audio_tutorial.learner": "import audio_tutorial.learner"}
TORCH, NOW = "predict one clip, by torch", "predict one clip, exported"

def commands(models, clip):
    "What is started, by name"
    predict = {TORCH: "torch", NOW: "onnx"}
    return {**{name: ["-c", code] for name, code in IMPORTS.items()},
            **{name: ["-m", "audio_tutorial.cli", "predict", f"{models}/{kind}", clip] for name, kind in predict.items()}}

def measure(models, clip, rounds, warm):
    "`{name: [seconds]}`, after `warm` rounds that are not counted"
    taken = {name: [] for name in commands(models, clip)}
    for i in range(warm + rounds):
        for name, args in commands(models, clip).items():
            begin = time.perf_counter()
            subprocess.run([sys.executable, "-W", "ignore", *args], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
            if i >= warm: taken[name].append(time.perf_counter() - begin)
    return taken
