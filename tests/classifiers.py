"Classifiers with random weights, for tests that do not train"
import torch

from audio_tutorial.classifier import AudioClassifier
from audio_tutorial.mel import MelSettings

SETTINGS = MelSettings()
OTHERS = {'other settings': MelSettings(8000, 512, 200, 24, 50, 4000, 'htk', 60), 'n_fft=600': MelSettings(n_fft=600),
          'stft': MelSettings(n_fft=256, n_mels=None)}


def small(settings=SETTINGS, vocab=('a', 'b', 'c'), duration=1, **kwargs):
    "A classifier with random weights, quick"
    torch.manual_seed(0)
    return AudioClassifier(settings, vocab, duration, 'squeezenet1_1', **kwargs)


def probabilities(clf, x, *args, **kwargs):
    "What `predict` says, as an array `(n, n_labels)`"
    return clf.predict(x, *args, progress=False, **kwargs)[clf.vocab].to_numpy()
