"What fastai's users may rely on: a test for each row of the table in chapter 11"
import subprocess
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pandas as pd
import pytest
import soundfile as sf
import torch
from fastai.vision.all import (CategoryBlock, ColReader, DataBlock, IndexSplitter, Interpretation, Learner,
                               MultiCategoryBlock, RandomSplitter, RegressionBlock, SaveModelCallback, accuracy, noop,
                               parent_label, set_seed)
from torch import nn

from audio_tutorial.augment import Gain, Noise
from audio_tutorial.classifier import AudioClassifier
from audio_tutorial.arrays import AudioError
from audio_tutorial.files import get_audio_files
from audio_tutorial.errors import examine, play_confusion, play_top_losses
from audio_tutorial.learner import AudioBlock, audio_learner
from audio_tutorial.transforms import BatchTransform
from audio_tutorial.mel import MelSettings

SETTINGS, RATE, N = MelSettings(n_mels=32), 16000, 20


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    "Low and high tones, 10 each"
    root, rng = tmp_path_factory.mktemp('clips'), np.random.default_rng(0)
    for i in range(N):
        file = root/['low', 'high'][i % 2]/f'{i:02}.wav'
        file.parent.mkdir(exist_ok=True)
        tone = np.sin(2*np.pi*(200, 3000)[i % 2]*rng.uniform(0.8, 1.2)*np.arange(RATE)/RATE)
        sf.write(file, 0.3*tone + 0.01*rng.normal(size=RATE), RATE)
    return root


def two_labels(file): return [file.parent.name, 'even' if int(file.stem) % 4 < 2 else 'odd']


def loaders(folder, several=False, target=None, get_y=None, splitter=RandomSplitter(0.3, seed=1), **kwargs):
    target = target or (MultiCategoryBlock if several else CategoryBlock)
    return DataBlock(blocks=(AudioBlock(SETTINGS, 0.5), target), get_items=get_audio_files, splitter=splitter,
                     get_y=get_y or (two_labels if several else parent_label), **kwargs
                     ).dataloaders(folder, bs=6, num_workers=0, device=torch.device('cpu'))


def learner(folder, several=False, dls=None, **kwargs):
    learn = audio_learner(dls or loaders(folder, several), 'squeezenet1_1', pretrained=False, path=folder, **kwargs)
    learn.logger = noop
    return learn.remove_cbs([cb for cb in learn.cbs if cb.name == 'progress'])


@pytest.fixture(scope='module')
def one(folder): return learner(folder)


@pytest.fixture(scope='module')
def several(folder): return learner(folder, several=True)


@pytest.fixture
def shown(monkeypatch):
    import IPython.display
    seen = []
    monkeypatch.setattr(IPython.display, 'display', lambda x: seen.append(x.data))
    return seen


# learn.predict

def test_predict_takes_what_a_clip_may_be(folder, one):
    file = folder/'high'/'03.wav'
    samples, _ = sf.read(file, dtype='float32')
    answer = one.predict(file)
    forms = (str(file), file.read_bytes(), samples, torch.from_numpy(samples), samples.astype('float64'),
             sf.read(file, dtype='int16')[0], np.stack([samples, samples]))
    for x in forms:
        label, number, p = one.predict(x)
        assert (label, int(number)) == (answer[0], int(answer[1])) and torch.allclose(p, answer[2], atol=1e-4)
    with pytest.raises(FileNotFoundError, match='none.wav'): one.predict('none.wav')
    with pytest.raises(AudioError): one.predict(b'no sound')


def test_predict_of_several_labels(folder, several):
    labels, on, p = several.predict(str(folder/'high'/'03.wav'))
    assert list(labels) == [v for v, yes in zip(several.dls.vocab, on) if yes] and p.shape == (4,)


# dls.test_dl

def test_test_dl_of_strings_bytes_and_arrays(folder, one):
    files = get_audio_files(folder)[:5]
    p, _ = one.get_preds(dl=one.dls.test_dl(files))
    for form in (str, lambda f: f.read_bytes(), lambda f: sf.read(f, dtype='float32')[0]):
        assert torch.allclose(one.get_preds(dl=one.dls.test_dl([form(f) for f in files]))[0], p, atol=1e-5)


# learn.show_results, plot_top_losses

