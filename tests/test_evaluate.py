"Evidence: splits, repeats, intervals and baselines"
import numpy as np
import pandas as pd
import pytest
import torch
from fastai.vision.all import CategoryBlock, DataBlock, RandomSplitter
from scipy import stats

from audio_tutorial.clips import load_clip
from audio_tutorial.evaluate import (Estimate, GroupSplitter, ValidateAtEnd, check_groups, estimate, mean_bands,
                                     paired_difference, repeats, smallest_difference, statistical_power,
                                     summarize, trials)
from audio_tutorial.files import get_audio_files
from audio_tutorial.learner import AudioBlock, audio_learner
from audio_tutorial.mel import MelSettings
from audio_tutorial.notes import family, instrument, make_notes

CLIPS = [f'{label}_acoustic_{i:03d}-{p:03d}-100.wav' for label, n in (('flute', 5), ('guitar', 6), ('vocal', 3))
         for i in range(n) for p in range(60, 60 + 4 + i)]


def groups(indices): return {instrument(CLIPS[i]) for i in indices}


# Splits

@pytest.fixture(scope='module')
def dls(tmp_path_factory):
    notes = make_notes(tmp_path_factory.mktemp('notes')/'made', 30, 20, seed=0, progress=False)
    return DataBlock(blocks=(AudioBlock(MelSettings(hop_length=1024), 4), CategoryBlock), get_items=get_audio_files,
        get_y=family, splitter=GroupSplitter(instrument, family, 2)).dataloaders(
            notes, bs=10, num_workers=0, device=torch.device('cpu'))


@pytest.mark.parametrize('label', [family, None])
@pytest.mark.parametrize('seed', range(5))
def test_folds_are_disjoint_by_group_and_make_up_the_whole(label, seed):
    seen = []
    for fold in range(3):
        train, valid = GroupSplitter(instrument, label, 3, fold, seed)(CLIPS)
        assert groups(train) & groups(valid) == set()
        assert sorted(train + valid) == list(range(len(CLIPS)))
        seen += valid
    assert sorted(seen) == list(range(len(CLIPS)))


def test_each_fold_has_its_share_of_every_label():
    for fold in range(3):
        valid = groups(GroupSplitter(instrument, family, 3, fold)(CLIPS)[1])
        count = [sum(g.startswith(x) for g in valid) for x in ('flute', 'guitar', 'vocal')]
        assert count[0] in (1, 2) and count[1] == 2 and count[2] == 1


def test_seed_decides_and_every_group_gets_its_turn():
    def draw(seed): return groups(GroupSplitter(instrument, family, 3, seed=seed)(CLIPS)[1])
    assert draw(1) == draw(1)
    times = pd.Series([g for seed in range(60) for g in draw(seed)]).value_counts()
    assert len(times) == 14 and times.min() > 5 and times.max() < 40


def test_order_of_the_items_does_not_matter():
    shuffled = list(np.random.default_rng(0).permutation(CLIPS))
    a, b = (GroupSplitter(instrument, family, seed=3, n_folds=3)(x)[1] for x in (CLIPS, shuffled))
    assert {CLIPS[i] for i in a} == {shuffled[i] for i in b}


def test_groups_with_several_labels_are_kept_together():
    words = [f'{word}/{who}_{i}.wav' for word in ('yes', 'no') for who in 'abcdef' for i in range(2)]
    train, valid = GroupSplitter(lambda w: w.split('/')[1][0], lambda w: w.split('/')[0], 3)(words)
    assert len(valid) == 8 and not {words[i][-7] for i in train} & {words[i][-7] for i in valid}


def test_rows_of_a_table_are_split_as_items_are():
    table = pd.DataFrame(dict(file=CLIPS, who=[instrument(c) for c in CLIPS]))
    sides = GroupSplitter(lambda row: row.who, n_folds=3)(table)
    assert sides == GroupSplitter(instrument, n_folds=3)(CLIPS)
    assert check_groups([table.iloc[side] for side in sides], lambda row: row.who).groups.sum() == 14


def test_splits_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match='fold 3 of 3'): GroupSplitter(instrument, n_folds=3, fold=3)
    with pytest.raises(ValueError, match='14 groups cannot fill 15 folds'): GroupSplitter(instrument, n_folds=15)(CLIPS)
    alone = CLIPS + ['organ_acoustic_000-060-100.wav']
    refused = 0
    for fold in range(3):
        try: GroupSplitter(instrument, family, 3, fold)(alone)
        except ValueError as e:
            assert "['organ']" in str(e)
            refused += 1
    assert refused == 1


def test_check_groups_finds_a_group_on_both_sides():
    table = check_groups((CLIPS[:4], CLIPS[4:]), instrument)
    assert table.loc['training'].tolist() == [4, 1] and table['items'].sum() == len(CLIPS)
    with pytest.raises(ValueError, match='1 of 14 .*flute_acoustic_000'): check_groups((CLIPS[:3], CLIPS[3:]), instrument)


def test_loaders_are_checked_as_lists_are(dls):
    assert check_groups(dls, instrument)['items'].sum() == 50
    files = [*dls.train_ds.items, *dls.valid_ds.items]
    with pytest.raises(ValueError, match='both|too'):
        check_groups([[files[i] for i in side] for side in RandomSplitter(0.4, seed=0)(files)], instrument)


