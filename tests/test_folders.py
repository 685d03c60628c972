"Chapter 5: what `read_table` finds in a table, what `find_clips` finds in a folder, and how clips are split"
import hashlib
import json
import os
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile as sf
from audio_tutorial.folders import find_clips, hold_out, read_table, split_clips
from audio_tutorial.notes import family, instrument, make_notes, split_instruments

RATE = 16000


def tone(path, f, seconds=0.6, rate=44100):
    "A tone in a file, with a little noise"
    path.parent.mkdir(parents=True, exist_ok=True)
    rng, t = np.random.default_rng(zlib.crc32(path.name.encode()) + f), np.arange(int(seconds*rate))/rate
    sf.write(path, 0.3*np.sin(2*np.pi*f*t) + rng.normal(0, 0.01, len(t)), rate)


@pytest.fixture
def folder(tmp_path):
    "Twenty clips, in two folders"
    for k in range(20): tone(tmp_path/'clips'/'ab'[k % 2]/f'{k:02d}.wav', 100, 0.1, RATE)
    return tmp_path/'clips'


# ---------------------------------------------------------------------------------------------- a row for each clip

def test_a_folder_of_classes(two_tones):
    table = find_clips(two_tones)
    assert len(table) == 16 and set(table.label) == {'low tone', 'high tone'}
    assert all(Path(p).is_file() and Path(p).parent.name == label for p, label in zip(table.path, table.label))
    assert set(find_clips(two_tones, group=r'(s\d)').group) == {'s0', 's1', 's2', 's3'}
    assert find_clips(two_tones, group=r'\w+ tone/s\d').group.nunique() == 8
    with pytest.raises(ValueError, match='x.*s0 0.ogg'): find_clips(two_tones, group='x')


def test_the_first_folder_is_the_label(tmp_path):
    tone(tmp_path/'dog'/'monday'/'a.wav', 100)
    assert find_clips(tmp_path).label.tolist() == ['dog']
    tone(tmp_path/'loose.wav', 100)
    with pytest.raises(ValueError, match='loose.wav'): find_clips(tmp_path)


def test_a_table_with_folds_groups_and_several_labels(two_tones, tmp_path):
    table = find_clips(two_tones)
    rows = pd.DataFrame(dict(path=table.path, label=[f'{l} ; tone' for l in table.label], fold=[i % 4 for i in range(16)],
                             group=[Path(p).stem.split()[0] for p in table.path]))
    rows.to_csv(tmp_path/'x.csv', index=False)
    found = find_clips(tmp_path/'x.csv', label_delim=';')
    assert found.label[0] == 'high tone;tone' and found.group.nunique() == 4
    assert split_clips(found, 'fold=2', label_delim=';').valid.tolist() == [i % 4 == 2 for i in range(16)]
    with pytest.raises(ValueError, match='no column.*folt'): split_clips(found, 'folt=2')
    with pytest.raises(ValueError, match='leaves no clip for validation'): split_clips(found, 'fold=9')


# ------------------------------------------------------------------------------------------------------------ the split

def random_table(n, n_labels, n_groups, seed):
    rng = np.random.default_rng(seed)
    labels = [f'l{i % n_labels}' for i in range(n)]
    return pd.DataFrame(dict(path=[f'{i}.wav' for i in range(n)], label=labels,
                             group=[f'{l}{rng.integers(n_groups)}' for l in labels]))


@pytest.mark.parametrize('seed', range(5))
def test_no_group_is_on_both_sides_and_every_label_is(seed):
    table = split_clips(random_table(200, 4, 10, seed), 0.25, seed)
    assert (table.groupby('group').valid.nunique() == 1).all() and (table.groupby('label').valid.nunique() == 2).all()
    assert 0.1 < table.valid.mean() < 0.45


