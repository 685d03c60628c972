"Published sets as tables, from tiny folders of their layouts"
import numpy as np, pytest, soundfile as sf

from audio_tutorial.datasets import AudioDataset, esc50, fsdd, speech_commands
from audio_tutorial.folders import find_clips, split_clips


def silence(file):
    file.parent.mkdir(parents=True, exist_ok=True)
    sf.write(file, np.zeros(100), 16000)


def make_esc50(root):
    "meta/esc50.csv and audio/: names are FOLD-RECORDING-TAKE-CLASS.wav; two takes of each recording"
    lines = ['filename,fold,target,category,esc10,src_file,take']
    for fold in range(1, 6):
        for target, category in enumerate(('dog', 'rain', 'crying_baby')):
            for take in 'AB':
                name, source = f'{fold}-{100*fold + target}-{take}-{target}.wav', 100*fold + target
                silence(root/'audio'/name)
                lines.append(f'{name},{fold},{target},{category},True,{source},{take}')
    (root/'meta').mkdir()
    (root/'meta'/'esc50.csv').write_text('\n'.join(lines) + '\n')


def make_fsdd(root):
    for digit in 0, 7:
        for who in 'jackson', 'theo':
            for n in range(10): silence(root/'recordings'/f'{digit}_{who}_{n}.wav')
    (root/'README.md').touch()


def make_speech_commands(root):
    for word in 'yes', 'no':
        for who in '0a7c2a8d', '1b4c9b89', '2f813234':
            for n in 0, 1: silence(root/word/f'{who}_nohash_{n}.wav')
    silence(root/'_background_noise_'/'pink_noise.wav')
    for name in 'README.md', 'LICENSE': (root/name).touch()
    for name, who in ('validation', '1b4c9b89'), ('testing', '2f813234'):
        (root/f'{name}_list.txt').write_text(''.join(f'{w}/{who}_nohash_{n}.wav\n' for w in ('yes', 'no') for n in (0, 1)))


MAKE = dict(esc50=(esc50, make_esc50, 30), fsdd=(fsdd, make_fsdd, 40), speech_commands=(speech_commands, make_speech_commands, 12))


@pytest.fixture(params=MAKE)
def unpacked(request, tmp_path):
    dataset, make, n = MAKE[request.param]
    (tmp_path/'set').mkdir()
    make(tmp_path/'set')
    return dataset, tmp_path/'set', n


@pytest.mark.filterwarnings('error')
def test_a_row_for_each_clip(unpacked):
    dataset, root, n = unpacked
    table = dataset.table(str(root))
    assert len(table) == n and {'path', 'label', 'group'} <= {*table} and table.path.is_unique
    assert all(sf.info(p).frames == 100 for p in table.path)
    for t in dataset.splits(root): assert set(t.label[t.valid]) == set(t.label[~t.valid]) == set(table.label)


def test_what_is_missing_is_named(unpacked):
    dataset, root, _ = unpacked
    (root/dataset.holds[-1]).rename(root/'elsewhere')
    with pytest.raises(FileNotFoundError, match=f'set holds no {dataset.holds[-1]}: .*{dataset.name}.*{dataset.url}'):
        dataset.table(root)
    with pytest.raises(FileNotFoundError, match=f'no folder .*nowhere.*{dataset.url}'): dataset.table(root/'nowhere')


def test_each_fold_of_esc50_is_for_validation_once(tmp_path):
    make_esc50(tmp_path)
    tables = esc50.splits(tmp_path)
    assert len(tables) == 5 and sum(t.valid.astype(int) for t in tables).eq(1).all()
    for fold, t in enumerate(tables, 1):
        assert set(t.fold[t.valid]) == {fold} and t.groupby('group').valid.nunique().eq(1).all()
    assert set(tables[0].label) == {'dog', 'rain', 'crying_baby'}


def test_the_first_five_recordings_of_fsdd_are_for_testing(tmp_path):
    make_fsdd(tmp_path)
    t, = fsdd.splits(tmp_path)
    number = t.path.str.extract(r'_(\d+)\.wav$')[0].astype(int)
    assert t.valid.eq(number < 5).all() and set(t.label) == {'0', '7'} and set(t.group) == {'jackson', 'theo'}
    assert split_clips(fsdd.table(tmp_path), 0.5).groupby('group').valid.nunique().eq(1).all()
    silence(tmp_path/'recordings'/'odd.wav')
    with pytest.raises(ValueError, match='odd.wav is not named like 7_jackson_32.wav'): fsdd.table(tmp_path)


def test_two_lists_split_speech_commands(tmp_path):
    make_speech_commands(tmp_path)
    table = speech_commands.table(tmp_path)
    assert table.groupby('group').split.first().to_dict() == {'0a7c2a8d': 'train', '1b4c9b89': 'valid', '2f813234': 'test'}
    assert table.groupby('group').split.nunique().eq(1).all() and set(table.label) == {'no', 'yes'}
    t, = speech_commands.splits(tmp_path)
    assert len(t) == 8 and set(t.group[t.valid]) == {'1b4c9b89'}


def test_a_new_one_is_three_lines(tmp_path):
    for kind in 'ab':
        for dog in range(5): silence(tmp_path/kind/f'{dog}-0.wav')
    new = AudioDataset('Barks', 'https://example.org/barks', 'CC0 1.0', lambda f: find_clips(f, group=r'(\d)-\d'))
    assert len(new.table(tmp_path)) == 10
    t, = new.splits(tmp_path)
    assert t.valid.sum() == 2 and t.groupby('group').valid.nunique().eq(1).all()
    assert not new.splits(tmp_path, seed=1)[0].valid.equals(t.valid) or not new.splits(tmp_path, seed=2)[0].valid.equals(t.valid)
    with pytest.raises(AttributeError): new.name = 'other'
