"Chapter 21: training on a table of clips"
import numpy as np, pandas as pd, pytest, soundfile as sf
from conftest import tone

from audio_tutorial.classifier import AudioClassifier
from audio_tutorial.folders import find_clips, split_clips
from audio_tutorial.report import clip_report
from audio_tutorial.train import readable_clips, save_confusion, train_clips, usual_duration


def test_sides_that_cannot_be_are_refused():
    one = pd.DataFrame(dict(path=['a', 'b', 'c'], label=['x', 'x', 'y']))
    with pytest.raises(ValueError, match='one class'): train_clips(one[:2].assign(valid=[True, False]))
    with pytest.raises(ValueError, match='no training clip.*y'): train_clips(one.assign(valid=[False, False, True]))


def test_usual_duration(two_tones):
    paths = find_clips(two_tones).path.tolist()
    seconds = sorted(sf.info(p).duration for p in paths)
    assert seconds[-4] <= usual_duration(paths) <= seconds[-1] + 0.1


def test_the_same_seed_gives_the_same_classifier(two_tones):
    table = split_clips(find_clips(two_tones))
    a, b = (AudioClassifier.from_learner(train_clips(table, duration=0.5, arch='squeezenet1_1', pretrained=False, epochs=1,
                                                     bs=4)).predict(two_tones) for _ in range(2))
    assert np.abs(a[['low tone']].to_numpy() - b[['low tone']].to_numpy()).max() < 1e-5


def test_fewer_clips_than_a_batch(two_tones):
    table = split_clips(find_clips(two_tones)).groupby(['label', 'valid']).head(1)
    learn = train_clips(table.reset_index(drop=True), duration=0.5, arch='squeezenet1_1', pretrained=False, epochs=1)
    assert len(learn.recorder.losses) == 1


@pytest.mark.parametrize('delim', [None, ';'])
def test_a_confusion_matrix_is_a_picture(two_tones, tmp_path, delim):
    table = split_clips(find_clips(two_tones)).groupby(['label', 'valid']).head(2).reset_index(drop=True)
    if delim: table['label'] += ';tone'
    learn = train_clips(table, duration=0.5, arch='squeezenet1_1', pretrained=False, epochs=1, bs=2, label_delim=delim)
    assert save_confusion(learn, tmp_path/'x.png').read_bytes().startswith(b'\x89PNG')


def test_equal_clips_stay_on_one_side(tmp_path):
    for label, f in ('a', 200), ('b', 900):
        for i in range(6): tone(tmp_path/label/f'{i}.wav', f + 50*(i//2))
        for i in 1, 3, 5: (tmp_path/label/f'{i}.wav').write_bytes((tmp_path/label/f'{i-1}.wav').read_bytes())
    table = find_clips(tmp_path)
    table = readable_clips(table, clip_report(tmp_path, files=table.path, progress=False))
    assert len(table) == 12 and table.group.nunique() == 6
    assert (split_clips(table, 0.3).groupby('group').valid.nunique() == 1).all()


def test_clips_that_cannot_be_read_are_left_out(tmp_path):
    for i in range(4): tone(tmp_path/'a'/f'{i}.wav', 200 + i)
    (tmp_path/'a'/'1.wav').write_text('no sound')
    table = find_clips(tmp_path, group=r'(\d)\.wav')
    report = clip_report(tmp_path, files=table.path, progress=False)
    good = readable_clips(table, report)
    assert list(good.group) == ['0', '2', '3'] and list(good.index) == [0, 1, 2] and len(table) == 4
    with pytest.raises(ValueError, match='3 rows.*table 4'): readable_clips(table, report[1:])
    with pytest.raises(ValueError, match='no clip that can be read'): readable_clips(table[1:2], report[1:2])
