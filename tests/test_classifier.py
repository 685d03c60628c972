"One object from file to label: what it says, what it refuses, and that it can be moved"
import json, os, pickle, shutil, subprocess, sys
from pathlib import Path

import numpy as np, pandas as pd, pytest, soundfile as sf, torch
from fastai.vision.all import (BCEWithLogitsLossFlat, CategoryBlock, ColReader, DataBlock, IndexSplitter,
                               LabelSmoothingCrossEntropyFlat, MultiCategoryBlock, Transform, load_learner, set_seed)
from safetensors.torch import load_file, save_file
from torch import nn

from audio_tutorial.arrays import AudioError
from audio_tutorial.clips import example_clip, load_clip
from audio_tutorial.files import get_audio_files
from audio_tutorial.classifier import AudioClassifier
from audio_tutorial.predictor import LongPrediction, ModelError, _borders, _segments, _windows
from audio_tutorial.learner import AudioBlock, TensorSpectrogram, audio_learner
from audio_tutorial.mel import MelSettings
from audio_tutorial.networks import create_network
from audio_tutorial.notes import ParentSplitter, family, make_notes

SETTINGS = MelSettings()
OTHERS = {'other settings': MelSettings(8000, 512, 200, 24, 50, 4000, 'htk', 60), 'n_fft=600': MelSettings(n_fft=600),
          'stft': MelSettings(n_fft=256, n_mels=None)}


@pytest.fixture(scope='module')
def notes(tmp_path_factory):
    return make_notes(tmp_path_factory.mktemp('notes')/'made', 40, 20, seed=0, progress=False)


def small(settings=SETTINGS, vocab=('a', 'b', 'c'), duration=1, **kwargs):
    "A classifier with random weights, quick"
    torch.manual_seed(0)
    return AudioClassifier(settings, vocab, duration, 'squeezenet1_1', **kwargs)


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


def probabilities(clf, x, *args, **kwargs):
    return clf.predict(x, *args, progress=False, **kwargs)[clf.vocab].to_numpy()


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
    learn.model = model
    for m in model.modules():
        if isinstance(m, nn.Sequential):
            for name, child in m.named_children():
                if isinstance(child, nn.ReLU): setattr(m, name, nn.Tanh())
    model[0].append(nn.Tanh())
    model[1][-1].weight.data *= 100
    with pytest.raises(ValueError, match='otherwise'): AudioClassifier.from_learner(learn)


def test_a_transform_that_acts_in_validation_is_found(notes):
    class Noise(Transform): # without a `split_idx`: fastai applies it always
        order = 60
        def encodes(self, x:TensorSpectrogram): return x + torch.randn_like(x)
    learn = trained(notes, batch_tfms=[Noise()])
    learn.model[1][-1].weight.data *= 100
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


# What it takes

def test_path_array_list_and_folder_agree(clf, notes):
    files = get_audio_files(notes/'valid')
    by_folder = clf.predict(notes/'valid', bs=7)
    assert by_folder.path.tolist() == [str(f) for f in files]
    assert list(by_folder.columns) == ['path', 'label', 'probability', *clf.vocab]
    p = by_folder[clf.vocab].to_numpy()
    assert np.allclose(p.sum(1), 1, atol=1e-5) and np.allclose(p.max(1), by_folder.probability)
    arrays = [load_clip(f)[0] for f in files[:3]]
    for x in arrays, [torch.from_numpy(a) for a in arrays], [np.rint(a*32768).astype('int16') for a in arrays]:
        assert np.abs(probabilities(clf, x, 16000) - p[:3]).max() < 1e-4
    assert np.abs(probabilities(clf, [files[0], str(files[1]), [files[2]]]) - p[:3]).max() < 1e-5
    assert clf.predict(arrays[0], 16000).path.tolist() == [None]


def test_stereo_another_rate_and_other_formats(clf, tmp_path):
    clip, rate = load_clip(example_clip(), duration=3)
    files = [tmp_path/f'x.{e}' for e in ('wav', 'flac', 'ogg', 'mp3')]
    for f in files: sf.write(f, np.stack([clip, clip], axis=1), rate)
    p = probabilities(clf, [*files, clip, np.stack([clip, clip])], rate)
    assert rate == 44100 and np.abs(p[[1, 4, 5]] - p[0]).max() < 1e-3 and np.abs(p[2:4] - p[0]).max() < 0.1


@pytest.mark.parametrize('settings', [SETTINGS, *OTHERS.values()])
@pytest.mark.parametrize('n', [1, 441, 44100*3])
def test_any_length_and_silence(settings, n):
    clf = small(settings)
    for clip in np.zeros(n, 'float32'), np.ones(n, 'float32'):
        assert np.isfinite(probabilities(clf, clip, 44100)).all()


