"A classifier from a learner: it answers alike, can be saved and moved, and what does not fit is refused"
import json, os, pickle, shutil, subprocess, sys
from pathlib import Path

import numpy as np, pandas as pd, pytest, torch
from fastai.vision.all import (BCEWithLogitsLossFlat, CategoryBlock, ColReader, DataBlock, IndexSplitter,
                               LabelSmoothingCrossEntropyFlat, MultiCategoryBlock, Transform, load_learner, set_seed)
from safetensors.torch import load_file, save_file
from torch import nn

from audio_tutorial.clips import load_clip
from audio_tutorial.files import get_audio_files
from audio_tutorial.classifier import AudioClassifier
from audio_tutorial.predictor import ModelError
from audio_tutorial.learner import AudioBlock, audio_learner
from audio_tutorial.transforms import TensorSpectrogram
from audio_tutorial.networks import create_network
from audio_tutorial.folders import ParentSplitter
from audio_tutorial.notes import family, make_notes
from classifiers import OTHERS, SETTINGS, probabilities, small


@pytest.fixture(scope='module')
def notes(tmp_path_factory):
    return make_notes(tmp_path_factory.mktemp('notes')/'made', 40, 20, seed=0, progress=False)


def trained(notes, settings=SETTINGS, label=family, loss_func=None, duration=1, batch_tfms=None):
    "A learner after a short training"
    set_seed(0, reproducible=True)
    dls = DataBlock(blocks=(AudioBlock(settings, duration), CategoryBlock), splitter=ParentSplitter(),
                    get_items=get_audio_files, get_y=label, batch_tfms=batch_tfms).dataloaders(
        notes, bs=8, num_workers=0, device=torch.device('cpu'))
    learn = audio_learner(dls, 'squeezenet1_1', pretrained=False, loss_func=loss_func)
    with learn.no_bar(), learn.no_logging(): learn.fit(1)
    return learn


@pytest.fixture(scope='module')
def learn(notes): return trained(notes)


@pytest.fixture(scope='module')
def clf(learn): return AudioClassifier.from_learner(learn)


@pytest.fixture
def saved(tmp_path): return small().save(tmp_path/'model')


def preds(learn):
    with learn.no_bar(): return learn.get_preds()[0].numpy()


# From the learner

def test_the_learners_own_predictions(learn, clf):
    assert np.abs(probabilities(clf, learn.dls.valid_ds.items) - preds(learn)).max() < 1e-5
    assert clf.activation == 'softmax' and clf.vocab == list(learn.dls.vocab)
    assert clf.provenance['n_train'] == 40 and 'valid_loss' in clf.provenance['metrics']


@pytest.mark.parametrize('settings', OTHERS.values(), ids=OTHERS)
def test_retrained_with_other_settings(notes, settings, tmp_path):
    learn = trained(notes, settings, duration=1.5)
    clf = AudioClassifier.load(AudioClassifier.from_learner(learn).save(tmp_path))
    assert clf.settings == settings and clf.n_samples == round(1.5*settings.sample_rate)
    assert np.abs(probabilities(clf, learn.dls.valid_ds.items) - preds(learn)).max() < 1e-5


def test_one_class(notes):
    learn = trained(notes, label=lambda path: 'note')
    table = AudioClassifier.from_learner(learn).predict(learn.dls.valid_ds.items[:2])
    assert table.label.tolist() == ['note']*2 and table.probability.tolist() == [1, 1]


def test_200_classes(notes, tmp_path):
    files = [str(f) for f in get_audio_files(notes)]
    table = pd.DataFrame([dict(path=files[i % len(files)], label=f'class {i % 200}') for i in range(220)])
    dls = DataBlock(blocks=(AudioBlock(SETTINGS, 0.5), CategoryBlock), get_x=ColReader('path'), get_y=ColReader('label'),
                    splitter=IndexSplitter(range(200, 220))).dataloaders(
        table, bs=8, num_workers=0, device=torch.device('cpu'))
    learn = audio_learner(dls, 'squeezenet1_1', pretrained=False)
    clf = AudioClassifier.load(AudioClassifier.from_learner(learn).save(tmp_path))
    assert len(clf.vocab) == 200
    assert np.abs(probabilities(clf, table.path[200:].tolist()) - preds(learn)).max() < 1e-5