def test_groups_of_many_labels_and_several_labels_per_clip():
    table = random_table(200, 4, 10, 0)
    table['group'] = [f'g{i % 20}' for i in range(200)]
    assert (split_clips(table, 0.2).groupby('group').valid.nunique() == 1).all()
    table['label'] = [f'l{i % 4};l{i % 7};rare' if i == 9 else f'l{i % 4};l{i % 7}' for i in range(200)]
    split = split_clips(table, 0.2, label_delim=';')
    assert (split.groupby('group').valid.nunique() == 1).all() and not split.valid[9]


def test_seed_and_share():
    table = random_table(100, 2, 50, 0).drop(columns='group')
    a, b, c = (split_clips(table, 0.2, seed).valid for seed in (1, 1, 2))
    assert a.equals(b) and not a.equals(c) and a.sum() == 20
    for share in 0, 1, 1.5, -1, 'nan':
        with pytest.raises(ValueError, match='share'): split_clips(table, share)


def test_own_split_and_another_folder(two_tones, tmp_path):
    table = find_clips(two_tones).assign(split=['train', 'valid', 'test', 'train']*4)
    split = split_clips(table)
    assert len(split) == 12 and split.valid.sum() == 4
    tone(tmp_path/'low tone'/'x.wav', 200)
    split = split_clips(find_clips(two_tones), tmp_path)
    assert split.valid.sum() == 1 and len(split) == 17


def test_sides_that_cannot_be_are_refused():
    one = pd.DataFrame(dict(path=['a', 'b', 'c'], label=['x', 'x', 'y']))
    with pytest.raises(ValueError, match="'y' has one clip"): split_clips(one)
    with pytest.raises(ValueError, match="'x' has one clip"): split_clips(one.assign(group=['1', '1', '2']))


# What these draws were when `split_instruments` and `split_clips` each had an algorithm of their own
SEEDS = 0, 1, 2, 7, 42
INSTRUMENTS = [
    ('acoustic', 1/3, ['b8b4006edc07', 'c87abebb7487', '57d58c0c9177', '0d908fe78789', '26a2400d00ec']),
    ('acoustic', 1/2, ['d063f244872d', 'fd90c2418961', 'b22d1c2fa32a', 'cd472190e8a7', '71a48d3ce37a']),
    ('all', 1/3, ['61ef977dae6c', '05736c5749db', 'a4c2a9bba31c', '4317ec0c5ab8', '8975ccc62b37']),
    ('all', 1/2, ['57f9650fbc8f', '2d3247bd9554', '3d0d7737c0af', '0cf297b40201', 'bf4a7c76ce76'])]
CLIPS = [
    (None, [], 0.2, ['56df1e2ca683', 'b9b61726c0a7', '06293737c318', 'c697e75f5683', '4c73014758ce']),
    (None, [], 0.37, ['02c71df89ab2', 'cd5455796f0b', '139775634103', '780f2dbc458b', 'fcd7138acaa5']),
    (None, ['group'], 0.2, ['bbe525dac0b9', '59a70714c600', 'e9fb118684a6', 'b138a9d1c24b', '795a50e57099']),
    (None, ['group'], 0.37, ['df0724a24d3a', 'afadde764c24', '2b2a961c37cd', 'ffcbc59cc141', 'd7b3c5f10d65']),
    (';', [], 0.2, ['1ed2d80bc714', '6db69dc01fd9', 'e80d8e7e2521', '16b48e427517', '0426745a8c18']),
    (';', [], 0.37, ['13b297b0a6df', '8d76058c2ab2', '9e9d0bb338ad', '0d9972a41784', '2902a3c79614']),
    (';', ['group'], 0.2, ['08875b77115d', 'cc8df58ec485', '7cf59d1f58f0', 'b2efb2733a9e', '3b80f99d9c0c']),
    (';', ['group'], 0.37, ['fa2b3a64ef99', 'a50cc6f0808b', 'e11a3e2474e0', '173817934c8e', '1eadd01d1266'])]


def digest(x): return hashlib.sha256(json.dumps(x).encode()).hexdigest()[:12]