@pytest.mark.parametrize('which', ['one', 'several'])
def test_results_and_losses_are_shown(request, shown, which):
    learn = request.getfixturevalue(which)
    learn.show_results(max_n=2)
    assert shown[0].count('<audio') == 2 and shown[0].count('prediction:') == 6
    learn.dls.show_batch(max_n=2)
    assert shown[1].count('<audio') == 2
    learn.dls.test_dl(learn.dls.valid.items).show_batch(max_n=1)
    assert shown[2].count('<audio') == 1
    Interpretation.from_learner(learn).plot_top_losses(2)
    titles = [t for t in (ax.get_title() for ax in plt.gcf().axes) if t] # without those of colour bars
    assert len(titles) == 2 and all(' (label: ' in t and 'loss ' in t for t in titles)
    assert (which == 'several') == any(';' in t for t in titles)
    plt.close('all')


def test_results_of_numbers_are_shown(folder, shown):
    dls = loaders(folder, target=RegressionBlock(n_out=1), get_y=lambda f: float(f.stem))
    learner(folder, dls=dls, n_out=1).show_results(max_n=1)
    assert shown[0].count('<audio') == 1


def test_several_labels_are_examined(several):
    p, y = several.get_preds()
    table, vocab = examine(several), list(several.dls.vocab)
    for i, row in table.iterrows():
        assert row.label == tuple(v for v, on in zip(vocab, y[i]) if on)
        assert row.predicted == tuple(v for v, q in zip(vocab, p[i]) if q >= 0.5)
        assert set(row.nearest_label) == set(two_labels(several.dls.train.items[row.nearest]))
    assert play_top_losses(several, 2).data.count('<audio') == 4


def test_confusion_of_several_labels_counts_finds_misses_and_false_alarms(several):
    html = play_confusion(several).data
    p, y = several.get_preds()
    said = p >= 0.5
    for i, v in enumerate(several.dls.vocab):
        on = y[:, i] == 1
        for what, n in (('found', on & said[:, i]), ('missed', on & ~said[:, i]), ('false alarm', ~on & said[:, i])):
            assert (f'aria-label="{n.sum()} {v}, {what}: listen"' in html) == bool(n.any())
    assert html.count('scope="row"') == 4 and html.count('scope="col"') == 3


# learn.lr_find, fine_tune

@pytest.mark.parametrize('several', [False, True])
def test_lr_find_and_fine_tune(folder, several):
    learn = learner(folder, several, metrics=None if several else accuracy, lr=3e-3)
    before = [p.clone() for p in learn.model.parameters()]
    assert 0 < learn.lr_find(num_it=8, show_plot=False).valley < 10
    for p, q in zip(learn.model.parameters(), before): assert torch.equal(p, q), 'the weights are as they were'
    learn.fine_tune(1, freeze_epochs=1)
    assert learn.recorder.metric_names[1:3] == ['train_loss', 'valid_loss']
    assert any(not torch.equal(p, q) for p, q in zip(learn.model[0].parameters(), before))


# to_fp16, to_bf16

@pytest.mark.parametrize('half', ['to_fp16', 'to_bf16'])
@pytest.mark.filterwarnings('ignore:CUDA is not available', 'ignore:torch.cuda.amp.GradScaler')
def test_half_precision(folder, half):
    set_seed(0)
    learn = getattr(learner(folder), half)()
    learn.fit(1, 1e-3)
    p = learn.get_preds()[0]
    assert p.dtype == torch.float32 and torch.isfinite(p).all()
    if torch.cuda.is_available(): return
    set_seed(0)
    plain = learner(folder)
    plain.fit(1, 1e-3)
    assert torch.equal(plain.get_preds()[0], p), 'without a GPU nothing changes'


@pytest.mark.skipif(not torch.cuda.is_available(), reason='no CUDA device on this machine')
@pytest.mark.parametrize('half', ['to_fp16', 'to_bf16'])
def test_half_precision_leaves_spectrograms_exact(folder, half):
    dls = loaders(folder)
    exact = dls.valid.one_batch()[0].cpu()
    dls.cuda()
    learn = getattr(learner(folder, dls=dls), half)()
    learn.model.cuda()
    learn.fit(1, 1e-3)
    seen = learn.get_preds(with_input=True)[0]
    assert (seen[:6].float().cpu() - exact).abs().max() < 0.01


# a loop over folds