def test_several_labels_per_clip(notes, tmp_path):
    dls = DataBlock(blocks=(AudioBlock(SETTINGS, 1), MultiCategoryBlock), splitter=ParentSplitter(),
                    get_items=get_audio_files, get_y=lambda p: [family(p), p.stem[-3:]]).dataloaders(
        notes, bs=8, num_workers=0, device=torch.device('cpu'))
    learn = audio_learner(dls, 'squeezenet1_1', pretrained=False, loss_func=BCEWithLogitsLossFlat(thresh=0.4))
    clf = AudioClassifier.load(AudioClassifier.from_learner(learn).save(tmp_path))
    assert (clf.activation, clf.threshold) == ('sigmoid', 0.4)
    table = clf.predict(dls.valid_ds.items, progress=False)
    assert np.abs(table[clf.vocab].to_numpy() - preds(learn)).max() < 1e-5
    for row in table.to_dict('records'):
        assert row['label'].split(';') == [v for v in clf.vocab if row[v] >= 0.4] or not row['label']


def test_other_losses(notes):
    for loss in LabelSmoothingCrossEntropyFlat(), nn.CrossEntropyLoss():
        assert AudioClassifier.from_learner(trained(notes, loss_func=loss)).activation == 'softmax'
    learn = trained(notes)
    learn.loss_func = nn.MSELoss()
    with pytest.raises(ValueError, match='MSELoss'): AudioClassifier.from_learner(learn)


def test_other_networks_are_refused_with_the_reason(notes):
    learn = trained(notes)
    model = learn.model
    learn.model = nn.Sequential(*model)
    with pytest.raises(ValueError, match='create_network'): AudioClassifier.from_learner(learn)
    learn.model = create_network('resnet18', 10)
    learn.model.arch = 'squeezenet1_1'
    with pytest.raises(ValueError, match='squeezenet1_1.*(missing|belong)'): AudioClassifier.from_learner(learn)
    learn.model = create_network('squeezenet1_1', 10, head=lambda n_in, n_out: nn.Linear(n_in, n_out))
    with pytest.raises(ValueError, match='plain head.*save_weights'): AudioClassifier.from_learner(learn)
    learn.model = model
    for m in model.modules():
        if isinstance(m, nn.Sequential):
            for name, child in m.named_children():
                if isinstance(child, nn.ReLU): setattr(m, name, nn.Tanh())
    model.body.append(nn.Tanh())
    model.head[-1].weight.data *= 100
    with pytest.raises(ValueError, match='other probabilities'): AudioClassifier.from_learner(learn)


def test_a_transform_that_acts_in_validation_is_found(notes):
    class Noise(Transform): # without a `split_idx`: fastai applies it always
        order = 60
        def encodes(self, x:TensorSpectrogram): return x + torch.randn_like(x)
    learn = trained(notes, batch_tfms=[Noise()])
    learn.model.head[-1].weight.data *= 100
    with pytest.raises(ValueError, match='validation'): AudioClassifier.from_learner(learn)


def test_loaders_without_sound_are_refused(learn, monkeypatch):
    monkeypatch.setattr(learn.dls.valid.after_batch, 'fs', [])
    with pytest.raises(ValueError, match='AudioBlock'): AudioClassifier.from_learner(learn)


def test_the_learner_can_still_be_exported(learn, clf, tmp_path):
    learn.path = tmp_path
    learn.dls.train_ds.get_y = None
    try: learn.export('x.pkl')
    except (pickle.PicklingError, AttributeError): pytest.skip('a test module cannot be pickled here')
    again = AudioClassifier.from_learner(load_learner(tmp_path/'x.pkl'))
    item = learn.dls.valid_ds.items[:3]
    assert np.abs(probabilities(again, item) - probabilities(clf, item)).max() < 1e-6


# Saved and loaded