def test_longer_clips_count_in_the_middle(tmp_path):
    clf, clip = small(), np.random.default_rng(0).normal(0, 0.1, 32000).astype('float32')
    assert np.array_equal(probabilities(clf, clip, 16000), probabilities(clf, clip[8000:24000], 16000))


@pytest.mark.parametrize('x, rate, message', [
    (np.zeros(100), None, 'sample_rate'), (np.zeros((100, 2)), 16000, r'x\.T'), (np.zeros(100, int), 16000, 'int64'),
    (np.zeros((1, 2, 3)), 16000, r'\(1, 2, 3\)'), (np.array([np.nan]), 16000, 'NaN'), (np.zeros(0), 16000, 'empty'),
    ([], None, 'empty')])
def test_what_is_no_clip_is_refused(x, rate, message):
    with pytest.raises(ValueError, match=message): small().predict(x, rate)


def test_a_bad_file_raises_or_gets_a_row(tmp_path):
    sf.write(tmp_path/'a.wav', np.zeros(8000), 16000)
    (tmp_path/'b.wav').write_text('no sound')
    clf = small()
    with pytest.raises(AudioError, match='b.wav'): clf.predict(tmp_path)
    with pytest.raises(FileNotFoundError, match='gone.wav'): clf.predict(tmp_path/'gone.wav')
    table = clf.predict([tmp_path, tmp_path/'gone.wav'], bad='keep')
    assert table.label.notna().tolist() == [True, False, False]
    assert pd.isna(table.error[0]) and 'b.wav' in table.error[1] and 'gone.wav' in table.error[2]
    assert clf.predict(tmp_path/'b.wav', bad='keep').label.isna().all()
    with pytest.raises(ValueError, match='bad'): clf.predict(tmp_path, bad='skip')


def test_training_mode_does_not_change_predictions():
    clf, clip = small(), np.random.default_rng(0).normal(0, 0.1, 16000)
    before = probabilities(clf, clip, 16000)
    assert np.array_equal(probabilities(clf.train(), clip, 16000), before)


def test_hear_plays_what_the_network_gets():
    html = small().hear(example_clip()).data
    assert '<audio' in html and 'data:audio/mpeg' in html and '<img alt="Spectrogram' in html


# Long recordings

@pytest.mark.parametrize('n, hop, size', [(4, 4, 10), (4, 2, 3), (4, 1, 4), (5, 3, 20), (1, 1, 6), (7, 7, 21)])
@pytest.mark.parametrize('cuts', [1, 3, 5])
def test_windows_cover_everything_once(n, hop, size, cuts):
    x = np.arange(size, dtype='float32') + 1
    got = list(_windows(np.array_split(x, cuts), n, hop))
    heard = np.zeros(size, bool)
    for start, window in got:
        assert len(window) == n
        assert np.array_equal(window, np.pad(x, (0, n))[start:start + n])
        heard[start:start + n] = True
    assert heard.all() and [s for s, _ in got[:-1]] == [i*hop for i in range(len(got) - 1)]
    assert got[-1][0] == max(0, size - n) or got[-1][0] % hop == 0


@pytest.mark.parametrize('ending', ['wav', 'flac', 'ogg', 'mp3'])
@pytest.mark.parametrize('rate', [16000, 44100, 22050])
def test_streamed_windows_are_those_of_the_loaded_clip(tmp_path, ending, rate):
    "Over the border of two blocks of 30 s"
    t = np.arange(35*rate)/rate
    sf.write(tmp_path/f'x.{ending}', 0.3*np.sin(2*np.pi*(300 + 20*t)*t)*(1 + np.sin(t)), rate)
    clf = small()
    found = clf.predict_long(tmp_path/f'x.{ending}')
    clip, _ = load_clip(tmp_path/f'x.{ending}', 16000)
    assert found.windows.start.iloc[0] == 0 and found.windows.end.iloc[-1] == pytest.approx(found.seconds)
    whole = [clip[s:s + 16000] for s in np.rint(found.windows.start*16000).astype(int)]
    for i in (0, 20, 57, 58, 59, 60, -2):
        assert np.abs(probabilities(clf, whole[i], 16000) - found.windows[clf.vocab].iloc[i].to_numpy()).max() < 1e-3


def test_segments_merge_neighbours():
    p = np.array([[.9, .1], [.8, .2], [.3, .7], [.6, .4]])
    borders = _borders([0, 2, 4, 5], [4, 6, 8, 9], 9)
    assert borders.tolist() == [0, 3, 5, 6.5, 9]
    one = _segments(np.eye(2, dtype=bool)[p.argmax(1)], p, borders, ['a', 'b'])
    assert one.values.tolist() == [[0, 5, 'a', pytest.approx(.85)], [5, 6.5, 'b', .7], [6.5, 9, 'a', .6]]
    several = _segments(p > 0.15, p, borders, ['a', 'b'])
    assert several[['start', 'end', 'label']].values.tolist() == [[0, 9, 'a'], [3, 9, 'b']]


