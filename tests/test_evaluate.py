"Evidence: splits, repeats, intervals, errors that can be heard, calibration and rejection"
import re

import matplotlib
import numpy as np
import pandas as pd
import pytest
import torch
from fastai.vision.all import CategoryBlock, ClassificationInterpretation, DataBlock, RandomSplitter, accuracy, set_seed

from audio_tutorial.files import get_audio_files
from audio_tutorial.evaluate import (Estimate, GroupSplitter, calibration_error, check_groups, estimate, examine,
    features, fit_temperature, mean_bands, paired_difference, play_confusion, play_top_losses, rejection_curve,
    rejection_threshold, reliability, soften, summarize, trials)
from audio_tutorial.learner import AudioBlock, audio_learner
from audio_tutorial.mel import MelSettings
from audio_tutorial.notes import family, instrument, make_notes

matplotlib.use('agg')
CLIPS = [f'{label}_acoustic_{i:03d}-{p:03d}-100.wav' for label, n in (('flute', 5), ('guitar', 6), ('vocal', 3))
         for i in range(n) for p in range(60, 60 + 4 + i)]


def groups(indices): return {instrument(CLIPS[i]) for i in indices}


# Splits

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


# Repeats and intervals

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


# Errors that can be heard

@pytest.fixture(scope='module')
def learn(tmp_path_factory):
    set_seed(0, reproducible=True)
    notes = make_notes(tmp_path_factory.mktemp('notes')/'made', 30, 20, seed=0, progress=False)
    dls = DataBlock(blocks=(AudioBlock(MelSettings(hop_length=1024), 4), CategoryBlock), get_items=get_audio_files,
        get_y=family, splitter=GroupSplitter(instrument, family, 2)).dataloaders(
            notes, bs=10, num_workers=0, device=torch.device('cpu'))
    return audio_learner(dls, 'squeezenet1_1', pretrained=False, metrics=accuracy)


def test_loaders_are_checked_as_lists_are(learn):
    assert check_groups(learn.dls, instrument)['items'].sum() == 50
    files = [*learn.dls.train_ds.items, *learn.dls.valid_ds.items]
    with pytest.raises(ValueError, match='both|too'):
        check_groups([[files[i] for i in side] for side in RandomSplitter(0.4, seed=0)(files)], instrument)


def test_examine_has_a_row_per_clip_in_order(learn):
    table = examine(learn)
    items = learn.dls.valid_ds.items
    assert table.name.tolist() == [f.name for f in items] and table.label.tolist() == [family(f) for f in items]
    with learn.no_bar(): p, y = learn.get_preds()
    assert np.allclose(table.probability, p.max(1).values) and np.allclose(table.loss, -p[range(len(y)), y].log(), atol=1e-4)
    train = learn.dls.train_ds.items
    assert [train[i].name for i in table.nearest] == table.nearest_name.tolist()
    assert [family(train[i]) for i in table.nearest] == table.nearest_label.tolist()


def test_a_training_clip_is_nearest_to_itself(learn):
    table = examine(learn, learn.dls.train)
    assert (table.nearest == table.index).all()
    assert features(learn, learn.dls.valid).shape == (len(learn.dls.valid_ds), 512)


def test_top_losses_play_each_beside_its_neighbour(learn):
    html = play_top_losses(learn, k=3).data
    worst = examine(learn).nlargest(3, 'loss')
    assert html.count('<audio') == html.count('<img alt="Spectrogram') == 6
    for name in [*worst.name, *worst.nearest_name]: assert name in html


def test_confusion_matrix_opens_every_cell_that_is_not_empty(learn):
    html = play_confusion(learn, per_cell=1, seconds=0.5).data
    table = examine(learn)
    cells = table.groupby(['label', 'predicted']).size()
    assert html.count('<td><button') == len(cells)
    assert sorted(re.findall(r'<td><button[^>]* popovertarget="([\w-]+)"', html)) == sorted(
        re.findall(r'<div popover[^>]* id="([\w-]+)"', html))
    assert sum(map(int, re.findall(r'>(\d+)</button></td>', html))) == len(table)
    wrong = sum(a != b for a, b in cells.index)
    assert html.count('<audio') == len(cells) + wrong, 'a nearest clip beside each error'
    assert 'http' not in html and '<script' not in html
    assert set(re.findall(r'id="([\w-]+)"', html)).isdisjoint(re.findall(r'id="([\w-]+)"', play_confusion(learn).data))


