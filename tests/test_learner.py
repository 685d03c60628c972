"Training on sound: the network, the loaders, and a learner that can be used afterwards"
import pickle
import random

import numpy as np
import pytest
import soundfile as sf
import torch
from fastai.data.load import SkipItemException
from fastai.vision.all import (CategoryBlock, DataBlock, ImageBlock, ItemTransform, Tensor, accuracy, get_files,
                               load_learner, set_seed)
from torch import nn

from audio_tutorial import transforms
from audio_tutorial.batches import MelSpectrogram
from audio_tutorial.arrays import AudioError
from audio_tutorial.files import get_audio_files
from audio_tutorial.clips import load_clip
from audio_tutorial.learner import AudioBlock, audio_learner, in_memory, in_order
from audio_tutorial.transforms import BatchTransform, LoadClip, TensorSpectrogram
from audio_tutorial.mel import MelSettings
from audio_tutorial.folders import ParentSplitter
from audio_tutorial.notes import family, make_notes

SETTINGS = MelSettings()


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
    plain = loaders(notes)
    assert peak(dls.valid) == peak(plain.valid) and peak(in_order(dls.train)) == peak(plain.train.new(shuffle=False))
    assert peak(dls.train) < 0.06


def test_another_loader_in_between_changes_nothing(notes):
    "Validation in the middle of an epoch does not end augmentation"
    dls = loaders(notes, [BatchTransform(Scale(0.01), 1)])
    def peak(batch): return float(batch[0].waveform.abs().max())
    for batch in dls.train: assert peak(batch) < 0.02 < peak(dls.valid.one_batch())


def test_a_module_knows_its_place(notes):
    module = Scale(0.5)
    assert BatchTransform(module).order == 0
    module.order = 60
    assert BatchTransform(module).order == 60 and BatchTransform(module, 40).order == 40
    assert pickle.loads(pickle.dumps(BatchTransform(module))).order == 60


def test_after_the_spectrogram_by_order(notes):
    dls = loaders(notes, [BatchTransform(Scale(0.5), 60)])
    x, _ = dls.train.one_batch()
    assert float(x.abs().max()) <= 0.5 and x.waveform is not None


def test_crops_are_random_in_training_and_central_otherwise(tmp_path):
    sf.write(tmp_path/'x.wav', np.linspace(0, 0.9, 32000), 16000, subtype='FLOAT')
    load = LoadClip(SETTINGS, 1)
    random.seed(0)
    assert float(load(tmp_path/'x.wav')[0]) == pytest.approx(0.225, abs=1e-3)
    assert len({float(load(tmp_path/'x.wav', split_idx=0)[0]) for _ in range(5)}) == 5
    assert float(load(tmp_path/'x.wav', split_idx=1)[0]) == pytest.approx(0.225, abs=1e-3)
    assert len(LoadClip(SETTINGS, 3)(tmp_path/'x.wav')) == 48000


def test_items_go_through_all_that_changes_them(notes):
    class Louder(ItemTransform):
        def encodes(self, item): return item[0]*2, *item[1:]

    class Skip(ItemTransform):
        def encodes(self, item): raise SkipItemException()

    def block(target, get_y, **kwargs):
        return DataBlock(blocks=(AudioBlock(SETTINGS), target), splitter=ParentSplitter(), get_items=get_audio_files,
                         get_y=get_y, **kwargs).dataloaders(notes, bs=4, num_workers=0, shuffle=False)
    plain = block(CategoryBlock, family)
    item = plain.train.do_item(0)
    assert len(item) == 2 and type(item[0]).__name__ == 'TensorAudio' and item[0].dtype == torch.int16
    louder = block(CategoryBlock, family, item_tfms=Louder())
    assert torch.equal(louder.train.do_item(0)[0], item[0]*2)
    picture = block(ImageBlock, lambda file: np.zeros((4, 5, 3), 'uint8'))
    assert picture.train.do_item(0)[1].shape == (3, 4, 5)
    def no_label(file): raise SkipItemException()
    louder.train.after_item.add(Skip())
    assert louder.train.do_item(0) is None
    plain.train.create_item = no_label
    assert plain.train.do_item(0) is None


