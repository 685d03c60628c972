"Training on sound: the network, the loaders, and a learner that can be used afterwards"
import random
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import torch
import torchvision
from fastai.vision.all import CategoryBlock, DataBlock, Tensor, accuracy, get_files, load_learner, set_seed
from torch import nn

from audio_tutorial.batches import MelSpectrogram
from audio_tutorial.clips import AudioError, load_clip
from audio_tutorial.learner import (AudioBlock, BatchTransform, LoadClip, TensorSpectrogram, audio_learner, repeats)
from audio_tutorial.mel import MelSettings
from audio_tutorial.networks import create_body, create_network
from audio_tutorial.notes import ParentSplitter, family, make_notes

SETTINGS = MelSettings()
WEIGHTS = Path(__file__).resolve().parents[2]/'shared/data/squeezenet1_1_imagenet_body.pth'


@pytest.fixture(scope='module')
def notes(tmp_path_factory):
    return make_notes(tmp_path_factory.mktemp('notes')/'made', 40, 20, seed=0, progress=False)


def loaders(path, batch_tfms=None, duration=4, **kwargs):
    block = DataBlock(blocks=(AudioBlock(SETTINGS, duration), CategoryBlock), splitter=ParentSplitter(),
                      get_items=lambda p: sorted(get_files(p, extensions='.wav')), get_y=family, batch_tfms=batch_tfms)
    return block.dataloaders(path, **{'bs': 8, 'num_workers': 0, 'device': torch.device('cpu')} | kwargs)


class Scale(nn.Module):
    "Waveforms or spectrograms times a number, in training alone"
    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, x): return x*self.factor if self.training else x


# The network

@pytest.mark.parametrize('arch', ['resnet18', torchvision.models.resnet18, 'squeezenet1_1', 'mobilenet_v3_small'])
def test_network_takes_one_channel_and_any_size(arch):
    network = create_network(arch, 7).eval()
    for size in (40, 251), (129, 126): assert network(torch.zeros(2, 1, *size)).shape == (2, 7)
    assert not any('fastai' in type(m).__module__ for m in network.modules())


def test_summed_weights_answer_as_three_equal_channels():
    three, one = create_body('squeezenet1_1', 3).eval(), create_body('squeezenet1_1').eval()
    state = three.state_dict()
    first = next(iter(state))
    state[first] = state[first].sum(1, keepdim=True)
    one.load_state_dict(state)
    x = torch.rand(2, 1, 40, 251)
    assert torch.allclose(one(x), three(x.expand(-1, 3, -1, -1)), atol=1e-4)


def test_pretrained_weights_are_summed(tmp_path, monkeypatch):
    if not WEIGHTS.exists(): pytest.skip('ImageNet weights are not beside this checkout')
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    (tmp_path/'hub/checkpoints').mkdir(parents=True)
    url = torchvision.models.SqueezeNet1_1_Weights.DEFAULT.url
    (tmp_path/'hub/checkpoints'/Path(url).name).symlink_to(WEIGHTS)
    learned = torch.load(WEIGHTS, weights_only=True)
    body = create_body('squeezenet1_1', pretrained=True)
    assert torch.allclose(body[0].weight, learned['features.0.weight'].sum(1, keepdim=True))
    assert torch.equal(body[3].squeeze.weight, learned['features.3.squeeze.weight'])


def test_weights_that_cannot_be_fetched_name_the_setting(monkeypatch):
    def offline(*args, **kwargs): raise OSError('no route to host')
    monkeypatch.setattr(torchvision.models, 'get_model', offline)
    with pytest.raises(OSError, match='pretrained=False'): create_network('resnet18', 10, pretrained=True)


def test_networks_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match='vit_b_16'): create_body('vit_b_16')
    with pytest.raises(ValueError, match='n_in'): create_body('resnet18', n_in=2)


# The loaders