# Repeats and intervals

def test_repeats_gives_a_row_for_each_seed():
    table = repeats(lambda seed: dict(accuracy=seed/100), n=3, seed=5)
    assert table.seed.tolist() == [5, 6, 7] and table.accuracy.tolist() == [0.05, 0.06, 0.07]


def test_only_the_last_epoch_is_validated(dls):
    learn = audio_learner(dls, 'squeezenet1_1', pretrained=False)
    with learn.no_bar(), learn.no_logging(): learn.fit(2, 1e-3, cbs=ValidateAtEnd())
    assert [len(row) for row in learn.recorder.values] == [1, 2], 'the loss of training, then that of validation too'


def test_trials_runs_every_combination_on_the_same_seeds():
    table = trials(lambda seed, fold, c: dict(x=seed + fold*c), n=2, seed=5, fold=range(3), c=[0, 1])
    assert len(table) == 12 and table.groupby(['fold', 'c']).seed.apply(list).map(tuple).unique().tolist() == [(5, 6)]
    assert (table.x == table.seed + table.fold*table.c).all()


def test_interval_is_students_t():
    e = estimate([70, 74, 78])
    assert e.mean == 74 and e.half == pytest.approx(4.302653*4/np.sqrt(3), rel=1e-6)
    x = np.random.default_rng(0).normal(5, 2, (4000, 5))
    held = np.mean([abs(e.mean - 5) <= e.half for e in map(estimate, x)])
    assert held == pytest.approx(0.95, abs=0.012)


def test_fewer_than_three_repeats_print_no_spread():
    assert f'{estimate([0.5, 0.7]):.1%}' == '60.0%' and f'{estimate([0.5]):.0%}' == '50%'
    assert f'{Estimate(0.02, 0.01, 3):+.1%}' == '+2.0% ± 1.0%'


@pytest.mark.parametrize('bad', [[], [0.5, np.nan, 0.6], [np.inf, 1, 2]])
def test_what_cannot_be_averaged_is_refused(bad):
    with pytest.raises(ValueError, match='cannot average'): estimate(bad)


def test_folds_are_averaged_before_the_interval():
    table = trials(lambda seed, fold, way: dict(accuracy=seed + (way == 'b') + 10*fold), 3, 0, fold=[0, 1], way='ab')
    s = summarize(table, 'way')
    assert s.n.tolist() == [3, 3] and s['mean'].tolist() == [6, 7]
    assert s.half.tolist() == pytest.approx([estimate([0, 1, 2]).half]*2)


def test_pairs_cancel_what_the_seeds_share():
    table = trials(lambda seed, way: dict(accuracy=seed**2 + (way == 'b')), 4, 0, way='ab')
    assert paired_difference(table, 'way', 'a', 'b') == Estimate(1, 0, 4)
    with pytest.raises(ValueError, match=r'same seeds.*\[3\]'): paired_difference(table.iloc[:-1], 'way', 'a', 'b')
    with pytest.raises(ValueError, match="no runs with way='c'"): paired_difference(table, 'way', 'a', 'c')


# Baselines

def test_mean_bands_are_those_of_the_reference(dls):
    files = dls.valid_ds.items[:2]
    assert np.allclose(mean_bands(files)[1], MelSettings().log_mel(load_clip(files[1])[0]).mean(1))


# Power

@pytest.mark.parametrize('n, confidence', [(4, 0.95), (8, 0.95), (8, 0.983), (30, 0.95)])
@pytest.mark.parametrize('difference', [0, 0.02, 0.05])
def test_power_is_that_of_the_t_test(n, confidence, difference):
    t = stats.t.ppf((1 + confidence)/2, n - 1)
    exact = stats.nct.sf(t, n - 1, difference/0.04*np.sqrt(n))
    assert statistical_power(difference, 0.04, n, confidence) == pytest.approx(exact, abs=0.02)


def test_power_does_not_depend_on_the_sign_and_is_repeatable():
    down, up, clear = (statistical_power(d, s, 5, draws=500) for d, s in ((-0.03, 0.04), (0.03, 0.04), (0.03, 0.01)))
    assert down == up < clear


def test_an_experiment_without_an_interval_has_no_power():
    with pytest.raises(ValueError, match='2 pairs'): statistical_power(0.02, 0.04, 2)
    with pytest.raises(ValueError, match='negative'): statistical_power(0.02, -0.04, 3)


def test_more_confidence_is_a_wider_interval():
    table = trials(lambda seed, way: dict(accuracy=seed*(1 + (way == 'b'))), 4, 0, way='ab')
    usual, more = (paired_difference(table, 'way', 'a', 'b', confidence=c) for c in (0.95, 0.99))
    assert usual == paired_difference(table, 'way', 'a', 'b') and more.mean == usual.mean and more.half > usual.half


def test_smallest_difference_is_the_first_that_is_found():
    d = smallest_difference(2.0, 8)
    assert statistical_power(d, 2.0, 8) >= 0.8 > statistical_power(d - 0.1, 2.0, 8)
    assert smallest_difference(4.0, 8) == pytest.approx(2*d)
    # the known formula of a paired t test: 1.15 standard deviations for eight pairs
    assert d/2 == pytest.approx(1.15, abs=0.06)
