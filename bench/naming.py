"""Classifying many clips: a turn goes from files to a table, and answers with clips per second

A resnet18 with random weights, as the speed does not depend on them: by torch, and exported, by onnxruntime. Then the
`plain_cnn` with which the book repeats its experiments."""
import time

from bench.turns import TRAINING

def save_model(folder):
    "Classifiers for the shell and for the contestants: `folder/torch`, `folder/onnx` with its export, `folder/small`"
    import shutil, torch
    from audio_tutorial.classifier import AudioClassifier
    from audio_tutorial.mel import MelSettings
    from audio_tutorial.onnx_classifier import export_classifier
    torch.manual_seed(0)
    for name, arch in ("torch", "resnet18"), ("small", "plain_cnn"):
        AudioClassifier(MelSettings(), [f"label {i}" for i in range(10)], 4, arch).save(folder/name)
    shutil.copytree(folder/"torch", folder/"onnx")
    for name in "onnx", "small": export_classifier(folder/name)

def contestant(kind):
    def start(models, files):
        from audio_tutorial.onnx_classifier import load_classifier
        clf = load_classifier(f"{models}/{kind}")
        def turn():
            begin = time.perf_counter()
            table = clf.predict(files, progress=False)
            return len(table)/(time.perf_counter() - begin)
        return turn
    return start

TORCH, NOW, SMALL = "resnet18, by torch", "resnet18, exported, by onnxruntime", "plain_cnn, exported, by onnxruntime"
CONTESTANTS = {TORCH: contestant("torch"), NOW: contestant("onnx"), SMALL: contestant("small")}
ENV = {NOW: TRAINING, SMALL: TRAINING}