def test_a_loop_over_folds_may_use_its_transforms_again(folder):
    def scores(transforms):
        made = []
        for fold in range(3):
            set_seed(fold)
            valid = [i for i in range(N) if i % 3 == fold]
            dls = loaders(folder, splitter=IndexSplitter(valid), batch_tfms=transforms())
            learn = learner(folder, dls=dls, metrics=accuracy)
            learn.fit(1, 1e-3)
            made.append(list(learn.recorder.values[-1]))
            assert len(dls.valid_ds) == len(valid) and len(dls.valid.after_batch.fs) == 4
        return made
    once = [BatchTransform(Gain()), BatchTransform(Noise())]
    assert scores(lambda: once) == scores(lambda: [BatchTransform(Gain()), BatchTransform(Noise())])


# learn.save, load, fit(start_epoch=...)

def test_a_training_goes_on_from_a_file(folder, tmp_path):
    learn = learner(folder)
    learn.path = tmp_path
    learn.fit(2, 1e-3, cbs=SaveModelCallback(every_epoch=True))
    resumed = learner(folder)
    resumed.path = tmp_path
    resumed.load('model_1', with_opt=True)
    for p, q in zip(learn.model.state_dict().values(), resumed.model.state_dict().values()): assert torch.equal(p, q)
    resumed.fit(3, 1e-3, start_epoch=2)
    assert resumed.epoch == 2 and len(resumed.recorder.losses) == len(learn.recorder.losses)//2


# load_learner

def test_a_stored_learner_answers_elsewhere(folder, tmp_path, one):
    file = folder/'low'/'00.wav'
    one.path = tmp_path
    one.export('made here.pkl')
    code = ('import warnings; warnings.simplefilter("ignore")\nfrom fastai.learner import load_learner\n'
            f'learn = load_learner({str(tmp_path/"made here.pkl")!r})\n'
            f'with learn.no_bar(): print(*learn.predict({str(file)!r})[2].tolist())')
    elsewhere = tmp_path/'elsewhere'
    elsewhere.mkdir()
    said = subprocess.run([sys.executable, '-c', code], cwd=elsewhere, capture_output=True, text=True, check=True)
    assert np.allclose([float(v) for v in said.stdout.split()], one.predict(file)[2], atol=1e-5)


# labels that are numbers

@pytest.mark.parametrize('kind', ['int64', 'int32', 'uint8', object])
def test_labels_that_are_numbers(folder, kind):
    files = get_audio_files(folder)
    table = pd.DataFrame(dict(file=[str(f) for f in files], target=np.array([i % 3 for i in range(N)]).astype(kind)))
    dls = DataBlock(blocks=(AudioBlock(SETTINGS, 0.5), CategoryBlock), get_x=ColReader('file'),
                    get_y=ColReader('target'), splitter=IndexSplitter([0, 1, 2])).dataloaders(table, bs=4, num_workers=0)
    learn = learner(folder, dls=dls)
    learn.fit(1, 1e-3)
    assert list(dls.vocab) == [0, 1, 2]
    clf = AudioClassifier.from_learner(learn)
    assert clf.vocab == ['0', '1', '2']
    assert clf.predict(files[0]).label[0] == str(learn.predict(str(files[0]))[0])


# The table itself

ROWS = {'learn.predict': 'predict', 'dls.test_dl': 'test_dl', 'learn.show_results': 'shown', 'learn.lr_find': 'lr_find',
        'learn.tta': None, 'to_fp16': 'half', 'weighted_dataloaders': None, 'MixUp': None, 'a loop over folds': 'folds',
        'learn.save': 'goes_on', 'load_learner': 'elsewhere', 'labels that are numbers': 'numbers'}


def test_every_row_of_the_chapter_has_a_test():
    here = Path(__file__).parent
    chapter = nbformat.read(here.parent/'nbs'/'11_on_the_fly.ipynb', 4)
    table, = [c.source for c in chapter.cells if '| fastai | for sounds |' in c.source]
    rows = [line.split('|')[1].strip() for line in table.splitlines() if line.startswith('| ')][1:]
    assert len(rows) == len(ROWS) and all(r.replace('`', '').startswith(k) for r, k in zip(rows, ROWS))
    tests = [name for name in globals() if name.startswith('test_')]
    for part in filter(None, ROWS.values()): assert any(part in name for name in tests), part
    others = (here/'test_training_or_not.py').read_text() + (here/'test_augment.py').read_text()
    for part in ('tta', 'weighted_dataloaders', 'test_mixup_takes_every_loss'): assert part in others
