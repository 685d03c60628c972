"The network: body and head, their names, and their weights in a file"
import json
from pathlib import Path

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

from audio_tutorial import networks
from audio_tutorial.classifier import AudioClassifier
from audio_tutorial.mel import MelSettings
from audio_tutorial.networks import (create_body, create_network, get_body, load_weights, plain_cnn, plain_head,
                                     save_weights, set_weights)

WEIGHTS = Path(__file__).resolve().parents[2]/'shared/data/squeezenet1_1_imagenet_body.pth'
# What squeezenet1_1 called its layers up to 28 November 2026, when body and head had numbers for names
OLD = ['0.0', *[f'0.{i}.{part}' for i in (3, 4, 6, 7, 9, 10, 11, 12) for part in ('squeeze', 'expand1x1', 'expand3x3')],
       '1.3']


@pytest.mark.parametrize('arch', ['resnet18', torchvision.models.resnet18, 'squeezenet1_1', 'mobilenet_v3_small',
                                  'plain_cnn', plain_cnn])
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
    with pytest.raises(ValueError, match='plain_cnn has no weights'): create_body('plain_cnn', pretrained=True)


# The parts by name

@pytest.mark.parametrize('arch', ['resnet18', 'squeezenet1_1', 'plain_cnn'])
def test_parts_have_names_and_their_old_places(arch):
    network = create_network(arch, 7)
    assert network[0] is network.body and network[1] is network.head and len(network) == 2
    assert {key.split('.')[0] for key in network.state_dict()} == {'body', 'head'}
    assert get_body(network) is network.body


def test_networks_without_names_have_their_body_in_front():
    "fastai's, and those that earlier versions stored"
    first = nn.Conv2d(1, 2, 3)
    assert get_body(nn.Sequential(first, nn.Flatten())) is first


def test_a_head_of_ones_own():
    def head(n_in, n_out): return nn.Sequential(nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(n_in, n_out))
    network = create_network('squeezenet1_1', 7, head=head).eval()
    assert isinstance(network.head[0], nn.AdaptiveMaxPool2d) and network(torch.zeros(2, 1, 40, 251)).shape == (2, 7)
    ready = nn.Identity()
    assert create_network('squeezenet1_1', 7, head=ready).head is ready


@pytest.mark.parametrize('name', [name for name in networks.__all__ if name.endswith('_head')])
def test_every_head_that_is_exported(name, tmp_path):
    "A row of scores for pictures of any size, the same ones after saving and loading"
    one, other = (create_network('squeezenet1_1', 7, head=getattr(networks, name)).eval() for _ in range(2))
    set_weights(other, load_weights(save_weights(tmp_path/'x.safetensors', one.state_dict()))[0])
    for size in (40, 251), (129, 126):
        x = torch.rand(2, 1, *size)
        with torch.no_grad(): scores = one(x)
        assert scores.shape == (2, 7) and scores.isfinite().all()
        with torch.no_grad(): assert torch.equal(other(x), scores)


def test_a_head_changes_no_random_number():
    heads = []
    for head in None, plain_head:
        torch.manual_seed(0)
        heads.append(create_network('squeezenet1_1', 7, head=head))
    for a, b in zip(*(network.parameters() for network in heads)): assert torch.equal(a, b)


# The names that weights had

def old_weights(network):
    "The weights of a squeezenet1_1 by the names of earlier versions"
    return dict(zip((f'{name}.{kind}' for name in OLD for kind in ('weight', 'bias')), network.state_dict().values(),
                    strict=True))


def test_weights_by_their_old_names_are_taken():
    one, other, third = (create_network('squeezenet1_1', 7) for _ in range(3))
    set_weights(other, old_weights(one))
    third.load_state_dict(old_weights(one))
    for network in other, third:
        assert list(network.state_dict()) == list(one.state_dict())
        for a, b in zip(network.parameters(), one.parameters()): assert torch.equal(a, b)


def test_a_classifier_that_an_earlier_version_saved(tmp_path):
    clf = AudioClassifier(MelSettings(), ['a', 'b'], 1, 'squeezenet1_1')
    clf.save(tmp_path)
    file = tmp_path/json.loads((tmp_path/'config.json').read_text())['weights']
    save_file({k: v.contiguous() for k, v in old_weights(clf.network).items()}, file)
    again, x = AudioClassifier.load(tmp_path), torch.rand(2, 16000) - 0.5
    with torch.no_grad(): assert torch.equal(again(x), clf(x))
    again.load_state_dict({k.replace('.body.', '.0.').replace('.head.', '.1.'): v
                           for k, v in clf.state_dict().items()})


def test_weights_that_do_not_fit_are_refused():
    weights = create_network('squeezenet1_1', 7).state_dict()
    def without(*keys): return {k: v for k, v in weights.items() if k not in keys}
    for wrong, reason in ((without('head.3.bias'), 'head.3.bias is missing'),
                          (weights | {'x': torch.zeros(1)}, 'x does not belong'),
                          (weights | {'head.3.bias': torch.zeros(8)}, r'head.3.bias is \(8,\) of .*, not \(7,\)'),
                          (weights | {'head.3.bias': torch.zeros(7).half()}, 'float16')):
        with pytest.raises(ValueError, match=reason): set_weights(create_network('squeezenet1_1', 7), wrong)


# Files

def test_weights_in_a_file(tmp_path):
    weights = {'a': torch.rand(3, 4).T, 'b': nn.Parameter(torch.ones(2))}
    file = save_weights(tmp_path/'x.safetensors', weights, {'arch': 'resnet18'})
    again, about = load_weights(file)
    assert about == {'arch': 'resnet18'} and again.keys() == weights.keys()
    for key in weights: assert torch.equal(again[key], weights[key])
    assert load_weights(save_weights(tmp_path/'y.safetensors', weights))[1] == {}
    assert sorted(p.name for p in tmp_path.iterdir()) == ['x.safetensors', 'y.safetensors']


def test_files_that_hold_no_weights(tmp_path):
    class Other(ValueError): pass
    with pytest.raises(FileNotFoundError, match='gone.safetensors'): load_weights(tmp_path/'gone.safetensors')
    (tmp_path/'text.safetensors').write_text('no weights')
    for error in ValueError, Other:
        with pytest.raises(error, match='text.safetensors is not a safetensors file'):
            load_weights(tmp_path/'text.safetensors', error)


@pytest.mark.parametrize("arch", ["plain_cnn", "resnet18", "efficientnet_b0"])
def test_weights_lie_channels_last_also_from_a_file(arch, tmp_path):
    def last(network): return all(w.is_contiguous(memory_format=torch.channels_last) for w in network.parameters() if w.dim() == 4)
    one = create_network(arch, 10)
    assert last(one)
    assert last(set_weights(one, load_weights(save_weights(tmp_path/"x.safetensors", one.state_dict()))[0]))
    AudioClassifier(MelSettings(), ["a", "b"], 1, arch).save(tmp_path/"saved")
    assert last(AudioClassifier.load(tmp_path/"saved").network)
