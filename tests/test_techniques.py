"Playing techniques: what each does to a sound; the rules for all augmentations are in test_augment"
from importlib.resources import files

import numpy as np
import pandas as pd
import pytest
import torch

from audio_tutorial.notes import families
from audio_tutorial.techniques import (Fall, Section, Staccato, Swell, Technique, Tremolo, Vibrato, playing_techniques,
                                       read_later)

RATE = 16000


def sine(hz, seconds=2, rate=RATE): return torch.sin(2*torch.pi*hz*torch.arange(int(seconds*rate))/rate + 0.3)


def pitch(x, start, n=1600, rate=RATE):
    "The highest peak of the spectrum of a stretch, in Hz"
    part = x[start:start + n]*torch.hann_window(n)
    return torch.fft.rfft(part, 2**16).abs().argmax().item()*rate/2**16


# -------------------------------------------------------------------------------------------------- a place that moves

def test_reading_equals_numpys_interpolation():
    x, by = torch.randn(3, 500, dtype=torch.float64), torch.rand(3, 500)*40 - 20
    place = np.arange(500) + by.numpy().astype('float64')
    wanted = [np.interp(p, np.arange(-1, 501), np.pad(row, 1)) for p, row in zip(place, x.numpy())]
    assert np.allclose(read_later(x, by), wanted, atol=1e-5)


@pytest.mark.parametrize('by', [0.0, 3.0, -3.0, 1e9, -1e9, 0.25])
def test_reading_beyond_the_clip_is_silent(by):
    x = torch.ones(1, 8)
    y = read_later(x, torch.full((1, 8), by))
    inside = [0 <= i + by <= 7 for i in range(8)]
    assert [v == 1 for v in y[0]] == inside and torch.isfinite(y).all() and y.max() <= 1


def test_a_clip_of_one_sample(): assert read_later(torch.ones(1, 1), torch.full((1, 1), 0.25)).item() == 0.75


def test_reading_has_gradients():
    x = torch.randn(1, 50, requires_grad=True)
    read_later(x, torch.full((1, 50), 0.5)).sum().backward()
    assert torch.isfinite(x.grad).all() and x.grad.abs().sum() > 0


# -------------------------------------------------------------------------------------------------------- what each does

@pytest.mark.parametrize('rate', [8000, 44100])
def test_vibrato_in_any_rate(rate):
    x = Vibrato(cents=50, rate=2, p=1, sample_rate=rate, seed=1)(sine(500, 2, rate))
    found = [pitch(x, s, rate//20, rate) for s in range(rate//4, 3*rate//2, rate//50)]
    assert max(found) == pytest.approx(500*2**(50/1200), rel=0.004)
    assert min(found) == pytest.approx(500*(2 - 2**(50/1200)), rel=0.004)


def test_the_beginning_of_a_vibrato_is_the_beginning_of_the_clip():
    x = sine(300)
    for seed in range(5): assert Vibrato(cents=100, p=1, seed=seed)(x)[0] == pytest.approx(x[0].item(), abs=1e-3)


def test_a_fall_begins_and_ends_when_it_should():
    x = sine(1000)
    y = Fall(octaves=2, start=0.5, length=0.6, p=1)(x)
    assert torch.allclose(y[:7000], x[:7000], atol=1e-3), 'as it was before'
    assert pitch(y, 8000 + 8000 - 400, 800) == pytest.approx(500, rel=0.05), 'an octave lower after half a second'
    assert y[-4000:].abs().max() < 1e-3, 'silent afterwards'


def test_a_fall_needs_a_way_to_fall():
    for octaves in 0, (-1, 2), (0, 1):
        with pytest.raises(ValueError, match='octaves must be above 0'): Fall(octaves=octaves)


def test_players_of_a_section():
    x = sine(440)
    y = Section(cents=0, late=0.01, level=1, players=3, p=1)(x)
    late = torch.nn.functional.pad(x, (160, 0))[:len(x)]
    wanted = x + 3*late
    wanted = wanted*(x.square().mean()/wanted.square().mean()).sqrt()
    assert torch.allclose(y, wanted, atol=1e-4)
    several = Section(players=4, p=1, seed=2)
    several(x[None].expand(3, -1))
    assert several.drawn['cents'].shape == (3, 4), 'each player is out of tune in a way of their own'


def test_silence_stays_silent():
    for tfm in playing_techniques():
        tfm.module.p = 1.0
        assert not tfm.module(torch.zeros(2, 4000)).any()


def test_staccato_ends_the_note():
    y = Staccato(hold=0.5, fade=0.02, p=1)(torch.ones(1, RATE))[0]
    assert y[:6000].min() > 0.99 and y[8000] == pytest.approx(0.5, abs=1e-3) and y[10000:].max() < 0.01


@pytest.mark.parametrize('db', [-6.0, 6.0])
def test_swell_changes_by_so_many_db_in_a_second(db):
    y = Swell(db=db, p=1)(torch.ones(1, 4*RATE))[0]
    assert 20*(y[3*RATE]/y[2*RATE]).log10() == pytest.approx(db, abs=0.01) and y[2*RATE] == pytest.approx(1, abs=1e-4)


def test_tremolo_swings_so_often():
    y = Tremolo(depth=0.5, rate=6, p=1, seed=0)(torch.ones(1, 4*RATE))[0]
    spectrum = torch.fft.rfft(y - y.mean()).abs()
    assert spectrum.argmax() == 4*6 and y.min() == pytest.approx(0.5, abs=0.01) and y.max() == pytest.approx(1, abs=0.01)


def test_only_the_chosen_clips_are_computed():
    seen = []
    class Counted(Technique):
        def __init__(self): super().__init__(0.5, RATE, 1, strength=(1, 2))
        def play(self, x, time, drawn):
            seen.append(len(x))
            assert len(time) == x.shape[1] and drawn['strength'].shape == (len(x), 1)
            return x*drawn['strength']
    counted, x = Counted(), torch.ones(64, 100)
    y = counted(x)
    assert 0 < seen[0] < 64 and seen == [int(counted.drawn['on'].sum())]
    assert torch.equal((y != x).any(1), counted.drawn['on'])


def test_none_is_chosen():
    for tfm in playing_techniques():
        tfm.module.p = 0.0
        x = torch.rand(3, 500)
        assert torch.equal(tfm.module(x), x)


def test_a_range_is_low_then_high():
    with pytest.raises(ValueError, match='a range is'): Vibrato(cents=(40, 5))


# ------------------------------------------------------------------------------------------- what the chapter says of it

def test_the_table_of_real_notes_is_whole():
    "Three trainings or more of each arm, on the same seeds and notes; the families make up the whole"
    table = pd.read_csv(files('audio_tutorial')/'results'/'real_notes.csv')
    seeds = table.groupby('arm').seed.apply(sorted)
    assert len(seeds) == 3 and all(s == seeds.iloc[0] for s in seeds) and len(set(seeds.iloc[0])) >= 3
    right = table[['accuracy', 'together']]*table.notes.iloc[0]
    assert table.notes.nunique() == 1 and (right - right.round()).abs().max().max() < 0.05, 'whole notes'
    tested = [f for f in families if f in table]
    assert len(tested) >= 8 and table[tested].stack().between(0, 1).all()
    assert (table[tested].min(axis=1) <= table.accuracy).all() and (table.accuracy <= table[tested].max(axis=1)).all()
    first = table[table.seed == table.seed.min()]
    assert (first.together == first.accuracy).all(), 'one network votes with nobody'
