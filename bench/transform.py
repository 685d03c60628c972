"""Mel power of a batch of clips: ours, torchaudio, librosa, nnAudio, audioflux, and the Fourier transforms alone

A turn computes the power of a batch once, then again and again for a while, and answers with clips per second of the
while: a training goes from batch to batch, and the first one after a pause waits for cores and memory to wake up."""
import time
from pathlib import Path

import numpy as np
from audio_tutorial.clips import example_clip, load_clip
from audio_tutorial.mel import MelSettings

def make_clips(settings, batch, seconds):
    "Pieces of the saxophone phrase, with a little noise: float32 `(batch, n_samples)`"
    rng, (phrase, rate) = np.random.default_rng(0), load_clip(example_clip(), settings.sample_rate)
    n = round(seconds*rate)
    phrase = np.tile(phrase, 2 + n//len(phrase))
    starts = rng.integers(0, len(phrase) - n, batch)
    return np.stack([phrase[k:k + n] for k in starts]) + rng.normal(0, 1e-3, (batch, n)).astype("float32")

def contestant(prepare):
    "From a function `(settings, device) -> (clips -> power)` to a worker's turns"
    def start(device="cpu"):
        import torch
        routes, batches = {}, {}
        finish = torch.cuda.synchronize if device == "cuda" else lambda: None
        def turn(settings, batch, seconds, lasting=0, save=None):
            s, key = MelSettings(**settings), (str(settings), batch, seconds)
            if str(settings) not in routes: routes[str(settings)] = prepare(s, device)
            route, to_input, to_numpy = routes[str(settings)]
            if key not in batches:
                batches.clear() # large ones do not pile up
                batches[key] = to_input(make_clips(s, batch, seconds))
            x = batches[key]
            with torch.inference_mode():
                y, done = route(x), 0
                finish()
                begin = time.perf_counter()
                while not done or time.perf_counter() - begin < lasting:
                    y, done = route(x), done + 1
                    finish()
                taken = time.perf_counter() - begin
            if save: np.save(save, to_numpy(y))
            return batch*done/taken
        return turn
    return start

def by_torch(module):
    "Contestants that are torch modules, on any device"
    def prepare(settings, device):
        import torch
        m = module(settings).to(device)
        return m, lambda x: torch.from_numpy(x).to(device), lambda y: y.reshape(len(y), *y.shape[-2:]).cpu().numpy()
    return contestant(prepare)

def ours(s):
    from audio_tutorial.batches import MelSpectrogram
    return MelSpectrogram(s, decibels=False)

def ours_in_decibels(s):
    from audio_tutorial.batches import MelSpectrogram
    return MelSpectrogram(s)

def torchaudio(s):
    from torchaudio.transforms import MelSpectrogram
    return MelSpectrogram(s.sample_rate, s.n_fft, hop_length=s.hop_length, n_mels=s.n_mels, f_min=s.f_min,
                          f_max=s.f_max, mel_scale=s.mel_scale, norm="slaney", pad_mode="constant")

def nnaudio(s):
    from nnAudio.features import MelSpectrogram
    return MelSpectrogram(sr=s.sample_rate, n_fft=s.n_fft, n_mels=s.n_mels, hop_length=s.hop_length, fmin=s.f_min,
                          fmax=s.f_max, htk=s.mel_scale == "htk", pad_mode="constant", verbose=False)

def same(x): return x

@contestant
def librosa_each(s, device): return lambda x: [s.power(clip) for clip in x], same, np.stack

@contestant
def librosa_batch(s, device):
    import librosa
    return lambda x: librosa.feature.melspectrogram(
        y=x, sr=s.sample_rate, n_fft=s.n_fft, hop_length=s.hop_length, n_mels=s.n_mels, fmin=s.f_min, fmax=s.f_max,
        htk=s.mel_scale == "htk", pad_mode="constant"), same, same

@contestant
def audioflux(s, device):
    """Its mel scale is HTK's, and it takes frames of a power of two alone, from the clip's first sample on

    It gets one thread: with two, version 0.1.9 takes longer and gives twice the power."""
    import audioflux as af
    from audioflux.type import (SpectralDataType, SpectralFilterBankNormalType, SpectralFilterBankScaleType,
                                SpectralFilterBankStyleType)
    from threadpoolctl import ThreadpoolController
    bft = af.BFT(s.n_mels, radix2_exp=s.n_fft.bit_length() - 1, samplate=s.sample_rate, low_fre=s.f_min,
                 high_fre=s.f_max, slide_length=s.hop_length, scale_type=SpectralFilterBankScaleType.MEL,
                 style_type=SpectralFilterBankStyleType.SLANEY, data_type=SpectralDataType.POWER,
                 normal_type=SpectralFilterBankNormalType.BAND_WIDTH)
    threads, ends = ThreadpoolController(), ((0, 0), (s.n_fft//2, s.n_fft//2))
    def power(x):
        with threads.limit(limits=1): return bft.bft(np.pad(x, ends), result_type=1)
    return power, same, same

@contestant
def rfft(s, device):
    "Nothing but the Fourier transforms of frames that lie ready, windowed, in memory"
    import torch
    window = torch.hann_window(s.n_fft, device=device)
    def frames(x):
        padded = torch.nn.functional.pad(torch.from_numpy(x).to(device), (s.n_fft//2, s.n_fft//2))
        return padded.unfold(-1, s.n_fft, s.hop_length)*window
    return lambda ready: [torch.fft.rfft(part) for part in ready.split(4)], frames, lambda y: np.zeros(0)

KEPT = "torchaudio, memory kept" # as in training, see `turns.KEEP_MEMORY`
CONTESTANTS = {"ours": by_torch(ours), "ours, in decibels": by_torch(ours_in_decibels),
               "torchaudio": by_torch(torchaudio), KEPT: by_torch(torchaudio), "nnAudio": by_torch(nnaudio),
               "librosa, clip by clip": librosa_each, "librosa, whole batch": librosa_batch, "audioflux": audioflux, "rfft alone": rfft}

# How far each may lie from librosa, clip by clip; audioflux is compared on its own mel scale
EQUAL = {"ours": 1e-5, "torchaudio": 2e-5, "nnAudio": 2e-5, "librosa, whole batch": 1e-6, "audioflux": 1e-3}

def can(name, settings): return name != "audioflux" or settings["n_fft"].bit_count() == 1

def check_equal(
    made: dict, # `{name: Contestant}`
    settings: dict, # For `MelSettings`
    folder, # For the arrays
):
    "Assert that all give librosa's numbers, before any time is taken"
    from audio_tutorial.clips import compare
    for name in sorted(EQUAL.keys() & made.keys()):
        s = settings | (dict(mel_scale="htk") if name == "audioflux" else {})
        file = Path(folder)/"power.npy"
        made[name].turn(settings=s, batch=3, seconds=4, save=str(file))
        clips = make_clips(MelSettings(**s), 3, 4)
        try: compare(np.load(file), np.stack([MelSettings(**s).power(c) for c in clips]), EQUAL[name])
        except AssertionError as e: raise AssertionError(f"{name}, {s}: not librosa's numbers: {e}") from e
