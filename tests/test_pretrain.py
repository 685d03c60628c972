"Pretraining: several labels, two views, their loss, and a body that changes heads"
import math
from importlib.resources import files

import numpy as np
import pandas as pd
import pytest
import torch
from fastai.vision.all import CategoryBlock, DataBlock, RandomSplitter, Tensor, set_seed
from safetensors.torch import save_file
from torch.nn import functional as F

from audio_tutorial.files import get_audio_files
from audio_tutorial.evaluate import check_groups
from audio_tutorial.learner import AudioBlock, audio_learner, in_memory
from audio_tutorial.mel import MelSettings
from audio_tutorial.networks import create_body
from audio_tutorial.notes import families, family, instrument, make_notes, pitch
from audio_tutorial.pretrain import (SeveralLabels, TwoViews, contrastive_learner, load_body, nt_xent, pairs_found,
    random_view, save_body, supervised_learner)

SETTINGS = MelSettings(hop_length=1024)
LABELS = [(family, families), (pitch, range(21, 109))]


@pytest.fixture(scope='module')
def notes(tmp_path_factory):
    return make_notes(tmp_path_factory.mktemp('notes')/'made', 40, 20, seed=0, progress=False)


def loaders(folder, labels=(), bs=8):
    return in_memory(DataBlock(
        blocks=(AudioBlock(SETTINGS, 4), *[CategoryBlock(vocab=values) for _, values in labels]), n_inp=1,
        get_items=get_audio_files, get_y=[lambda f, get=get: get(f) for get, _ in labels] or None,
        splitter=RandomSplitter(0.2, seed=0)).dataloaders(folder, bs=bs, num_workers=0, device=torch.device('cpu')))


def quietly(learn, epochs, lr=1e-3):
    with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(epochs, lr)
    losses = torch.stack(learn.recorder.losses)
    return float(losses[:5].mean()), float(losses[-5:].mean())


# The contrastive loss

def embeddings(n=6, size=8, seed=0):
    "Two noisy views of each clip, and the clips' numbers"
    g = torch.Generator().manual_seed(seed)
    z = torch.randn(n, size, generator=g)
    return torch.cat([z, z + 0.3*torch.randn(n, size, generator=g)]), torch.arange(n).repeat(2)


def by_hand(z, clip, temperature):
    "The loss of SimCLR, one view after the other"
    z, losses = z/z.norm(dim=1, keepdim=True), []
    for i in range(len(z)):
        scores = {k: math.exp(float(z[i] @ z[k])/temperature) for k in range(len(z)) if k != i}
        partner = next(k for k in scores if clip[k] == clip[i])
        losses.append(-math.log(scores[partner]/sum(scores.values())))
    return sum(losses)/len(losses)


@pytest.mark.parametrize('temperature', [0.1, 0.5, 2])
def test_loss_is_that_of_the_formula(temperature):
    z, clip = embeddings()
    assert float(nt_xent(z, clip, temperature)) == pytest.approx(by_hand(z, clip, temperature), rel=1e-5)


def test_known_losses():
    n, t = 4, 0.5
    clip = torch.arange(n).repeat(2)
    collapsed = torch.ones(2*n, 3)
    assert float(nt_xent(collapsed, clip, t)) == pytest.approx(math.log(2*n - 1), rel=1e-6)
    apart = torch.eye(n).repeat(2, 1)
    assert float(nt_xent(apart, clip, t)) == pytest.approx(math.log(1 + (2*n - 2)*math.exp(-1/t)), rel=1e-5)


def test_equal_views_that_oppose_all_others_are_the_minimum():
    clip = torch.tensor([0, 1, 0, 1])
    best = nt_xent(torch.tensor([[1., 0], [-1, 0], [1, 0], [-1, 0]]), clip, 1)
    assert float(best) == pytest.approx(math.log(1 + 2*math.exp(-2)))
    g = torch.Generator().manual_seed(0)
    assert all(nt_xent(torch.randn(4, 2, generator=g), clip, 1) > best for _ in range(50))