def test_saved_and_loaded_is_the_same(clf, notes, tmp_path):
    folder = clf.save(tmp_path/'a'/'model')
    assert sorted(p.name for p in folder.iterdir()) == ['README.md', 'config.json', 'model.safetensors']
    again, files = AudioClassifier.load(folder), get_audio_files(notes/'valid')
    assert np.array_equal(probabilities(again, files), probabilities(clf, files))
    assert (again.settings, again.vocab, again.duration) == (clf.settings, clf.vocab, clf.duration)
    assert again.provenance == clf.provenance
    card = (folder/'README.md').read_text()
    assert all(v in card for v in clf.vocab) and '16,000 Hz' in card
    clf.save(folder)
    assert np.array_equal(probabilities(AudioClassifier.load(folder), files), probabilities(clf, files))


def test_every_network_that_can_be_made_can_be_saved(tmp_path):
    for arch in 'mobilenet_v3_small', 'regnet_x_400mf', 'convnext_tiny':
        clf = AudioClassifier(SETTINGS, ['a', 'b'], 1, arch)
        again = AudioClassifier.load(clf.save(tmp_path/arch))
        x = torch.randn(2, 16000, generator=torch.Generator().manual_seed(0))
        assert torch.equal(again(x), clf(x)), arch


def change(folder, **keys):
    "Change keys of config.json; None takes one away"
    path = folder/'config.json'
    config = json.loads(path.read_text()) | keys
    path.write_text(json.dumps({k: v for k, v in config.items() if v is not None}))


@pytest.mark.parametrize('keys, words', [
    (dict(schema=3), 'schema is 3.*update'), (dict(schema=0), 'schema'), (dict(schema=True), 'schema'),
    *[({k: None}, f"{k}' is missing") for k in ('schema', 'arch', 'vocab', 'settings', 'weights', 'duration')],
    (dict(arch='resnet18'), 'missing|belong'), (dict(arch='fasterrcnn_resnet50_fpn'), 'fasterrcnn'),
    (dict(arch='os.system'), 'os.system'), (dict(arch='vit_b_16'), 'vit_b_16'), (dict(arch='googlenet'), 'googlenet'),
    (dict(vocab=['a', 'b']), r'\(3, 512\).*\(2, 512\)|1.weight'), (dict(vocab=['a', 'a', 'b']), 'vocab'),
    (dict(vocab=[1, 2, 3]), 'vocab'), (dict(vocab='abc'), 'vocab'), (dict(duration=-1), 'duration'),
    (dict(duration=float('nan')), 'duration'), (dict(duration=float('inf')), 'duration'),
    (dict(activation='exec'), 'activation'), (dict(threshold=7), 'threshold'), (dict(provenance=[]), 'provenance'),
    (dict(settings={}), 'settings.*missing'), (dict(settings=dict(vars(SETTINGS), power=2)), 'power.*unknown'),
    (dict(settings=dict(vars(SETTINGS), n_fft=-2)), 'n_fft'), (dict(settings=dict(vars(SETTINGS), f_min='x')), 'f_min'),
    (dict(settings=dict(vars(SETTINGS), n_fft=None)), 'n_fft')])
def test_a_configuration_that_does_not_fit_is_refused(saved, keys, words):
    change(saved, **keys)
    with pytest.raises(ModelError, match=f'(?s)config.json.*({words})'): AudioClassifier.load(saved)


@pytest.mark.parametrize('name', ['../model.safetensors', '/etc/passwd', 'sub/model.safetensors', '..', '', '.'])
def test_a_path_that_leaves_the_folder_is_refused(saved, name):
    shutil.copy(saved/'model.safetensors', saved.parent)
    change(saved, weights=name)
    with pytest.raises((ModelError, FileNotFoundError)): AudioClassifier.load(saved)


@pytest.mark.parametrize('name', ['model.safetensors', 'config.json'])
def test_a_link_that_leaves_the_folder_is_refused(saved, name):
    (saved/name).rename(saved.parent/name)
    (saved/name).symlink_to(saved.parent/name)
    with pytest.raises(ModelError, match=f'{name}.*out of the folder'): AudioClassifier.load(saved)


def test_a_link_to_the_folder_is_fine(saved):
    (saved.parent/'link').symlink_to(saved)
    assert AudioClassifier.load(saved.parent/'link').vocab == ['a', 'b', 'c']