def test_a_bad_file_is_named_through_a_worker(tmp_path, notes):
    for side in 'train', 'valid':
        (tmp_path/side).mkdir()
        for path in sorted((notes/side).glob('*.wav'))[:4]: (tmp_path/side/path.name).write_bytes(path.read_bytes())
    bad = sorted((tmp_path/'valid').glob('*.wav'))[2]
    bad.write_bytes(bad.read_bytes()[:1000])
    dls = loaders(tmp_path, bs=4, num_workers=1)
    with pytest.raises(AudioError, match=bad.name): list(dls.valid)
    with pytest.raises(AudioError, match=bad.name): in_memory(dls)


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


# 16 bits

class Look(nn.Module):
    "Keeps what it was given"
    def forward(self, x):
        self.seen = x
        return x


def test_16_bit_clips_travel_as_whole_numbers_and_modules_see_floats(notes):
    look = Look()
    dls = loaders(notes, [BatchTransform(look, 0)])
    item, batch = dls.valid_ds[0][0], dls.valid.one_batch()[0]
    assert item.dtype == torch.int16 and look.seen.dtype == torch.float32
    assert torch.equal(look.seen[0].as_subclass(Tensor), item.as_subclass(Tensor)/32768)
    assert batch.waveform.dtype == torch.float32


@pytest.mark.parametrize('other', [dict(subtype='PCM_24'), dict(subtype='FLOAT'), dict(samplerate=8000), dict(stereo=1)],
                         ids=str)
def test_a_batch_of_16_bit_and_other_clips_is_right(tmp_path, notes, other):
    for side in 'train', 'valid':
        (tmp_path/side).mkdir()
        for i, path in enumerate(sorted((notes/'valid').glob('*.wav'))[:4]):
            samples, rate = sf.read(path)
            how = dict(samplerate=rate, subtype='PCM_16') | (other if i % 2 else {})
            if how.pop('stereo', False): samples = np.stack([samples, samples*0.5], axis=1)
            sf.write(tmp_path/side/path.name, samples, **how)
    for keep in lambda dls: dls, in_memory:
        x, _ = keep(loaders(tmp_path, bs=4, duration=2)).valid.one_batch()
        for wave, path in zip(x.waveform, sorted((tmp_path/'valid').glob('*.wav'))):
            clip, _ = load_clip(path, 16000)
            middle = (len(clip) - 32000)//2
            assert np.array_equal(wave.numpy(), clip[middle:middle + 32000])


# From memory

@pytest.fixture(scope='module')
def uneven(tmp_path_factory, notes):
    "The notes, cut to lengths from 1 to 3.8 s"
    root = tmp_path_factory.mktemp('uneven')
    for i, path in enumerate(sorted(notes.rglob('*.wav'))):
        to = root/path.relative_to(notes)
        to.parent.mkdir(exist_ok=True)
        samples, rate = sf.read(path, dtype='int16')
        sf.write(to, samples[:16000 + 16*(i*997 % 2800)], rate, 'PCM_16')
    return root


def keep_files(dls): return dls


def two_epochs(dls):
    "Everything that both loaders give in two epochs"
    random.seed(0)
    return [t for _ in range(2) for dl in (dls.train, dls.valid) for x, y in dl for t in (x.waveform, x, y)]


@pytest.mark.parametrize('folder, duration', [('notes', 4), ('notes', 1.5), ('uneven', 2)])
def test_memory_serves_what_the_files_give(request, folder, duration):
    made = []
    for keep in keep_files, in_memory:
        set_seed(1)
        made.append(two_epochs(keep(loaders(request.getfixturevalue(folder), duration=duration))))
    assert len(made[0]) == len(made[1]) == 2*3*(5 + 3)
    for a, b in zip(*made): assert type(a) is type(b) and torch.equal(a, b)
    first, second = made[1][:15], made[1][24:39]
    assert not all(torch.equal(a, b) for a, b in zip(first, second)), 'each epoch has an order of its own'


def test_losses_are_those_of_the_files(tmp_path, uneven):
    losses = []
    for keep in keep_files, in_memory:
        set_seed(2, reproducible=True)
        learn = audio_learner(keep(loaders(uneven, duration=1)), 'squeezenet1_1', pretrained=False, path=tmp_path)
        with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(2)
        losses.append([float(loss) for loss in learn.recorder.losses + learn.recorder.values[-1]])
    assert losses[0] == losses[1] and len(losses[0]) > 10


