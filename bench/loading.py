"Loading a folder of 16-bit mono WAV files at their own rate; a turn answers with microseconds per clip"
import time

import numpy as np

def contestant(prepare):
    def start(files):
        load = prepare()
        def turn(save=None):
            begin = time.perf_counter()
            for file in files: samples = load(file)
            taken = time.perf_counter() - begin
            if save: np.save(save, samples)
            return 1e6*taken/len(files)
        return turn
    return start

@contestant
def librosa():
    import librosa
    return lambda file: librosa.load(file, sr=None)[0]

@contestant
def soundfile():
    import soundfile
    return lambda file: soundfile.read(file, dtype="float32")[0]

@contestant
def as_float():
    from audio_tutorial.clips import load_clip
    return lambda file: load_clip(file)[0]

@contestant
def as_int16():
    from audio_tutorial.clips import load_clip
    return lambda file: load_clip(file, keep_int16=True)[0]

CONTESTANTS = {"librosa.load": librosa, "soundfile.read": soundfile, "load_clip": as_float,
               "load_clip, int16 kept": as_int16}

def check_equal(made, folder):
    "Assert that all give the same samples"
    loaded = {}
    for name, c in made.items():
        c.turn(save=f"{folder}/samples.npy")
        samples = np.load(f"{folder}/samples.npy")
        loaded[name] = samples/32768 if samples.dtype == np.int16 else samples
    for name, samples in loaded.items(): assert np.array_equal(samples, loaded["librosa.load"]), name