@pytest.mark.parametrize('content', [b'', b'no json', b'[]', b'\xff\xfe', b'['*10**5])
def test_what_is_no_configuration_is_refused(saved, content):
    (saved/'config.json').write_bytes(content)
    with pytest.raises(ModelError, match='config.json'): AudioClassifier.load(saved)


def test_missing_files_are_named(saved):
    with pytest.raises(FileNotFoundError, match='nowhere'): AudioClassifier.load(saved/'nowhere')
    (saved/'model.safetensors').unlink()
    with pytest.raises(FileNotFoundError, match='model.safetensors'): AudioClassifier.load(saved)


def test_weights_that_do_not_fit_are_refused(saved):
    file = saved/'model.safetensors'
    weights = load_file(file)
    for wrong, words in (({k: v for k, v in weights.items() if k != 'head.3.bias'}, 'head.3.bias is missing'),
                         (weights | {'x': torch.zeros(1)}, 'x does not belong'),
                         (weights | {'head.3.bias': torch.zeros(4)}, r'head.3.bias is \(4,\)'),
                         (weights | {'head.3.bias': torch.zeros(3, dtype=torch.float64)}, 'head.3.bias.*float64')):
        save_file(wrong, file)
        with pytest.raises(ModelError, match=f'model.safetensors.*{words}'): AudioClassifier.load(saved)


class Boom:
    def __reduce__(self): return os.system, ('touch boom',)


def test_nothing_is_unpickled(saved, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (saved/'model.safetensors').write_bytes(pickle.dumps(Boom()))
    with pytest.raises(ModelError, match='not a safetensors'): AudioClassifier.load(saved)
    torch.save(Boom(), saved/'model.safetensors')
    with pytest.raises(ModelError, match='not a safetensors'): AudioClassifier.load(saved)
    assert not (tmp_path/'boom').exists()


def test_a_save_that_breaks_leaves_the_old_model(saved, monkeypatch):
    def full(path, data):
        with path.open('wb') as f: f.write(data[:1000])
        raise OSError('No space left on device')
    monkeypatch.setattr(Path, 'write_bytes', full)
    with pytest.raises(OSError): small().save(saved)
    assert AudioClassifier.load(saved).vocab == ['a', 'b', 'c'] and not list(saved.glob('*.part'))


def test_used_without_fastai(saved):
    code = ('import sys; from audio_tutorial.classifier import AudioClassifier; from audio_tutorial.clips import *;'
            'clf = AudioClassifier.load(sys.argv[1]); clf.predict(example_clip()); clf.predict_long(example_clip());'
            "print(*{m.split('.')[0] for m in sys.modules})")
    done = subprocess.run([sys.executable, '-c', code, saved], capture_output=True, text=True, check=True)
    assert 'torch' in done.stdout.split() and not {'fastai', 'IPython', 'librosa.core'} & set(done.stdout.split())


def test_numbers_that_make_no_classifier_are_refused():
    for wrong in dict(vocab=[]), dict(vocab=['a', 'a']), dict(duration=0), dict(activation='relu'):
        with pytest.raises(ValueError, match=next(iter(wrong))): small(**wrong)


# ONNX

@pytest.mark.parametrize('settings', [SETTINGS, OTHERS['n_fft=600'], OTHERS['stft']])
def test_onnx_agrees_on_real_clips_for_any_batch_size(settings, notes, tmp_path):
    onnxruntime = pytest.importorskip('onnxruntime')
    clf = small(settings)
    session = onnxruntime.InferenceSession(clf.to_onnx(tmp_path/'x.onnx'))
    about = session.get_modelmeta().custom_metadata_map
    assert json.loads(about['labels']) == clf.vocab and about['sample_rate'] == '16000'
    clips = torch.stack([torch.from_numpy(load_clip(f, duration=1)[0]) for f in get_audio_files(notes/'valid')[:7]])
    for n in 1, 2, 7:
        theirs = session.run(['probabilities'], {'waveforms': clips[:n].numpy()})[0]
        assert np.abs(theirs - clf(clips[:n]).detach().numpy()).max() < 1e-4


def test_without_the_extra_onnx_says_so(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, 'onnx', None)
    with pytest.raises(ImportError, match=r'audio-tutorial\[onnx\]'): small().to_onnx(tmp_path/'x.onnx')