def test_text_in_a_cell_can_be_read():
    from audio_tutorial.evaluate import _cell_colours
    def light(colour):
        c = np.array([int(colour[i:i + 2], 16) for i in (1, 3, 5)])/255 if len(colour) == 7 else \
            np.array([int(x, 16) for x in colour[1:]])/15
        return np.where(c <= 0.04045, c/12.92, ((c + 0.055)/1.055)**2.4) @ [0.2126, 0.7152, 0.0722]
    for share in np.linspace(0, 1, 21):
        for right in True, False:
            back, text = re.findall('#[0-9a-f]+', _cell_colours(share, right))
            low, high = sorted([light(back), light(text)])
            assert (high + 0.05)/(low + 0.05) >= 4.5


def test_plot_top_losses_draws_spectrograms(learn):
    import matplotlib.pyplot as plt
    plt.close('all')
    with learn.no_bar(): ClassificationInterpretation.from_learner(learn).plot_top_losses(3)
    plt.gcf().canvas.draw()
    titles = [ax.get_title() for ax in plt.gcf().axes if ax.get_title()]
    table = examine(learn).nlargest(3, 'loss')
    assert [t.split('\n')[0] for t in titles] == [f'{r.predicted}, is {r.label}' for r in table.itertuples()]
    assert all(ax.images or ax.collections for ax in plt.gcf().axes if ax.get_title())
    plt.close('all')


def test_mean_bands_are_those_of_the_reference(learn):
    files = learn.dls.valid_ds.items[:2]
    from audio_tutorial.clips import load_clip
    assert np.allclose(mean_bands(files)[1], MelSettings().log_mel(load_clip(files[1])[0]).mean(1))


# Trust

def probabilities(n=400, scale=3., seed=0):
    "Too sure by a known factor: scores times `scale`, labels drawn from the scores"
    rng = np.random.default_rng(seed)
    scores = rng.normal(0, 1.5, (n, 5))
    honest = np.exp(scores)/np.exp(scores).sum(1, keepdims=True)
    y = np.array([rng.choice(5, p=p) for p in honest])
    sure = np.exp(scale*scores)
    return sure/sure.sum(1, keepdims=True), y


def test_temperature_undoes_what_made_it_too_sure():
    p, y = probabilities(4000)
    t = fit_temperature(p, y)
    assert t == pytest.approx(3, rel=0.1)
    q = soften(p, t)
    assert np.allclose(q.sum(1), 1) and (q.argmax(1) == p.argmax(1)).all()
    assert calibration_error(q, y) < 0.03 < 0.1 < calibration_error(p, y)


def test_temperature_one_changes_nothing():
    p, _ = probabilities()
    assert np.allclose(soften(p, 1), p, atol=1e-6)
    assert np.isfinite(soften(np.array([[1., 0.]]), 2)).all()


def test_calibration_error_of_known_cases():
    sure = np.array([[1., 0.]]*4)
    assert calibration_error(sure, [0]*4) == 0 and calibration_error(sure, [1]*4) == 1
    half = np.array([[0.7, 0.3]]*10)
    assert calibration_error(half, [0]*5 + [1]*5) == pytest.approx(0.2)
    t = reliability(np.vstack([sure, half]), [0]*4 + [0]*5 + [1]*5)
    assert t.clips.tolist() == [10, 4] and t.accuracy.tolist() == [0.5, 1]


def test_rejection_trades_coverage_for_accuracy():
    p, y = probabilities()
    curve = rejection_curve(p, y)
    assert curve.coverage.is_monotonic_increasing and curve.threshold.is_monotonic_decreasing
    assert curve.coverage.iloc[-1] == 1 and curve.accuracy.iloc[-1] == pytest.approx((p.argmax(1) == y).mean())
    threshold = rejection_threshold(p, y, 0.8)
    kept = p.max(1) >= threshold
    assert (p.argmax(1) == y)[kept].mean() >= 0.8
    lower = curve[curve.threshold < threshold]
    assert (lower.accuracy < 0.8).all()
    with pytest.raises(ValueError, match='no threshold reaches 90%'):
        rejection_threshold(np.array([[0.9, 0.1]]*2), [1, 1], 0.9)
