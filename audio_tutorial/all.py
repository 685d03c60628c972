"Everything the book exports, for notebooks: `from audio_tutorial.all import *` (written by hand)"
from audio_tutorial import check
from audio_tutorial.arrays import *
from audio_tutorial.decoders import *
from audio_tutorial.files import *
from audio_tutorial.players import *
from audio_tutorial.clips import *
from audio_tutorial.fft import *
from audio_tutorial.stft import *
from audio_tutorial.mel import *
from audio_tutorial.notes import *
from audio_tutorial.images import *
from audio_tutorial.batches import *
from audio_tutorial.networks import *
from audio_tutorial.learner import *
from audio_tutorial.evaluate import *
from audio_tutorial.augment import *
from audio_tutorial.pretrain import *
from audio_tutorial.predictor import *
from audio_tutorial.classifier import *
from audio_tutorial.onnx_classifier import *
from audio_tutorial.cli import find_clips, save_confusion, split_clips, train_clips, usual_duration
