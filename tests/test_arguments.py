"Arguments as people hold them: numbers of numpy and torch, clips in memory, labels of any name, tables of others"
import csv
import io
import json
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile as sf
import torch
from click.testing import CliRunner
from fastai.vision.all import (BCEWithLogitsLossFlat, CategoryBlock, DataBlock, F1Score, L, MultiCategoryBlock,
                               RandomSplitter, accuracy, noop, parent_label)

from audio_tutorial import players
from audio_tutorial.classifier import AudioClassifier
from audio_tutorial.cli import app
from audio_tutorial.folders import find_clips, split_clips
from audio_tutorial.train import train_clips
from audio_tutorial.arrays import AudioError, as_number, to_mono
from audio_tutorial.clips import as_clip, is_clip, load_clip
from audio_tutorial.files import get_audio_files
from audio_tutorial.players import play
from audio_tutorial.learner import AudioBlock, audio_learner
from audio_tutorial.transforms import LoadClip
from audio_tutorial.mel import MelSettings
from audio_tutorial.folders import read_table

RATE, SETTINGS = 16000, MelSettings(n_mels=32)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    root, rng = tmp_path_factory.mktemp('clips'), np.random.default_rng(0)
    for i in range(12):
        (root/'ab'[i % 2]).mkdir(exist_ok=True)
        sf.write(root/'ab'[i % 2]/f'{i:02}.wav', 0.1*rng.normal(size=RATE//2), RATE)
    return root


@pytest.fixture(scope='module')
def file(folder): return folder/'a'/'00.wav'


@pytest.fixture(scope='module')
def clf():
    torch.manual_seed(0)
    return AudioClassifier(SETTINGS, ['x', 'y', 'z'], 0.5, 'resnet18')


@pytest.fixture(scope='module')
def clip(file): return sf.read(file, dtype='float32')[0]


def learner(folder, several=False, **kwargs):
    target, get_y = (MultiCategoryBlock, lambda f: [f.parent.name]) if several else (CategoryBlock, parent_label)
    dls = DataBlock(blocks=(AudioBlock(SETTINGS, 0.5), target), get_items=get_audio_files, get_y=get_y,
                    splitter=RandomSplitter(0.3, seed=1)).dataloaders(folder, bs=4, num_workers=0)
    learn = audio_learner(dls, 'squeezenet1_1', pretrained=False, path=folder, **kwargs)
    learn.logger = noop
    return learn.remove_cbs([cb for cb in learn.cbs if cb.name == 'progress'])


# Numbers

WHOLE = [16000, 16000.0, np.int64(16000), np.int32(16000), np.float64(16000), np.array(16000), torch.tensor(16000),
         pd.Series([16000])[0], pd.Series([16000, None])[0], torch.tensor([16000.])]


@pytest.mark.parametrize('number', WHOLE, ids=lambda n: f'{type(n).__name__} {getattr(n, "dtype", "")}')
def test_numbers_of_all_kinds(number, file, clip, clf):
    assert as_number(number, 'n', whole=True) == 16000 and type(as_number(number, 'n', whole=True)) is int
    settings = MelSettings(sample_rate=number)
    assert settings == MelSettings() and type(settings.sample_rate) is int
    json.dumps(vars(settings))
    assert np.array_equal(as_clip(clip, number, number)[0], clip)
    assert play(clip, number).data == play(clip, 16000).data
    assert clf.predict(clip, number).equals(clf.predict(clip, 16000))


@pytest.mark.parametrize('wrong', ['16000', None, True, float('nan'), float('inf'), [16000], np.array([1, 2]), 1j,
                                   torch.tensor([1, 2]), b'1'], ids=repr)
def test_what_is_no_number_is_named(wrong):
    with pytest.raises(ValueError, match='rate must be a number'): as_number(wrong, 'rate')
    with pytest.raises(ValueError, match='sample_rate must be'): MelSettings(sample_rate=wrong)
    with pytest.raises(ValueError, match='duration must be'): LoadClip(SETTINGS, wrong)
    with pytest.raises(ValueError, match='duration must be'): AudioClassifier(SETTINGS, ['a'], wrong)
    with pytest.raises(ValueError, match='threshold must be'): AudioClassifier(SETTINGS, ['a'], 1, threshold=wrong)
    with pytest.raises(ValueError, match='rate must be a whole number'): as_number(1.5, 'rate', whole=True)


@pytest.mark.parametrize('kind', [np.float32, np.float64, torch.tensor, np.array, float], ids=lambda k: k.__name__)
def test_a_classifier_of_computed_numbers_is_saved(folder, tmp_path, kind):
    "A length and a threshold that were computed survive training, from_learner, save and load"
    dls = DataBlock(blocks=(AudioBlock(MelSettings(kind(16000), n_mels=kind(32), f_max=kind(8000)), kind(0.5)),
                            MultiCategoryBlock), get_items=get_audio_files, get_y=lambda f: [f.parent.name],
                    splitter=RandomSplitter(0.3, seed=1)).dataloaders(folder, bs=4, num_workers=0)
    learn = audio_learner(dls, 'resnet18', pretrained=False, loss_func=BCEWithLogitsLossFlat(thresh=kind(0.25)))
    clf = AudioClassifier.from_learner(learn)
    clf.provenance['measured'] = kind(0.75)
    again = AudioClassifier.load(clf.save(tmp_path))
    assert (again.duration, again.threshold, again.settings) == (0.5, 0.25, SETTINGS)
    assert again.provenance['measured'] == 0.75
    assert list(clf.predict_long(get_audio_files(folder)[0], window=kind(0.25), hop=kind(0.125),
                                 threshold=kind(0.5)).windows.start) == [0, 0.125, 0.25]


def test_train_clips_takes_numbers_of_numpy(folder):
    table = split_clips(find_clips(folder), np.float64(0.25), np.int64(3))
    learn = train_clips(table, SETTINGS, np.float64(0.5), 'squeezenet1_1', False, np.int64(1), np.int32(4),
                        torch.tensor(1e-3), np.int64(2), progress=False)
    assert learn.epochs_trained == 1
    with pytest.raises(ValueError, match='epochs must be a whole number'): train_clips(table, epochs=1.5)
    with pytest.raises(ValueError, match='lr must be a number'): train_clips(table, lr='fast')


# Clips

def forms(file, clip):
    "One clip as people hold it"
    return dict(path=file, text=str(file), bytes=file.read_bytes(), bytearray=bytearray(file.read_bytes()),
        open=open(file, 'rb'), memory=io.BytesIO(file.read_bytes()), array=clip, tensor=torch.from_numpy(clip),
        double=clip.astype('float64'), int16=(clip*32768).astype('int16'), int32=(clip*2.0**31).astype('int32'),
        series=pd.Series(clip), channels=np.stack([clip, clip]), pair=(RATE, clip), other_pair=(clip, RATE),
        torch_pair=(torch.from_numpy(clip)[None], np.int64(RATE)), row=dict(array=clip, sampling_rate=RATE, path=None),
        audio=dict(audio=dict(array=clip, sampling_rate=RATE), label=3), undecoded=dict(bytes=file.read_bytes(), path='a'))


FORMS = list(forms(Path(__file__), np.zeros(4, 'float32')))


@pytest.mark.parametrize('form', FORMS)
def test_a_clip_in_every_form(file, clip, clf, form):
    x = forms(file, clip)[form]
    samples, rate = as_clip(x, RATE, RATE)
    assert rate == RATE and samples.dtype == np.float32 and np.abs(samples - clip).max() < 2e-4
    assert is_clip(x) == (form not in ('path', 'text'))
    expected = clf.predict(file)
    for given in (forms(file, clip)[form], [forms(file, clip)[form]]):
        table = clf.predict(given, RATE)
        assert len(table) == 1 and np.allclose(table[clf.vocab], expected[clf.vocab], atol=1e-3)
    long = clf.predict_long(forms(file, clip)[form], 0.25, sample_rate=RATE)
    whole = clf.predict_long(file, 0.25)
    assert np.allclose(long.windows[clf.vocab], whole.windows[clf.vocab], atol=1e-3)
    assert list(long.windows.start) == list(whole.windows.start) and long.seconds == whole.seconds
    assert '<audio' in long.show().data and '<audio' in clf.hear(forms(file, clip)[form], RATE).data


def test_another_rate_of_an_array_is_changed(file, clip, clf):
    double = sf.read(file, dtype='float32')[0].repeat(2)
    samples, rate = as_clip((2*RATE, double), RATE)
    assert rate == RATE and len(samples) == len(clip)
    long = clf.predict_long((2*RATE, double))
    assert long.seconds == 0.5 and len(long.windows) == 1
    assert as_clip((2*RATE, double))[1] == 2*RATE


LISTS = dict(list=lambda files: files, tuple=tuple, L=L, Series=pd.Series, text_Series=lambda f: pd.Series(map(str, f)),
             Index=lambda f: pd.Index(map(str, f)), array=lambda f: np.array(f, dtype=object),
             text_array=lambda f: np.array([str(p) for p in f]), generator=lambda f: (p for p in f), map=lambda f: map(str, f),
             set=lambda f: dict.fromkeys(f).keys(), nested=lambda f: [f[:2], tuple(f[2:])],
             rows=lambda f: [dict(audio=dict(zip(('array', 'sampling_rate'), sf.read(p)), path=str(p))) for p in f],
             open=lambda f: [open(p, 'rb') for p in f])


@pytest.mark.parametrize('form', LISTS)
def test_a_list_in_every_form(folder, clf, form):
    files = get_audio_files(folder)[:5]
    table = clf.predict(LISTS[form](files))
    assert np.allclose(table[clf.vocab], clf.predict(files)[clf.vocab], atol=1e-4)
    assert list(table.path) == [str(f) for f in files]


@pytest.mark.parametrize('wrong, named', [(3, 'int'), (None, 'NoneType'), ([1, 2], 'int'), ({'a': 1}, 'dict'),
    (object(), 'object'), (pd.DataFrame(dict(path=['a'])), 'DataFrame'), ((1, 2), 'int'), ([None], 'NoneType')], ids=str)
def test_what_is_no_clip_is_named_with_what_is(clf, wrong, named):
    with pytest.raises(ValueError, match=f'{named} is neither a clip nor a list.*path.*bytes.*array'): clf.predict(wrong)
    if not isinstance(wrong, list):
        with pytest.raises(ValueError, match='is not a clip.*path.*bytes.*array'): as_clip(wrong)


def test_what_is_wrong_with_a_clip_in_memory(clf, clip, file):
    with pytest.raises(AudioError, match='the bytes'): as_clip(b'no sound at all')
    with pytest.raises(AudioError, match='nice.ogg'):
        bad = io.BytesIO(b'no sound')
        bad.name = 'nice.ogg'
        as_clip(bad)
    with pytest.raises(ValueError, match="'rb'"): as_clip(open(__file__))
    with pytest.raises(ValueError, match='needs its sample_rate'): clf.predict(clip)
    with pytest.raises(AudioError, match='NaN'): as_clip((RATE, clip*np.nan))
    with pytest.raises(AudioError, match='empty'): as_clip((RATE, clip[:0]))
    with pytest.raises(ValueError, match='x.T'): as_clip((RATE, np.zeros((9, 2))))
    with pytest.raises(ValueError, match='bool'): to_mono(clip > 0)
    for rate in 0, -1, 'fast', None, float('nan'):
        with pytest.raises(ValueError, match='sample_rate'): as_clip(dict(array=clip, sampling_rate=rate))
    table = clf.predict([file, (RATE, np.full_like(clip, np.inf))], bad='keep')
    assert pd.isna(table.error[0]) and 'infinite' in table.error[1]


# play

@pytest.mark.parametrize('shape', [(2, 8000), (1, 8000), (8000,)])
def test_play_takes_channels(shape):
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, shape).astype('float32')
    mean = samples.reshape(-1, 8000).mean(axis=0)
    for x in samples, torch.from_numpy(samples): assert play(x, RATE).data == play(mean, RATE).data
    with pytest.raises(ValueError, match='x.T'): play(np.zeros((8000, 2)), RATE)


@pytest.mark.parametrize('bad', [np.nan, np.inf, -np.inf, 1e300])
@pytest.mark.parametrize('rate', [16000, 12345])
def test_play_lets_nothing_infinite_reach_an_encoder(monkeypatch, bad, rate):
    seen = []
    monkeypatch.setattr(players.sf, "write", lambda file, samples, *args, **kwargs: seen.append(samples))
    samples = np.zeros(1000)
    samples[500] = bad
    for x in samples, np.stack([samples, samples]), torch.from_numpy(samples):
        with pytest.raises(AudioError, match='NaN or infinite'): play(x, rate)
    assert not seen
    play(samples*0 if np.isfinite(bad) else np.zeros(1000), rate)
    loud = np.full(1000, np.finfo('float32').max, 'float32')
    try: play(loud*np.sign(np.sin(np.arange(1000))).astype('float32'), rate)
    except AudioError: pass
    assert seen and all(np.isfinite(x).all() and np.abs(x).max() <= 1 for x in seen)


# Labels

NAMES = ['error', 'label', 'probability', 'path', 'start', 'end', 'label_', '01', '1', 'None', 'nan']


def test_any_label_works_as_a_class(folder, file, tmp_path):
    torch.manual_seed(0)
    clf = AudioClassifier(SETTINGS, NAMES, 0.5, 'squeezenet1_1')
    p = clf.probabilities([load_clip(file, RATE)[0]])[0]
    for bad in 'raise', 'keep':
        table = clf.predict([file, file], bad=bad)
        assert table.columns.is_unique and np.allclose(table[NAMES].to_numpy(float), p)
        assert list(table.label__) == [NAMES[p.argmax()]]*2 and list(table.path_) == [str(file)]*2
        assert np.allclose(table.probability_, p.max()) and ('error_' in table) == (bad == 'keep')
    long = clf.predict_long(file)
    assert np.allclose(long.windows[NAMES].to_numpy(float), p) and list(long.windows.start_) == [0.]
    assert list(long.segments) == ['start', 'end', 'label', 'probability'] and '<audio' in long.show().data
    clf.save(tmp_path)
    told, = json.loads(CliRunner().invoke(app, ['predict', str(tmp_path), str(file), '--json']).stdout)
    assert told['label'] == NAMES[p.argmax()] and list(told['probabilities']) == NAMES
    row, = csv.DictReader(io.StringIO(CliRunner().invoke(app, ['predict', str(tmp_path), str(file), '--csv']).stdout))
    assert row['label__'] == NAMES[p.argmax()] and row['error_'] == ''
    assert np.allclose([float(row[name]) for name in NAMES], p, atol=1e-6)


def test_usual_labels_leave_the_columns_alone(clf, file):
    assert list(clf.predict(file, bad='keep')) == ['path', 'label', 'probability', 'x', 'y', 'z', 'error']
    assert list(clf.predict_long(file).windows) == ['start', 'end', 'label', 'probability', 'x', 'y', 'z']


def test_01_and_1_are_two_classes(folder, tmp_path):
    files = get_audio_files(folder)
    (tmp_path/'t.csv').write_text('path,label\n' + ''.join(f'{f},{["01", "1"][i % 2]}\n' for i, f in enumerate(files)))
    table = split_clips(find_clips(tmp_path/'t.csv'))
    assert set(table.label) == {'01', '1'}
    learn = train_clips(table, SETTINGS, 0.5, 'squeezenet1_1', False, 1, progress=False)
    assert AudioClassifier.from_learner(learn).vocab == ['01', '1']
    numbers = split_clips(pd.DataFrame(dict(path=[str(f) for f in files], label=[i % 3 for i in range(12)])))
    assert list(train_clips(numbers, SETTINGS, 0.5, 'squeezenet1_1', False, 1, progress=False).dls.vocab) == ['0', '1', '2']


# Tables of others

def esc50(root, folder):
    "ESC-50's layout: meta/esc50.csv and audio/"
    (root/'meta').mkdir()
    (root/'audio').mkdir()
    lines = ['filename,fold,target,category,esc10,src_file,take']
    for i, f in enumerate(get_audio_files(folder)):
        (root/'audio'/f'{i % 3 + 1}-{i}-A-{i % 2}.wav').write_bytes(f.read_bytes())
        lines.append(f'{i % 3 + 1}-{i}-A-{i % 2}.wav,{i % 3 + 1},{i % 2},{["dog", "rain"][i % 2]},True,{i},A')
    (root/'meta'/'esc50.csv').write_text('\n'.join(lines) + '\n')
    return root/'meta'/'esc50.csv', ['--path-column', 'filename', '--label-column', 'category', '--valid', 'fold=1']


def huggingface(root, folder):
    "An audio folder: metadata.csv with file_name, and a label that is a number beside its name"
    (root/'data').mkdir()
    lines = ['file_name,label,label_name,split']
    for i, f in enumerate(get_audio_files(folder)):
        (root/'data'/f.name).write_bytes(f.read_bytes())
        lines.append(f'data/{f.name},{i % 2},{["dog", "rain"][i % 2]},{"train" if i < 8 else "validation"}')
    (root/'metadata.csv').write_text('\n'.join(lines) + '\n')
    return root/'metadata.csv', ['--path-column', 'file_name', '--label-column', 'label_name']


def tabulators(root, folder):
    lines = ['clip\tclass', *(f'{f}\t{["dog", "rain"][i % 2]}' for i, f in enumerate(get_audio_files(folder)))]
    (root/'x.tsv').write_text('\n'.join(lines) + '\n')
    return root/'x.tsv', ['--path-column', 'clip', '--label-column', 'class', '--sep', 'tab']


@pytest.mark.parametrize('layout', [esc50, huggingface, tabulators], ids=lambda f: f.__name__)
def test_tables_of_others_go_in_unchanged(folder, tmp_path, layout):
    table, options = layout(tmp_path, folder)
    run = CliRunner().invoke(app, ['train', str(table), '--out', str(tmp_path/'m'), *options, '--no-pretrained',
                                   '--arch', 'squeezenet1_1', '--epochs', '1', '--duration', '0.5'])
    assert run.exit_code == 0, run.output
    clf = AudioClassifier.load(tmp_path/'m')
    assert clf.vocab == ['dog', 'rain'] and clf.provenance['n_train'] == (8 if layout is not tabulators else 10)
    only = [o for o in options if o in ('--path-column', '--sep')]
    report = [x for o in only for x in (o, options[options.index(o) + 1])]
    run = CliRunner().invoke(app, ['report', str(table), '--out', str(tmp_path/'r.html'), *report])
    assert run.exit_code == 0 and '12 clips' in run.output, run.output


@pytest.mark.parametrize('sep', [';', '|', '\t'])
def test_separators(folder, tmp_path, sep):
    files = get_audio_files(folder)
    (tmp_path/'t.csv').write_text(f'a{sep}b\n' + ''.join(f'{f}{sep}{f.parent.name}\n' for f in files))
    table = find_clips(tmp_path/'t.csv', path='a', label='b', sep=sep)
    assert list(table) == ['path', 'label'] and list(table.label) == [f.parent.name for f in files]
    assert list(read_table(tmp_path/'t.csv', 'a', 'b', sep=sep).b) == [f.parent.name for f in files]
    with pytest.raises(ValueError, match='no column c'): find_clips(tmp_path/'t.csv', path='c', label='b', sep=sep)


# What a classifier says of its training

USES = dict(nothing=noop, validate=lambda learn: learn.validate(), get_preds=lambda learn: learn.get_preds(),
            training_set=lambda learn: learn.validate(ds_idx=0), tta=lambda learn: learn.tta(n=1),
            predict=lambda learn: learn.predict(learn.dls.valid_ds.items[0]), again=AudioClassifier.from_learner,
            lr_find=lambda learn: learn.lr_find(num_it=8, show_plot=False))


@pytest.mark.parametrize('use', USES)
def test_figures_have_their_names_whatever_was_called_since(folder, tmp_path, use):
    learn = learner(folder, metrics=accuracy)
    learn.fit(2, 1e-3)
    names, values = ['train_loss', 'valid_loss', 'accuracy'], [float(v) for v in learn.final_record]
    USES[use](learn)
    clf = AudioClassifier.from_learner(learn)
    assert list(clf.provenance['metrics']) == names and np.allclose([*clf.provenance['metrics'].values()], values)
    assert clf.provenance['epochs_of_last_fit'] == 2
    clf.save(tmp_path)
    card = (tmp_path/'README.md').read_text()
    for name, value in zip(names, values): assert f'{name} {value:.4g}' in card


def test_from_learner_leaves_the_record_alone(folder):
    learn = learner(folder, metrics=accuracy)
    learn.fit(1, 1e-3)
    before = list(learn.recorder.values), list(learn.recorder.losses), list(learn.final_record)
    AudioClassifier.from_learner(learn)
    assert (list(learn.recorder.values), list(learn.recorder.losses), list(learn.final_record)) == before


def test_figures_of_other_trainings(folder, tmp_path):
    assert AudioClassifier.from_learner(learner(folder)).provenance['metrics'] == {}
    learn = learner(folder, metrics=[accuracy, F1Score(average=None)])
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        learn.fit(1, 1e-3)
    clf = AudioClassifier.from_learner(learn)
    assert list(clf.provenance['metrics']) == ['train_loss', 'valid_loss', 'accuracy', 'f1_score']
    assert len(clf.provenance['metrics']['f1_score']) == 2
    assert AudioClassifier.load(clf.save(tmp_path)).provenance == clf.provenance
    learn.recorder.train_metrics, learn.metrics = True, accuracy
    learn.fit(1, 1e-3)
    assert list(learn.figures) == ['train_loss', 'train_accuracy', 'valid_loss', 'valid_accuracy']
    assert np.allclose([*learn.figures.values()], [float(v) for v in learn.final_record])
    learn.fine_tune(2)
    assert AudioClassifier.from_learner(learn).provenance['epochs_of_last_fit'] == 2
