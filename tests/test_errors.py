"Errors that can be heard: clip by clip, the highest losses, a confusion matrix that plays"
import re

import matplotlib
import numpy as np
import pytest
import torch
from fastai.vision.all import CategoryBlock, ClassificationInterpretation, DataBlock, accuracy, set_seed

from audio_tutorial import errors
from audio_tutorial.errors import examine, features, play_confusion, play_top_losses
from audio_tutorial.evaluate import GroupSplitter
from audio_tutorial.files import get_audio_files
from audio_tutorial.learner import AudioBlock, audio_learner
from audio_tutorial.mel import MelSettings
from audio_tutorial.notes import family, instrument, make_notes

matplotlib.use('agg')


@pytest.fixture(scope='module')
def learn(tmp_path_factory):
    set_seed(0, reproducible=True)
    notes = make_notes(tmp_path_factory.mktemp('notes')/'made', 30, 20, seed=0, progress=False)
    dls = DataBlock(blocks=(AudioBlock(MelSettings(hop_length=1024), 4), CategoryBlock), get_items=get_audio_files,
        get_y=family, splitter=GroupSplitter(instrument, family, 2)).dataloaders(
            notes, bs=10, num_workers=0, device=torch.device('cpu'))
    return audio_learner(dls, 'squeezenet1_1', pretrained=False, metrics=accuracy)


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


def test_plot_top_losses_draws_spectrograms(learn):
    import matplotlib.pyplot as plt
    plt.close('all')
    with learn.no_bar(): ClassificationInterpretation.from_learner(learn).plot_top_losses(3)
    plt.gcf().canvas.draw()
    titles = [ax.get_title() for ax in plt.gcf().axes if ax.get_title()]
    table = examine(learn).nlargest(3, 'loss')
    assert [t.split('\n')[0] for t in titles] == [f'{r.predicted} (label: {r.label})' for r in table.itertuples()]
    assert all(ax.images or ax.collections for ax in plt.gcf().axes if ax.get_title())
    plt.close('all')


def test_text_in_a_cell_can_be_read(learn, monkeypatch):
    "Black or white on every colour: shares of a row from a twentieth to all but one"
    vocab = list(learn.dls.vocab)
    rows = [(label, label if i <= 2*k else vocab[k - 1]) for k, label in enumerate(vocab) for i in range(20)]
    table = examine(learn).loc[[0]*len(rows)].assign(
        label=[a for a, _ in rows], predicted=[b for _, b in rows], loss=1.)
    monkeypatch.setattr(errors, 'examine', lambda *args: table)
    html = play_confusion(learn, per_cell=1, seconds=0.1).data
    counts = sorted(int(n) for n in re.findall(r'>(\d+)</button></td>', html))
    assert counts == sorted([*range(1, 20, 2)]*2)

    def light(colour):
        c = np.array([int(colour[i:i + 2], 16) for i in (1, 3, 5)])/255 if len(colour) == 7 else \
            np.array([int(x, 16) for x in colour[1:]])/15
        return np.where(c <= 0.04045, c/12.92, ((c + 0.055)/1.055)**2.4) @ [0.2126, 0.7152, 0.0722]
    colours = re.findall('background:(#[0-9a-f]+);color:(#[0-9a-f]+)', html)
    assert len(colours) == 20 and len(set(colours)) == 20
    for pair in colours:
        low, high = sorted(map(light, pair))
        assert (high + 0.05)/(low + 0.05) >= 4.5