@pytest.mark.parametrize('source, share, recorded', INSTRUMENTS)
def test_instruments_are_drawn_as_ever(source, share, recorded):
    assert [digest(split_instruments(seed, share, source)) for seed in SEEDS] == recorded


def uneven(seed, delim):
    "120 clips of five labels, some of them rare, and 40 groups that have clips of several labels"
    rng = np.random.default_rng(seed)
    labels = rng.choice(list('abcde'), 120, p=[.5, .2, .15, .1, .05])
    if delim: labels = [delim.join(sorted({l, m})) for l, m in zip(labels, rng.permutation(labels))]
    return pd.DataFrame(dict(path=[f'{i}.wav' for i in range(120)], label=labels, group=rng.integers(0, 40, 120)))


@pytest.mark.parametrize('delim, drop, share, recorded', CLIPS)
def test_clips_are_drawn_as_ever(delim, drop, share, recorded):
    found = [split_clips(uneven(seed, delim).drop(columns=drop), share, seed, delim).valid.tolist() for seed in SEEDS]
    assert [digest(valid) for valid in found] == recorded


def test_a_group_of_two_labels_is_drawn_once():
    members = dict(rare=['x', 'y'], common=['x', 'y', *map(str, range(8))])
    for seed in range(20):
        held = hold_out(members, 0.5, seed)
        assert len(held & {'x', 'y'}) == 1 and len(held) == 5
        assert held == hold_out(members, 0.5, seed)
    assert hold_out(dict(only=['x']), 0.5, 0) == set() == hold_out({}, 0.5, 0)


def test_what_is_drawn_does_not_depend_on_the_kind_of_the_groups():
    for seed in range(20): assert {f'g{g}' for g in hold_out(dict(a=[*range(30)]), 0.3, seed)} == hold_out(
        dict(a=[f'g{g}' for g in range(30)]), 0.3, seed)


# ------------------------------------------------------------------------------------------------------------ the table

HEADER = 'path,label,group,split,tags'
ROWS = ['a/00.wav,dog,rex,train,loud;near', 'a/02.wav,dog,rex,train,', 'b/01.wav,None,tom,valid,near', 'b/03.wav,007,tom,valid, far ; ;loud']


def table_of(folder, rows=ROWS, header=HEADER, **kwargs):
    (folder/'clips.csv').write_text('\n'.join([header, *rows]))
    return read_table(folder/'clips.csv', **kwargs)


def test_paths_are_relative_to_the_table(folder, monkeypatch):
    monkeypatch.chdir(folder)
    for csv in folder/'clips.csv', 'clips.csv':
        table = table_of(folder)
        assert [os.path.samefile(p, folder/r.split(',')[0]) for p, r in zip(table.path, ROWS)] == [True]*4
    absolute = table_of(folder, [f'{folder}/{row}' for row in ROWS])
    assert absolute.path.tolist() == table.path.tolist()


def test_labels_stay_text(folder):
    assert table_of(folder).label.tolist() == ['dog', 'dog', 'None', '007']


def test_other_columns_have_other_names_and_are_kept(folder):
    rows = [f'{row},{k}' for k, row in enumerate(ROWS)]
    table = table_of(folder, rows, 'file,species,site,set,tags,age', path='file', label='species', group='site', split='set')
    assert table.columns.tolist() == ['file', 'species', 'site', 'set', 'tags', 'age'] and table.age.tolist() == [0, 1, 2, 3]


def test_several_labels(folder):
    assert table_of(folder, label='tags', label_delim=';').tags.tolist() == ['loud;near', '', 'near', 'far;loud']