def test_loss_knows_no_order_and_no_length():
    z, clip = embeddings()
    order = torch.randperm(len(z), generator=torch.Generator().manual_seed(1))
    assert torch.allclose(nt_xent(z, clip), nt_xent(z[order], clip[order]))
    assert torch.allclose(nt_xent(z, clip), nt_xent(z*torch.rand(len(z), 1).add(0.1), clip), atol=1e-5)


def test_gradient_draws_partners_together():
    z, clip = embeddings()
    z.requires_grad_()
    def alike(z): return float(F.cosine_similarity(z[:6], z[6:]).mean().detach())
    before = alike(z)
    for _ in range(50):
        loss = nt_xent(z, clip)
        grad, = torch.autograd.grad(loss, z)
        assert grad.isfinite().all()
        z = (z - 0.1*grad).detach().requires_grad_()
    assert alike(z) > before


@pytest.mark.parametrize('clip', [[0, 1, 1], [0, 1]])
def test_views_without_partner_are_refused(clip):
    with pytest.raises(ValueError, match='two views or more'): nt_xent(torch.eye(len(clip)), torch.tensor(clip))


def test_one_clip_alone_teaches_nothing(notes):
    assert nt_xent(torch.eye(2), torch.tensor([0, 0])) == 0, 'the last batch of an epoch may be as small as that'
    with pytest.raises(ValueError, match='bs=1'): contrastive_learner(loaders(notes, bs=1))


def test_pairs_found_counts_nearest_neighbours():
    clip = torch.tensor([0, 1, 0, 1])
    assert pairs_found(torch.tensor([[1., 0], [0, 1], [1, 0.1], [0.1, 1]]), clip) == 1
    assert pairs_found(torch.tensor([[1., 0], [1, 0.1], [0, 1], [0.1, 1]]), clip) == 0


# Views

def pictures(n=5, rows=40, frames=63, seed=0):
    return torch.rand(n, 1, rows, frames, generator=torch.Generator().manual_seed(seed))*2 - 1


def test_views_keep_shape_range_and_type_and_leave_the_input():
    x = pictures()
    given = x.clone()
    view = random_view(x, length=0.5)
    assert view.shape == (5, 1, 40, 32) and view.dtype == x.dtype and torch.equal(x, given)
    assert view.isfinite().all() and view.min() >= -1 and view.max() <= 1


def test_views_follow_the_seed_and_differ_from_clip_to_clip():
    x = pictures(1).expand(4, -1, -1, -1)
    def view(seed):
        torch.manual_seed(seed)
        return random_view(x)
    assert torch.equal(view(1), view(1)) and not torch.equal(view(1), view(2))
    assert not any(torch.equal(view(1)[0], v) for v in view(1)[1:])


def test_a_view_with_nothing_to_change_is_the_clip():
    x = pictures()
    assert torch.equal(random_view(x, length=1, shift=0, tilt=0, mask=0), x)


def test_a_view_is_a_stretch_of_the_clip_moved_by_whole_rows():
    x, seen = pictures(1, frames=20).expand(200, -1, -1, -1), set()
    torch.manual_seed(0)
    for view in random_view(x, length=0.25, shift=3, tilt=0, mask=0)[:, 0]:
        matches = [(up, t) for up in range(-3, 4) for t in range(16) if torch.equal(
            view[max(0, up):40 + min(0, up)], x[0, 0, max(0, -up):40 - max(0, up), t:t + 5])]
        assert len(matches) == 1
        seen |= {matches[0]}
        up = matches[0][0]
        assert (view[:up] == -1).all() if up > 0 else (view[40 + up:] == -1).all()
    assert {up for up, _ in seen} == set(range(-3, 4)) and {t for _, t in seen} == set(range(16))


def test_tilt_is_a_slope_over_the_rows_and_a_mask_is_a_band_at_the_floor():
    x = torch.zeros(50, 1, 40, 10)
    torch.manual_seed(0)
    slope = random_view(x, 1, shift=0, tilt=0.3, mask=0)[:, 0, :, 0]
    steps = slope.diff(dim=1)
    assert torch.allclose(steps, steps[:, :1].expand_as(steps), atol=1e-6) and slope.abs().max() <= 0.3
    silent = random_view(x, 1, shift=0, tilt=0, mask=8)[:, 0, :, 0] == -1
    assert 0 < silent.sum(1).max() <= 8 and all(len(set(np.diff(np.flatnonzero(s)))) <= 1 for s in silent.numpy())


