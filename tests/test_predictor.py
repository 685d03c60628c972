"A sound in, a label out: what `predict` takes, what it refuses, and what is shown and played"
import numpy as np, pandas as pd, pytest, soundfile as sf, torch

from audio_tutorial.arrays import AudioError
from audio_tutorial.clips import example_clip, load_clip
from audio_tutorial.files import get_audio_files
from audio_tutorial.notes import make_notes
from classifiers import OTHERS, SETTINGS, probabilities, small


@pytest.fixture(scope='module')
def notes(tmp_path_factory):
    return make_notes(tmp_path_factory.mktemp('notes')/'made', 2, 20, seed=0, progress=False)


@pytest.fixture(scope='module')
def clf(notes):
    "One that gives notes different answers"
    clf = small()
    *_, weight, bias = clf.network.parameters()
    with torch.no_grad():
        weight.mul_(100)
        bias.sub_(torch.from_numpy(np.log(probabilities(clf, notes/'valid')).mean(axis=0)))
    assert np.ptp(probabilities(clf, notes/'valid'), axis=0).max() > 0.1
    return clf


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


def test_a_table_puts_columns_before_the_labels():
    clf, p = small(vocab=['a', 'start']), np.array([[.7, .3], [.2, .8]], 'float32')
    table = clf.table(p, start=[0, 1], label=clf.labels(p))
    assert list(table) == ['start_', 'label', 'a', 'start'] and list(table.label) == ['a', 'start']
    assert np.array_equal(table[clf.vocab].to_numpy(), p)


def test_which_labels_probabilities_mean():
    p = np.array([[.6, .5, .1], [.2, .1, .3]])
    one, several = small(), small(activation='sigmoid', threshold=0.5)
    assert one.labels(p) == ['a', 'c'] and several.labels(p) == ['a;b', '']
    assert one.is_label(p, 0.5).tolist() == [[True, False, False], [False]*3]
    assert several.is_label(p, 0.3).tolist() == [[True, True, False], [False, False, True]]
