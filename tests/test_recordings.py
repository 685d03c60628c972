"Recordings of any length: every sample is heard, in windows and segments, without a growing memory"
import subprocess, sys
from pathlib import Path

import numpy as np, pytest, soundfile as sf

from audio_tutorial import recordings
from audio_tutorial.arrays import AudioError
from audio_tutorial.clips import example_clip, load_clip
from audio_tutorial.mel import MelSettings
from audio_tutorial.predictor import Predictor
from audio_tutorial.recordings import LongPrediction, cut_windows, merge_windows, predict_long, window_borders
from classifiers import probabilities, small


@pytest.mark.parametrize('n, hop, size', [(4, 4, 10), (4, 2, 3), (4, 1, 4), (5, 3, 20), (1, 1, 6), (7, 7, 21)])
@pytest.mark.parametrize('cuts', [1, 3, 5])
def test_windows_cover_everything_once(n, hop, size, cuts):
    x = np.arange(size, dtype='float32') + 1
    got = list(cut_windows(np.array_split(x, cuts), n, hop))
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
    borders = window_borders([0, 2, 4, 5], [4, 6, 8, 9], 9)
    assert borders.tolist() == [0, 3, 5, 6.5, 9]
    one = merge_windows(np.eye(2, dtype=bool)[p.argmax(1)], p, borders, ['a', 'b'])
    assert one.values.tolist() == [[0, 5, 'a', pytest.approx(.85)], [5, 6.5, 'b', .7], [6.5, 9, 'a', .6]]
    several = merge_windows(p > 0.15, p, borders, ['a', 'b'])
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
    assert round(seconds) == 600 and ten - one < 80, (one, ten) # what torch itself takes differs by its version


def test_show_draws_a_track_for_each_label(monkeypatch):
    made = []
    monkeypatch.setattr(recordings, 'figure_html', lambda *args, **kwargs: made.append(args) or '')
    found = small().predict_long(example_clip())
    assert isinstance(found, LongPrediction)
    found.show(max_labels=2)
    (fig, alt, player), = made
    above, below, _ = fig.axes
    assert len(below.get_yticklabels()) == 2 and above.get_title() == example_clip().name and 'saxophone' in alt
    assert player.data.count('<audio') == 1 and len(player.data) < 150_000
    assert '2.0 to 3.0 s' in found.play(2, 1).data


class Loudness(Predictor):
    "No network: how loud a clip is"
    def probabilities(self, clips):
        loud = np.clip(np.abs(np.stack(clips)).mean(axis=1), 0, 1).astype('float32')
        return np.stack([loud, 1 - loud], axis=1)


def test_every_predictor_follows_recordings(tmp_path):
    sf.write(tmp_path/'x.wav', np.r_[np.full(16000, 0.9), np.zeros(16000)], 16000)
    clf = Loudness(MelSettings(), ['loud', 'quiet'], 1)
    for found in clf.predict_long(tmp_path/'x.wav', hop=1), predict_long(clf, tmp_path/'x.wav', hop=1):
        assert found.segments.label.tolist() == ['loud', 'quiet'] and found.segments.end.tolist() == [1, 2]


@pytest.mark.parametrize('name', ['classifier.AudioClassifier', 'onnx_classifier.OnnxClassifier'])
def test_one_import_is_enough(name):
    "Who imports a classifier alone can follow recordings, too"
    module, cls = name.split('.')
    code = f'from audio_tutorial.{module} import {cls}; print({cls}.predict_long.__name__)'
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ['predict_long']