def test_memory_holds_whole_clips_as_whole_numbers(uneven):
    dls = in_memory(loaders(uneven, duration=2, num_workers=1))
    memory, lengths = dls.train.dataset._memory, [sf.info(f).frames for f in dls.train.items]
    assert memory.samples.dtype == torch.int16
    assert len(memory.samples) == sum(max(32000, n) for n in lengths)
    assert dls.train.fake_l.num_workers == 0
    assert dls.train.new(shuffle=False).dataset._memory is memory


@pytest.mark.skipif(not torch.cuda.is_available(), reason='no CUDA device on this machine')
def test_memory_on_a_gpu_serves_what_the_files_give(uneven):
    made = []
    for keep, device in (keep_files, 'cpu'), (keep_files, 'cuda'), (in_memory, 'cuda'):
        set_seed(1)
        dls = keep(loaders(uneven, duration=2, device=torch.device(device)))
        made.append([t.cpu() for t in two_epochs(dls)])
    assert dls.train.dataset._memory.samples.is_cuda and dls.train.dataset._memory.samples.dtype == torch.int16
    for cpu, files, memory in zip(*made):
        assert torch.equal(files, memory)
        assert (files.float() - cpu.float()).abs().max() < 0.01


def test_from_memory_everything_else_is_as_ever(tmp_path, notes, monkeypatch):
    import IPython.display
    shown = []
    monkeypatch.setattr(IPython.display, 'display', shown.append)
    dls = in_memory(loaders(notes))
    dls.show_batch(max_n=1)
    assert shown[0].data.count('<audio') == 1
    learn = audio_learner(dls, 'squeezenet1_1', pretrained=False, path=tmp_path)
    paths = sorted((notes/'train').glob('*.wav'))[:3] # not in the loaders' order
    with learn.no_bar():
        alone = [learn.predict(p)[2] for p in paths]
        many, _ = learn.get_preds(dl=learn.dls.test_dl(paths))
        assert len(learn.get_preds(ds_idx=1)[0]) == len(dls.valid_ds)
        learn.export('small.pkl')
    again = load_learner(tmp_path/'small.pkl')
    with again.no_bar(): alone.append(again.predict(paths[0])[2])
    assert torch.allclose(torch.stack(alone), many[[0, 1, 2, 0]], atol=1e-5)
    weights = sum(p.nbytes for p in learn.model.parameters())
    assert (tmp_path/'small.pkl').stat().st_size < 1.5*weights, 'the clips are not in it'
    assert hasattr(dls.valid.dataset, '_memory'), 'and the learner still has them'


class ByItem(ItemTransform):
    def encodes(self, item): return item


def test_what_memory_cannot_serve_is_refused(notes):
    def block(*blocks, **kwargs):
        return DataBlock(blocks=blocks, get_items=lambda p: sorted(get_files(p, extensions='.wav')),
                         splitter=ParentSplitter(), **kwargs).dataloaders(notes, num_workers=0, bs=4)
    audio = AudioBlock(SETTINGS)
    for dls, reason in ((block(audio, CategoryBlock, get_y=family, item_tfms=ByItem()), "'ByItem'.*batch_tfms"),
                        (block(audio, audio), 'one AudioBlock'),
                        (block(CategoryBlock, CategoryBlock, get_x=family, get_y=family), 'loaders of an AudioBlock')):
        with pytest.raises(ValueError, match=reason): in_memory(dls)


# The learner

def test_what_earlier_versions_stored_is_found():
    "Their pickles name the module that the transforms were in"
    for name in 'TensorAudio', 'TensorSpectrogram', 'LoadClip', 'AudioToFloat', 'BatchTransform':
        assert pickle.loads(f'caudio_tutorial.learner\n{name}\n.'.encode()) is getattr(transforms, name)


def test_a_learner_with_a_head_of_its_own(notes):
    learn = audio_learner(loaders(notes), 'squeezenet1_1', pretrained=False,
                          head=lambda n_in, n_out: nn.Sequential(nn.Flatten(), nn.LazyLinear(n_out)))
    assert learn.model(learn.dls.one_batch()[0]).shape == (8, learn.dls.c)


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


def test_new_files_bring_their_labels(notes):
    dls = loaders(notes)
    files = sorted((notes/'valid').glob('*.wav'))
    _, labels = dls.test_dl(files, with_labels=True, bs=len(files)).one_batch()
    assert [dls.vocab[i] for i in labels] == [family(f) for f in files]
