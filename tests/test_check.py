"Every exercise can be solved, and a wrong answer is told apart from a right one"
import io
import itertools

import librosa
import numpy as np
import pytest
import soundfile as sf
import soxr
import torch
from PIL import Image
from scipy.ndimage import uniform_filter1d
from scipy.special import softmax
from audio_tutorial import check
from audio_tutorial.augment import Augmentation, Noise, Polarity
from audio_tutorial.clips import example_clip, load_clip
from audio_tutorial.mel import MelSettings
from audio_tutorial.notes import families, instruments
from audio_tutorial.techniques import Technique, read_later


def small():
    "The clip at a lower rate, in OGG"
    clip, rate = load_clip(example_clip(), duration=3)
    file = io.BytesIO()
    sf.write(file, soxr.resample(clip, rate, 16000), 16000, format='OGG')
    return file.getvalue()


def loud():
    "The clip as it is: too large"
    clip, rate = load_clip(example_clip(), duration=3)
    file = io.BytesIO()
    sf.write(file, clip, rate, format='WAV')
    return file.getvalue()


def parabola(frame, rate):
    "The peak of a parabola through the three highest points, in dB"
    m = 20*np.log10(np.abs(np.fft.rfft(frame*np.hanning(len(frame)))) + 1e-12)
    k = m.argmax()
    return (k + 0.5*(m[k-1] - m[k+1])/(m[k-1] - 2*m[k] + m[k+1]))*rate/len(frame)


def dft(x):
    n = np.arange(len(x))
    return np.exp(-2j*np.pi*np.outer(n, n)/len(x)) @ x


def same(p, q): return np.abs(p - q).max() < 1e-4 and (p.argmax(1) == q.argmax(1)).all()


def bank(n):
    return librosa.filters.mel(sr=16000, n_fft=1024, n_mels=n, fmin=20, fmax=8000)


def griffin_lim(magnitude):
    return librosa.griffinlim(magnitude, hop_length=256, n_iter=64, momentum=0.99, init=None)


def grey(db):
    return np.rint((db[::-1] + 80)*255/80).astype('uint8')


def png(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format='PNG')
    return file.getvalue()


def in_one_go(power):
    db = 10*power.clamp(min=1e-10).log10()
    return (db - db.amax((1, 2), keepdim=True)).clamp(min=-80)


def fewest():
    t = instruments()
    return 5*min(sum(r.high - r.low + 1 for r in t.itertuples() if r.family == f and r.source == 'acoustic')
                 for f in families)


def level_and_spread(x):
    "What the first quarter sounds like, and the whole"
    db = MelSettings().log_mel(x)
    return np.hstack([db.mean(axis=1), db.std(axis=1), db[:, :60].mean(axis=1)])


class Reverse(Augmentation):
    def transform(self, x, drawn): return x.flip(1)


class Dive(Technique):
    "The place of reading lags by half of d t² seconds"
    def __init__(self, d, p=0.2, sample_rate=16000, seed=None): super().__init__(p, sample_rate, seed, d=d)
    def play(self, x, time, drawn): return read_later(x, -self.sample_rate*drawn['d']*time**2/2)


class Speeding(Dive):
    "Without the half, which is the integral's"
    def play(self, x, time, drawn): return read_later(x, -self.sample_rate*drawn['d']*time**2)


def find_second_view(a, b, temperature):
    "Cross-entropy of cosine similarities, by torch"
    a, b = (torch.nn.functional.normalize(torch.from_numpy(x)) for x in (a, b))
    return torch.nn.functional.cross_entropy(a @ b.T/temperature, torch.arange(len(a)))


def still_missing(clips, size, names):
    return [c for i, c in enumerate(clips) if f'part-{i//size:05d}.parquet' not in names]