@pytest.mark.parametrize('bad', [dict(length=0), dict(length=1.5), dict(mask=40), dict(shift=38), dict(mask=-9)])
def test_views_that_cannot_be_are_refused(bad):
    with pytest.raises(ValueError): random_view(pictures(), **bad)


# Several labels

def test_loss_of_several_labels_is_the_sum_of_theirs():
    g = torch.Generator().manual_seed(0)
    scores = torch.randn(7, 5, generator=g)
    a, b = torch.randint(2, (7,), generator=g), torch.randint(3, (7,), generator=g)
    both = SeveralLabels([2, 3])
    assert torch.allclose(both(scores, a, b), F.cross_entropy(scores[:, :2], a) + F.cross_entropy(scores[:, 2:], b))
    right = ((scores[:, :2].argmax(1) == a).float().mean() + (scores[:, 2:].argmax(1) == b).float().mean())/2
    assert both.accuracy(scores, a, b) == pytest.approx(float(right))
    with pytest.raises(ValueError): both(scores, a)


def test_targets_are_those_of_the_file_names(notes):
    dls = loaders(notes, LABELS)
    dl = dls.train.new(shuffle=False, drop_last=False)
    numbers = [torch.cat(part) for part in zip(*[ys for _, *ys in dl])]
    assert [families[i] for i in numbers[0]] == [family(f) for f in dl.items]
    assert [21 + int(i) for i in numbers[1]] == [pitch(f) for f in dl.items]
    assert supervised_learner(dls).model[1][-1].out_features == len(families) + 88


# Training, and the body that is kept

@pytest.fixture(scope='module')
def labelled(notes):
    set_seed(0, reproducible=True)
    learn = supervised_learner(loaders(notes, LABELS))
    learn.course = quietly(learn, 8)
    return learn


@pytest.fixture(scope='module')
def unlabelled(notes):
    set_seed(0, reproducible=True)
    learn = contrastive_learner(loaders(notes, bs=16))
    learn.course = quietly(learn, 25)
    return learn


@pytest.mark.parametrize('kind', ['labelled', 'unlabelled'])
def test_pretraining_lowers_its_loss(kind, request):
    first, last = request.getfixturevalue(kind).course
    assert np.isfinite(last) and last < 0.95*first


def test_two_views_of_a_batch_bear_the_number_of_their_clip(unlabelled):
    learn, tfm = contrastive_learner(unlabelled.dls), TwoViews(lambda x: x.clone())
    tfm.learn = learn
    x, = learn.dls.train.one_batch()
    learn.xb, learn.yb = (x,), ()
    tfm.before_batch()
    (views,), (clip,) = learn.xb, learn.yb
    plain = x.as_subclass(Tensor)
    assert all(torch.equal(view, plain[i]) for view, i in zip(views, clip)) and clip.bincount().tolist() == [2]*len(x)


def learner(notes, arch='squeezenet1_1'):
    return audio_learner(loaders(notes, LABELS[:1]), arch, pretrained=False)


@pytest.mark.parametrize('way', ['learner', 'body', 'file'])
def test_a_body_is_transferred_and_the_head_stays(notes, unlabelled, tmp_path, way):
    learn = learner(notes)
    head = {k: v.clone() for k, v in learn.model[1].state_dict().items()}
    body = dict(learner=unlabelled, body=unlabelled.model[0],
                file=save_body(unlabelled, tmp_path/'body.safetensors'))[way]
    assert load_body(learn, body) is learn
    for k, v in learn.model[0].state_dict().items(): assert torch.equal(v, unlabelled.model[0].state_dict()[k])
    for k, v in learn.model[1].state_dict().items(): assert torch.equal(v, head[k])
    assert not any(p.requires_grad for p in learn.model[0].parameters())
    assert all(p.requires_grad for p in learn.model[1].parameters())
    before = next(unlabelled.model[0].parameters()).clone()
    learn.unfreeze()
    quietly(learn, 1)
    assert torch.equal(next(unlabelled.model[0].parameters()), before), 'tuning leaves the body it came from alone'


