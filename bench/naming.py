"""Classifying many clips: a turn goes from files to a table, and answers with clips per second

A resnet18 with random weights, as the speed does not depend on them: by torch, and exported, by onnxruntime."""
import time

from bench.turns import TRAINING

def save_model(folder):
    "A classifier for the shell and for the contestants: `folder/torch`, and `folder/onnx` with its export"
    import shutil, torch
    from audio_tutorial.classifier import AudioClassifier
    from audio_tutorial.mel import MelSettings
    from audio_tutorial.onnx_classifier import export_classifier
    torch.manual_seed(0)
    AudioClassifier(MelSettings(), [f"label {i}" for i in range(10)], duration=4).save(folder/"torch")
    shutil.copytree(folder/"torch", folder/"onnx")
    export_classifier(folder/"onnx")

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

TORCH, NOW = "by torch", "exported, by onnxruntime"
CONTESTANTS = {TORCH: contestant("torch"), NOW: contestant("onnx")}
ENV = {NOW: TRAINING}
