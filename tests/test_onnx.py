"A saved classifier that answers without torch: the same answers, and nothing that does not belong to them"
import json, pickle, shutil, subprocess, sys
from dataclasses import asdict

import numpy as np, pytest, torch

from audio_tutorial import onnx_classifier
from audio_tutorial.classifier import AudioClassifier
from audio_tutorial.clips import example_clip
from audio_tutorial.files import get_audio_files
from audio_tutorial.mel import MelSettings
from audio_tutorial.notes import make_notes
from audio_tutorial.onnx_classifier import OnnxClassifier, export_classifier, load_classifier
from audio_tutorial.predictor import ModelError, onnx_file

for needed in 'onnx', 'onnxscript', 'onnxruntime': pytest.importorskip(needed)
KINDS = {'one label': dict(), 'several labels': dict(activation='sigmoid', threshold=0.4),
         'resnet18': dict(arch='resnet18'), 'plain_cnn': dict(arch='plain_cnn'),
         'other settings': dict(settings=MelSettings(8000, 512, 200, 24, 50, 4000, 'htk', 60), duration=0.7),
         'n_fft=600': dict(settings=MelSettings(n_fft=600)), 'stft': dict(settings=MelSettings(n_fft=256, n_mels=None))}


def saved(folder, **changes):
    "A classifier with random weights, saved and exported"
    torch.manual_seed(0)
    clf = AudioClassifier(**dict(settings=MelSettings(), vocab=['a', 'b', 'c'], duration=1, arch='squeezenet1_1') | changes)
    clf.save(folder)
    assert export_classifier(folder) == folder/onnx_file
    return folder


@pytest.fixture(scope='module')
def model(tmp_path_factory): return saved(tmp_path_factory.mktemp('onnx')/'model')


@pytest.fixture(scope='module')
def clips(tmp_path_factory):
    folder = make_notes(tmp_path_factory.mktemp('notes')/'made', 6, 2, seed=0, progress=False)
    (folder/'bad.wav').write_text('no sound')
    return [example_clip(), *get_audio_files(folder/'train'), folder/'bad.wav']


@pytest.mark.parametrize('kind', KINDS)
def test_the_tables_are_those_of_torch(kind, tmp_path, clips):
    folder = saved(tmp_path/'m', **KINDS[kind])
    fast, slow = load_classifier(folder), AudioClassifier.load(folder)
    assert type(fast) is OnnxClassifier
    ours, theirs = (c.predict([*clips, folder/'gone.wav'], progress=False, bad='keep', bs=4) for c in (fast, slow))
    assert ours.columns.tolist() == theirs.columns.tolist() and ours.error.notna().sum() == 2
    assert ours.error.notna().equals(theirs.error.notna()) and ours.path.tolist() == theirs.path.tolist()
    assert ours.label.fillna('').tolist() == theirs.label.fillna('').tolist()
    numbers = ['probability', *slow.vocab]
    assert np.allclose(ours[numbers], theirs[numbers], atol=1e-4, equal_nan=True)


def test_it_can_be_sent_to_another_process(model, clips):
    there, here = pickle.loads(pickle.dumps(load_classifier(model))), load_classifier(model)
    assert type(there) is OnnxClassifier
    assert there.predict(clips[:2]).equals(here.predict(clips[:2]))


def test_long_recordings_and_arrays_too(model):
    fast, slow = load_classifier(model), AudioClassifier.load(model)
    a, b = (c.predict_long(example_clip(), hop=0.3) for c in (fast, slow))
    assert np.allclose(a.windows[fast.vocab], b.windows[fast.vocab], atol=1e-4)
    assert a.segments.label.tolist() == b.segments.label.tolist()
    for x in np.zeros(16000, 'float32'), torch.rand(2, 44100) - 0.5, np.full(99, 2**14, 'int16'):
        p, q = (c.predict(x, 16000)[c.vocab].to_numpy() for c in (fast, slow))
        assert np.isfinite(p).all() and np.allclose(p, q, atol=1e-4)


def without_torch(code, *args):
    "What a new Python prints that runs some code, and which modules it has loaded"
    code += "; import sys; print(*{m.split('.')[0] for m in sys.modules}, file=sys.stderr)"
    done = subprocess.run([sys.executable, '-c', code, *map(str, args)], capture_output=True, text=True, check=True)
    assert not {'torch', 'pandas', 'fastai', 'matplotlib', 'numba'} & set(done.stderr.split()), done.stderr
    return done.stdout


def test_the_shell_imports_no_torch_and_no_pandas(model, clips):
    code = 'import sys; from audio_tutorial.cli import app; app(sys.argv[1:], standalone_mode=False)'
    wanted = AudioClassifier.load(model).predict(clips[:3], progress=False)
    for format in [], ['--csv']: assert wanted.label[1] in without_torch(code, 'predict', model, *clips[:3], *format)
    for row, p in zip(json.loads(without_torch(code, 'predict', model, *clips[:3], '--json')), wanted.probability):
        assert row['probability'] == pytest.approx(p, abs=1e-4)


def test_a_new_save_removes_the_old_export(tmp_path):
    folder = saved(tmp_path/'m')
    AudioClassifier.load(folder).save(folder)
    assert not (folder/onnx_file).exists() and type(load_classifier(folder)) is AudioClassifier


def test_an_export_of_other_weights_is_refused(model, tmp_path):
    other = shutil.copytree(model, tmp_path/'other')
    clf = AudioClassifier.load(model)
    with torch.no_grad(): next(clf.network.parameters()).add_(0.1)
    clf.save(tmp_path/'changed')
    shutil.copy(tmp_path/'changed/model.safetensors', other)
    with pytest.raises(ModelError, match='not made from model.safetensors.*export it again'): load_classifier(other)


@pytest.mark.parametrize('change', [dict(duration=2), dict(vocab=['a', 'b']), dict(settings=asdict(MelSettings(n_mels=64)))],
                         ids=lambda c: next(iter(c)))
def test_other_settings_than_those_of_the_export_are_refused(change, model, tmp_path):
    other = shutil.copytree(model, tmp_path/'other')
    config = json.loads((other/'config.json').read_text()) | change
    (other/'config.json').write_text(json.dumps(config))
    with pytest.raises(ModelError, match='other settings or labels'): load_classifier(other)


@pytest.mark.parametrize('content', [b'', b'no network', b'\x08\x08' + bytes(99)])
def test_a_file_that_is_no_network_is_named(content, model, tmp_path):
    other = shutil.copytree(model, tmp_path/'other')
    (other/onnx_file).write_bytes(content)
    with pytest.raises(ModelError, match='model.onnx'): load_classifier(other)


def test_without_onnxruntime_torch_answers(model, monkeypatch):
    found = onnx_classifier.importlib.util.find_spec
    monkeypatch.setattr('importlib.util.find_spec', lambda name, *a: None if name == 'onnxruntime' else found(name, *a))
    assert type(load_classifier(model)) is AudioClassifier


def test_an_export_with_other_answers_is_not_kept(tmp_path, monkeypatch):
    folder = saved(tmp_path/'m')
    monkeypatch.setattr(OnnxClassifier, '_spectrogram', lambda self, x: np.zeros((40, 63), 'float32'))
    with pytest.raises(ModelError, match='other probabilities'): export_classifier(folder)
    assert not (folder/onnx_file).exists() and not list(folder.glob('*.part'))


def test_what_is_no_classifier(tmp_path):
    for f in load_classifier, export_classifier:
        with pytest.raises(FileNotFoundError, match='no folder'): f(tmp_path/'gone')
        with pytest.raises(FileNotFoundError, match='config.json'): f(tmp_path)