def smaller_and_smaller(n, workers):
    "Parts that are a share of what is left"
    sizes = []
    while n:
        sizes.append(min(n, max(16, n//(4*workers))))
        n -= sizes[-1]
    return sizes


def members(names):
    pairs = [n.split('.', 1) for n in names]
    return [(k, [e for _, e in g]) for k, g in itertools.groupby(pairs, lambda p: p[0])]


ANSWERS = [ # check, a right answer, a wrong one
    ('clip_seconds', 4, 2),
    ('peak_level', lambda x: 20*np.log10(np.abs(x).max()), lambda x: 20*np.log10(x.max())),
    ('small_file', small(), loud()),
    ('nearest_bin', 128, 64),
    ('own_dft', dft, lambda x: np.conj(dft(x))),
    ('tone_frequency', parabola, lambda frame, rate: rate/4),
    ('frame_count', 259, 258),
    ('hop_for_frames', 160, 161),
    ('sound_from_magnitude', griffin_lim, lambda m: np.zeros(32000)),
    ('stft_rows', 193, 192),
    ('own_filterbank', bank, lambda n: bank(n + 1)),
    ('pitch_pattern', r'-(\d+)-\d+\.wav$', r'(\w+)_'),
    ('fewest_notes', fewest(), 100),
    ('nearest_family', lambda x: MelSettings().log_mel(x).mean(axis=1), lambda x: 0),
    ('conv_weights', 4640, 4608),
    ('own_softmax', softmax, lambda s: np.ones_like(s)/len(s)),
    ('picture_size', (64, 376), (376, 64)),
    ('grey_picture', grey, lambda db: grey(db)[::-1]),
    ('small_pictures', lambda p: png(np.minimum(np.rint(p/7)*7, 255).astype('uint8')), lambda p: png(p//8*8 + 4)),
    ('batch_shape', (32, 1, 64, 626), (32, 64, 626)),
    ('own_batch_db', in_one_go, lambda p: 10*(p/p.max()).clamp(min=1e-10).log10()),
    ('band_groups', [0, 28, 54, 74, 90, 102, 112, 121], list(range(0, 128, 16))),
    ('batch_numbers', 64*40*251, 64*40*250),
    ('polarity', torch.neg, torch.abs),
    ('better_settings', MelSettings(), MelSettings(n_fft=256, n_mels=None)),
    ('half_width', 9.9, 4.6),
    ('speaker', lambda f: f.name.split('_')[0], lambda f: f.name),
    ('better_baseline', level_and_spread, lambda x: np.abs(x).mean()),
    ('noise_power', 0.0002, 0.0004),
    ('reversed_clips', Reverse, Polarity),
    ('better_augmentation', Noise((0, 20), p=1), Polarity(p=1)),
    ('first_weights', 3136, 9408),
    ('small_network', 'squeezenet1_1', 'resnet18'),
    ('collapsed_loss', 4.84, 4.85),
    ('one_way_loss', find_second_view, lambda a, b, t: find_second_view(b, a, t)),
    ('pitch_blind', lambda db: np.sort(db, axis=0).mean(axis=1), lambda db: db.mean(axis=1)),
    ('window_count', 20, 19),
    ('weights_size', 44.8, 11.2),
    ('same_answers', same, lambda p, q: np.allclose(p, q, atol=1e-4)),
    ('merge_labels', lambda x: [(k, len(list(g))) for k, g in itertools.groupby(x)], lambda x: [(k, 1) for k in x]),
    ('speaker_pattern', r'_(\w+)_', r'(\d)_'),
    ('leaking_groups', lambda g, v: sorted({a for a, x in zip(g, v) if x} & {a for a, x in zip(g, v) if not x}),
     lambda g, v: sorted(set(g))),
    ('tone_level', -3.0, -6.0),
    ('cancelling_channels', lambda x: np.abs(x.mean(1)).max() < 0.01*np.abs(x).max(),
     lambda x: np.abs(x.mean(1)).max() < 0.01),
    ('quiet_clipping', lambda x: (np.abs(x) > 0.95*np.abs(x).max()).mean(), lambda x: np.abs(x).max()),
    ('best_duration', np.median, max),
    ('smooth_track', lambda p: uniform_filter1d(p, 9, axis=0), lambda p: p),
    ('cluster_hours', 2.5, 80),
    ('missing_clips', still_missing, lambda clips, size, names: clips[len(names)*size:]),
    ('part_sizes', smaller_and_smaller, lambda n, workers: [32]*(n//32) + [n % 32]*(n % 32 > 0)),
    ('earliest_place', 4001, 4000),
    ('shard_members', members, lambda names: [(k, [n.split('.')[-1] for n in g]) for k, g in
                                              itertools.groupby(names, lambda n: n.split('.')[0])]),
    ('mixed_shards', lambda streams: (clip for clips in zip(*streams) for clip in clips), itertools.chain.from_iterable),
    ('mean_of_parts', lambda means, counts: np.dot(means, counts)/sum(counts), lambda means, counts: np.mean(means)),
    ('smallest_batch', lambda n, rate, wire: int(np.ceil(8*n*rate/(wire*1e9))),
     lambda n, rate, wire: int(8*n*rate/(wire*1e9))),
    ('vibrato_place', 1000*(2**(30/1200) - 1)/(12*np.pi), 1000*(2**(30/1200) - 1)/6),
    ('dive', Dive, Speeding),
    ('smallest_settings', MelSettings(n_fft=2048, hop_length=2048, n_mels=20, f_min=100, f_max=500), MelSettings()),
]


def test_every_check_has_answers():
    assert sorted(a[0] for a in ANSWERS) == sorted(check.__all__)


@pytest.mark.parametrize('name, right, wrong', ANSWERS, ids=[a[0] for a in ANSWERS])
def test_answers(name, right, wrong):
    f = getattr(check, name)
    assert f(right).data.startswith('**Right.**'), f(right).data
    assert f(wrong).data.startswith('**Not yet.**')
    assert f(...).data.startswith('**Your turn.**')


def test_shards_that_are_all_kept_are_not_mixed():
    def all_at_once(streams): return sorted((c for s in streams for c in s), key=lambda c: c[1])
    assert 'keeps 999 clips' in check.mixed_shards(all_at_once).data
    assert 'once' in check.mixed_shards(lambda streams: streams[0]).data
    assert 'not 3000' in check.part_sizes(lambda n, workers: [10]*10).data


def test_an_answer_that_fails_is_not_yet_right():
    def broken(x): raise KeyError('oops')
    assert 'KeyError' in check.own_dft(broken).data
    assert check.smallest_settings(None).data.startswith('**Not yet.**')