def test_frozen_or_not(notes, unlabelled):
    learn = load_body(learner(notes), unlabelled, freeze=False)
    assert all(p.requires_grad for p in learn.model.parameters())


def test_no_half_written_file_is_left(unlabelled, tmp_path):
    save_body(unlabelled, tmp_path/'body.safetensors')
    assert [p.name for p in tmp_path.iterdir()] == ['body.safetensors']


def test_what_is_no_body_is_refused(notes, unlabelled, tmp_path):
    learn = learner(notes)
    with pytest.raises(FileNotFoundError, match='gone.safetensors'): load_body(learn, tmp_path/'gone.safetensors')
    torch.save(unlabelled.model[0].state_dict(), tmp_path/'pickle.pth')
    with pytest.raises(ValueError, match='pickle.pth is not a safetensors'): load_body(learn, tmp_path/'pickle.pth')
    file = save_body(unlabelled, tmp_path/'body.safetensors')
    with pytest.raises(ValueError, match='squeezenet1_1 do not fit a body of resnet18'):
        load_body(learner(notes, 'resnet18'), file)
    with pytest.raises(ValueError, match='do not fit'): load_body(learn, create_body('resnet18'))
    save_file({'x': torch.zeros(2)}, tmp_path/'other.safetensors')
    with pytest.raises(ValueError, match='another network'): load_body(learn, tmp_path/'other.safetensors')


def test_an_empty_folder_is_named(tmp_path):
    with pytest.raises((FileNotFoundError, ValueError), match=tmp_path.name): loaders(tmp_path)


def test_notes_to_pretrain_on_are_of_no_instrument_of_the_other_side(notes):
    sides = [get_audio_files(notes/side) for side in ('train', 'valid')]
    assert check_groups(sides, instrument).groups.min() > 0
    dls = loaders(notes/'train')
    check_groups(([*dls.train_ds.items, *dls.valid_ds.items], sides[1]), instrument)


# ImageNet's weights from a file

def test_weights_from_a_file(tmp_path):
    import torchvision
    network = torchvision.models.squeezenet1_1()
    torch.save(network.state_dict(), file := tmp_path/'weights.pth')
    own = network.features[0].weight
    for first, wanted in ('sum', own.sum(1, keepdim=True)), ('mean', own.mean(1, keepdim=True)):
        body = create_body('squeezenet1_1', pretrained=file, first=first)
        assert torch.equal(body[0].weight, wanted)
        assert torch.equal(body[3].squeeze.weight, network.features[3].squeeze.weight)
    with pytest.raises(FileNotFoundError, match='gone.pth'): create_body('squeezenet1_1', pretrained=tmp_path/'gone.pth')
    with pytest.raises(ValueError, match='no weights of resnet18'): create_body('resnet18', pretrained=file)
    with pytest.raises(ValueError, match="'sum' or 'mean'"): create_body('squeezenet1_1', first='max')


def test_a_file_of_weights_runs_nothing(tmp_path):
    class Run:
        def __reduce__(self): return print, ('executed',)
    torch.save(Run(), tmp_path/'bad.pth')
    with pytest.raises(ValueError, match='bad.pth holds no weights'):
        create_body('squeezenet1_1', pretrained=tmp_path/'bad.pth')


# What the chapter says of the larger run

def test_the_table_of_the_larger_run_is_whole():
    "Every start with every number of notes on the same draws, three or more; shares that can be"
    table = pd.read_csv(files('audio_tutorial')/'results'/'pretrain.csv')
    starts = table[table['first'].isna()]
    assert set(starts.start) == {'random', 'ImageNet', 'labels', 'views'}
    assert starts.seed.nunique() >= 3 and len(starts) == 4*starts.seed.nunique()*starts.per_class.nunique()
    assert not starts.duplicated(['seed', 'start', 'per_class']).any() and (starts.real_notes > 0).all()
    shares = starts[['probe', 'accuracy', 'real']]
    assert ((shares >= 0) & (shares <= 1)).all(axis=None)
    first = table[table['first'].notna()]
    assert set(first['first']) == {'sum', 'mean', 'three channels'} and (first.groupby('first').size() >= 3).all()