def test_a_recording_shorter_than_a_window(tmp_path):
    sf.write(tmp_path/'x.wav', np.full(441, 0.1), 44100)
    found = small().predict_long(tmp_path/'x.wav')
    assert len(found.windows) == 1 and found.windows.end[0] == pytest.approx(0.01)
    assert found.segments[['start', 'end']].values.tolist() == [[0, pytest.approx(0.01)]]


def test_threshold_leaves_gaps_between_segments(tmp_path):
    sf.write(tmp_path/'x.wav', np.random.default_rng(0).normal(0, .1, 48000), 16000)
    assert len(small().predict_long(tmp_path/'x.wav', threshold=1).segments) == 0


def test_wrong_hops_and_files(tmp_path):
    for hop in 0, -1, 2:
        with pytest.raises(ValueError, match='hop'): small().predict_long(example_clip(), 1, hop)
    with pytest.raises(FileNotFoundError, match='gone'): small().predict_long(tmp_path/'gone.wav')
    (tmp_path/'bad.wav').write_bytes(example_clip().read_bytes()[:5000])
    with pytest.raises(AudioError, match='bad.wav'): small().predict_long(tmp_path/'bad.wav')


MEMORY = '''
import re, sys, numpy as np, torch
from audio_tutorial.classifier import AudioClassifier
from audio_tutorial.mel import MelSettings
torch.set_num_threads(1)
clf = AudioClassifier(MelSettings(hop_length=1024, n_mels=16), ['a', 'b'], 4, 'resnet18')
peaks = []
for path in sys.argv[1:]:
    found = clf.predict_long(path, window=4, hop=4)
    peaks.append(int(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1])/1024)
print(*peaks, found.seconds)
'''


@pytest.mark.skipif(not Path('/proc/self/status').exists(), reason='only Linux tells the peak of a process')
def test_memory_does_not_grow_with_the_length(tmp_path):
    "Ten minutes at 44.1 kHz, 106 MB as float32, after one"
    minute = np.sin(np.arange(60*44100)*0.05).astype('float32')*0.3
    for name, minutes in ('one', 1), ('ten', 10): # what a process keeps at hand levels off at once
        with sf.SoundFile(tmp_path/f'{name}.flac', 'w', 44100, 1) as f:
            for _ in range(minutes): f.write(minute)
    done = subprocess.run([sys.executable, '-c', MEMORY, tmp_path/'one.flac', tmp_path/'ten.flac'],
                          capture_output=True, text=True, check=True)
    one, ten, seconds = map(float, done.stdout.split())
    assert round(seconds) == 600 and ten < 1000 and ten - one < 80, (one, ten)


def test_show_draws_a_track_for_each_label(monkeypatch):
    from audio_tutorial import predictor
    made = []
    monkeypatch.setattr(predictor, '_with_player', lambda *args: made.append(args))
    found = small().predict_long(example_clip())
    assert isinstance(found, LongPrediction)
    found.show(max_labels=2)
    (fig, alt, player), = made
    above, below, _ = fig.axes
    assert len(below.get_yticklabels()) == 2 and above.get_title() == example_clip().name and 'saxophone' in alt
    assert player.data.count('<audio') == 1 and len(player.data) < 150_000
    assert '2.0 to 3.0 s' in found.play(2, 1).data


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
    (dict(schema=2), 'schema is 2.*update'), (dict(schema=0), 'schema'), (dict(schema=True), 'schema'),
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
    for wrong, words in (({k: v for k, v in weights.items() if k != '1.3.bias'}, '1.3.bias is missing'),
                         (weights | {'x': torch.zeros(1)}, 'x does not belong'),
                         (weights | {'1.3.bias': torch.zeros(4)}, r'1.3.bias is \(4,\)'),
                         (weights | {'1.3.bias': torch.zeros(3, dtype=torch.float64)}, '1.3.bias.*float64')):
        save_file(wrong, file)
        with pytest.raises(ModelError, match=f'model.safetensors.*{words}'): AudioClassifier.load(saved)


class Boom:
    def __reduce__(self): return os.system, ('touch boom',)


def test_nothing_is_unpickled(saved, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (saved/'model.safetensors').write_bytes(pickle.dumps(Boom()))
    with pytest.raises(ModelError, match='no safetensors'): AudioClassifier.load(saved)
    torch.save(Boom(), saved/'model.safetensors')
    with pytest.raises(ModelError, match='no safetensors'): AudioClassifier.load(saved)
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