@pytest.mark.parametrize('rows, header, error, said', [
    (ROWS, 'file,label,group,split,tags', ValueError, 'no column path, only file, label'),
    (ROWS, 'path,label,groups,split,tags', ValueError, 'no column group'),
    ([*ROWS, ROWS[1]], HEADER, ValueError, 'line 6: the same path as in a line above.*02.wav'),
    ([*ROWS, './a/../a/00.wav,cat,c,train,'], HEADER, ValueError, 'line 6: the same path as in a line above'),
    (['a/00.wav, ,rex,train,', *ROWS[1:]], HEADER, ValueError, 'line 2: no label'),
    ([',dog,rex,train,', *ROWS[1:]], HEADER, ValueError, 'line 2: no path'),
    ([*ROWS[:3], 'b/03.wav,cat,,valid,'], HEADER, ValueError, 'line 5: no group'),
    ([*ROWS[:3], 'b/03.wav,cat,c,elsewhere,'], HEADER, ValueError, 'line 5: split must be one of train, valid, test'),
    ([*ROWS, 'a/gone.wav,dog,rex,train,'], HEADER, FileNotFoundError, 'line 6: no file .*gone.wav'),
    ([f'a/gone{k}.wav,dog,rex,train,' for k in range(5)], HEADER, FileNotFoundError, 'line 2, 3, 4 and 2 more: no file'),
    ([], '', ValueError, 'cannot read .*clips.csv'),
    ([*ROWS, 'a,b,c,d,e,f,g,h'], HEADER, ValueError, 'cannot read .*line 6')])
def test_what_is_wrong_in_a_table_is_said_with_its_line(folder, rows, header, error, said):
    with pytest.raises(error, match=said) as e: table_of(folder, rows, header, group='group', split='split')
    assert 'clips.csv' in str(e.value)


def test_no_table(tmp_path):
    with pytest.raises(FileNotFoundError, match='no table .*nowhere.csv'): read_table(tmp_path/'nowhere.csv')


# ---------------------------------------------------------------------------------- into fastai, by each kind of label

@pytest.fixture(scope='module')
def notes(tmp_path_factory): return make_notes(tmp_path_factory.mktemp('notes')/'made', 40, 20, seed=0, progress=False)


def loaders(block, source):
    import torch
    return block.dataloaders(source, bs=4, num_workers=0, device=torch.device('cpu'))


def test_a_table_trains(tmp_path, notes):
    "Files, labels and split all come from a CSV file; the split is by group"
    from fastai.vision.all import CategoryBlock, ColReader, ColSplitter, DataBlock
    from audio_tutorial.learner import AudioBlock
    paths = sorted(notes.rglob('*.wav'))
    lines = [f'{p.relative_to(notes)},{family(p)},{instrument(p)},{p.parent.name}' for p in paths]
    table = table_of(notes, lines, 'path,label,group,split', group='group', split='split')
    dls = loaders(DataBlock((AudioBlock(), CategoryBlock), get_x=ColReader('path'), get_y=ColReader('label'),
                            splitter=ColSplitter('split', on='valid')), table)
    assert (len(dls.train_ds), len(dls.valid_ds)) == (40, 20)
    x, y = dls.valid.one_batch()
    assert x.shape == (4, 1, 40, 251) and dls.vocab[y[0]] == table.label[table.split == 'valid'].iloc[0]


def test_several_labels_train(tmp_path, notes):
    from fastai.vision.all import ColReader, ColSplitter, DataBlock, MultiCategoryBlock
    from audio_tutorial.learner import AudioBlock
    paths = sorted(notes.rglob('*.wav'))
    lines = [f'{p.relative_to(notes)},{family(p)};{"even" if k % 2 else ""},{p.parent.name}' for k, p in enumerate(paths)]
    table = table_of(notes, lines, 'path,tags,split', label='tags', label_delim=';', split='split')
    dls = loaders(DataBlock((AudioBlock(), MultiCategoryBlock), get_x=ColReader('path'), splitter=ColSplitter('split', on='valid'),
                            get_y=ColReader('tags', label_delim=';')), table)
    assert 'even' in dls.vocab and '' not in dls.vocab
    assert dls.valid.one_batch()[1].sum(1).tolist() == [1 + (k % 2) for k in range(40, 44)]
