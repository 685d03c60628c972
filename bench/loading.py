"Loading 16-bit mono files at their own rate, format by format; a turn answers with microseconds per clip"
import time

import numpy as np

def contestant(prepare):
    def start(files):
        load = prepare()
        def turn(save=None, format=None):
            chosen = files[format] if format else files
            begin = time.perf_counter()
            for file in chosen: samples = load(file)
            taken = time.perf_counter() - begin
            if save: np.save(save, samples)
            return 1e6*taken/len(chosen)
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

FORMATS = {"WAV": "wav", "FLAC": "flac", "MP3": "mp3", "OGG": "ogg"}

def prepare(files, folder):
    "The same clips in every format: `{format: [paths]}`"
    import soundfile
    made = {}
    for format, ending in FORMATS.items():
        made[format] = [f"{folder}/{i}.{ending}" for i in range(len(files))]
        for file, new in zip(files, made[format]): soundfile.write(new, *soundfile.read(file, dtype="int16"), format=format)
    return made

def check_equal(made, folder, format=None):
    "Assert that all give the same samples"
    loaded = {}
    for name, c in made.items():
        c.turn(save=f"{folder}/samples.npy", format=format)
        samples = np.load(f"{folder}/samples.npy")
        loaded[name] = samples/32768 if samples.dtype == np.int16 else samples
    for name, samples in loaded.items():
        assert samples.shape == loaded["librosa.load"].shape, (format, name)
        assert np.allclose(samples, loaded["librosa.load"], rtol=0, atol=1e-6), (format, name)