def test_batches_are_the_reference_spectrograms(notes):
    x, y = loaders(notes).valid.one_batch()
    paths = sorted((notes/'valid').glob('*.wav'))
    assert isinstance(x, TensorSpectrogram) and x.shape == (8, 1, 40, 251)
    for picture, wave, path in zip(x, x.waveform, paths):
        clip, _ = load_clip(path)
        assert np.array_equal(wave.numpy(), clip)
        assert np.abs(picture[0].numpy() - SETTINGS.scale(SETTINGS.log_mel(clip))).max() < 1e-3


def test_random_in_training_alone_and_two_of_a_kind_both_act(notes):
    dls = loaders(notes, [BatchTransform(Scale(0.5), 1), BatchTransform(Scale(0.1), 2)])
    def peak(dl): return float(next(iter(dl))[0].waveform.abs().max())
    look_back = dls.train.new(shuffle=False, drop_last=False)
    plain = loaders(notes)
    assert peak(dls.valid) == peak(plain.valid) and peak(look_back) == peak(plain.train.new(shuffle=False))
    assert peak(dls.train) < 0.06


def test_after_the_spectrogram_by_order(notes):
    dls = loaders(notes, [BatchTransform(Scale(0.5), 60)])
    x, _ = dls.train.one_batch()
    assert float(x.abs().max()) <= 0.5 and x.waveform is not None


def test_crops_are_random_in_training_and_central_otherwise(tmp_path):
    sf.write(tmp_path/'x.wav', np.linspace(0, 0.9, 32000), 16000, subtype='FLOAT')
    load = LoadClip(SETTINGS, 1)
    random.seed(0)
    assert float(load(tmp_path/'x.wav')[0]) == pytest.approx(0.225, abs=1e-3)
    load.training = True
    assert len({float(load(tmp_path/'x.wav')[0]) for _ in range(5)}) == 5
    assert len(LoadClip(SETTINGS, 3)(tmp_path/'x.wav')) == 48000


def test_a_bad_file_is_named_through_a_worker(tmp_path, notes):
    for side in 'train', 'valid':
        (tmp_path/side).mkdir()
        for path in sorted((notes/side).glob('*.wav'))[:4]: (tmp_path/side/path.name).write_bytes(path.read_bytes())
    bad = sorted((tmp_path/'valid').glob('*.wav'))[2]
    bad.write_bytes(bad.read_bytes()[:1000])
    dls = loaders(tmp_path, bs=4, num_workers=1)
    with pytest.raises(AudioError, match=bad.name): list(dls.valid)


def test_another_rate_is_refused():
    x = torch.zeros(1, 1000).as_subclass(Tensor)
    x.sample_rate = 44100
    with pytest.raises(ValueError, match='44100.*16000'): MelSpectrogram(SETTINGS)(x)


def test_show_batch_has_a_picture_and_a_player_for_each(notes, capsys, monkeypatch):
    import IPython.display
    shown = []
    monkeypatch.setattr(IPython.display, 'display', shown.append)
    loaders(notes).show_batch(max_n=2)
    html = shown[0].data
    assert html.count('<audio') == html.count('<img alt="Waveform') == 2


# The learner

def test_it_learns_and_predicts(tmp_path, notes):
    set_seed(0, reproducible=True)
    learn = audio_learner(loaders(notes), 'squeezenet1_1', pretrained=False, metrics=accuracy, path=tmp_path)
    with learn.no_bar(), learn.no_logging():
        learn.fit_one_cycle(2)
        path = sorted((notes/'valid').glob('*.wav'))[0]
        label, number, p = learn.predict(path)
        many, _ = learn.get_preds(dl=learn.dls.test_dl([path]*3))
    assert label == learn.dls.vocab[int(number)] and float(p.sum()) == pytest.approx(1, abs=1e-4)
    assert torch.allclose(many, p.expand(3, -1), atol=1e-5)
    assert len(learn.opt.param_groups) == 2, 'body and head'


def test_repeats_gives_a_row_for_each_seed():
    table = repeats(lambda seed: dict(accuracy=seed/100), n=3, seed=5)
    assert table.seed.tolist() == [5, 6, 7] and table.accuracy.tolist() == [0.05, 0.06, 0.07]
