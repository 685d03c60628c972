"The command `audio-tutorial`: what it prints, writes, and says of calls that make no sense"
import csv, io, json, re, subprocess, sys, tomllib
from pathlib import Path

import pandas as pd, pytest
from click.testing import CliRunner
from conftest import tone

from audio_tutorial.classifier import AudioClassifier
from audio_tutorial.cli import app
from audio_tutorial.folders import find_clips

ROOT = Path(__file__).resolve().parents[1]
QUICK = ['--no-pretrained', '--arch', 'squeezenet1_1', '--epochs', '1', '--bs', '4', '--duration', '0.5']


@pytest.fixture(scope='module')
def model(two_tones, tmp_path_factory):
    out = tmp_path_factory.mktemp('model')/'a model'
    done = run('train', two_tones, '--out', out, *QUICK)
    assert done.exit_code == 0, done.output
    return out, done


def run(*args): return CliRunner().invoke(app, [str(a) for a in args])


# audio-tutorial train

def test_train_reports_trains_and_saves(two_tones, model):
    out, done = model
    assert '16 clips' in done.output and '44,100 Hz' in done.output and 'faults: ' in done.output
    assert done.output.index('16 clips') < done.output.index('epoch 0, train_loss')
    assert sorted(p.name for p in out.iterdir()) == ['README.md', 'config.json', 'confusion.png', 'model.safetensors']
    assert (out/'confusion.png').read_bytes().startswith(b'\x89PNG')
    assert f'audio-tutorial predict "{out}"' in done.output
    clf = AudioClassifier.load(out)
    assert clf.vocab == ['high tone', 'low tone'] and clf.provenance['n_train'] == 12


def test_a_model_is_not_replaced_unasked(two_tones, model):
    done = run('train', two_tones, '--out', model[0], *QUICK)
    assert done.exit_code == 2 and '--force' in done.output


def test_train_on_a_table_with_several_labels(two_tones, tmp_path):
    table = find_clips(two_tones)
    pd.DataFrame(dict(path=table.path, label=[f'{l};tone' for l in table.label], fold=[i % 4 for i in range(16)])).to_csv(
        tmp_path/'x.csv', index=False)
    done = run('train', tmp_path/'x.csv', '--out', tmp_path/'m', '--label-delim', ';', '--valid', 'fold=3', *QUICK)
    assert done.exit_code == 0, done.output
    clf = AudioClassifier.load(tmp_path/'m')
    assert clf.vocab == ['high tone', 'low tone', 'tone'] and clf.activation == 'sigmoid'
    assert (tmp_path/'m/confusion.png').exists()


def test_unreadable_clips_are_left_out_and_exit_with_1(two_tones, tmp_path):
    for f in find_clips(two_tones).path:
        (new := tmp_path/'data'/Path(f).parent.name/Path(f).name).parent.mkdir(parents=True, exist_ok=True)
        new.write_bytes(Path(f).read_bytes())
    (tmp_path/'data/low tone/bad.ogg').write_text('no sound')
    done = run('train', tmp_path/'data', '--out', tmp_path/'m', *QUICK)
    assert done.exit_code == 1 and 'bad.ogg' in done.output and (tmp_path/'m/config.json').exists()


@pytest.mark.parametrize('what, words', [
    ('empty', 'no sound files'), ('missing', 'missing'), ('one class', 'one class'), ('one clip', 'has one clip'),
    ('all bad', 'no clip that can be read'), ('pattern', 'group'), ('share', 'share'), ('regex', 'unterminated|missing'),
    ('arch', 'no_such_net'), ('rate', 'whole number|sample_rate')])
def test_what_makes_no_sense_gets_a_sentence(tmp_path, what, words):
    root, more = tmp_path/'d', []
    root.mkdir()
    for label in ('a', 'b') if what != 'one class' else ('a',):
        n = {'empty': 0, 'one clip': 1}.get(what, 3)
        for i in range(n): tone(root/label/f'{i}.wav', 200, 0.2)
    if what == 'all bad':
        for f in root.rglob('*.wav'): f.write_text('no')
    if what == 'missing': root = tmp_path/'missing'
    more = dict(pattern=['--group', 'zzz'], share=['--valid', '1.5'], regex=['--group', '('], arch=['--arch', 'no_such_net'],
                rate=['--sample-rate', '0']).get(what, [])
    done = run('train', root, '--out', tmp_path/'m', *QUICK, *more)
    assert done.exit_code == 2 and re.search(words, done.output), done.output
    assert 'Traceback' not in done.output and not (tmp_path/'m').exists()


# audio-tutorial predict

def test_predict_prints_a_table(two_tones, model):
    done = run('predict', model[0], two_tones)
    lines = done.stdout.splitlines()
    assert done.exit_code == 0 and len(lines) == 17 and lines[0].split() == ['path', 'label', 'probability']
    assert 'low tone' in done.stdout and 's0 0.ogg' in done.stdout


def test_json_and_csv_hold_every_probability(two_tones, model):
    clip = two_tones/'low tone'/'s0 0.ogg'
    wanted = AudioClassifier.load(model[0]).predict(clip)
    row, = json.loads(run('predict', model[0], clip, '--json').stdout)
    assert (row['path'], row['label']) == (str(clip), wanted.label[0])
    assert row['probabilities'] == pytest.approx(wanted.iloc[0, 3:].to_dict(), abs=1e-5)
    row, = csv.DictReader(io.StringIO(run('predict', model[0], clip, '--csv').stdout))
    assert row['path'] == str(clip) and float(row['low tone']) == pytest.approx(wanted['low tone'][0], abs=1e-5)


def test_unreadable_clips_exit_with_1_and_the_others_are_named(two_tones, model, tmp_path):
    (tmp_path/'bad.wav').write_text('no sound')
    good = two_tones/'low tone'/'s0 0.ogg'
    for format in [], ['--json'], ['--csv']:
        done = run('predict', model[0], tmp_path/'bad.wav', good, tmp_path/'gone.wav', *format)
        assert done.exit_code == 1 and 's0 0.ogg' in done.stdout
        assert 'bad.wav' in done.stderr and 'gone.wav' in done.stderr
        if format == ['--json']: assert [('error' in r) for r in json.loads(done.stdout)] == [True, False, True]
    assert run('predict', model[0], tmp_path/'bad.wav').exit_code == 1


def test_predict_calls_that_make_no_sense(two_tones, model, tmp_path):
    clip = two_tones/'low tone'/'s0 0.ogg'
    for args, words in (((tmp_path, clip), 'config.json'), ((tmp_path/'no', clip), 'no folder'), ((model[0],), 'CLIPS'),
                        ((model[0], tmp_path), 'no sound files'), ((model[0], clip, '--json', '--csv'), 'choose one of'),
                        ((model[0], clip, '--nonsense'), 'nonsense')):
        done = run('predict', *args)
        assert done.exit_code == 2 and words in done.output and 'Traceback' not in done.output, (args, done.output)


# audio-tutorial report

def test_report_calls_that_make_no_sense(two_tones, tmp_path):
    (tmp_path/'empty').mkdir()
    (tmp_path/'x.csv').write_text('file\na.wav\n')
    (tmp_path/'none.csv').write_text('path\n')
    for args, words in ((('missing',), 'no folder missing'), ((tmp_path/'empty',), 'no sound files'),
                        ((tmp_path/'x.csv',), 'no column path'), ((tmp_path/'none.csv',), 'no files'), ((two_tones, '--out', tmp_path/'no'/'x.html'), 'no folder'),
                        ((two_tones, '--out', tmp_path), 'is a folder'), ((two_tones, '--most', -1), 'most'), ((), 'FOLDER')):
        done = run('report', *args)
        assert done.exit_code == 2 and words in done.output and 'Traceback' not in done.output, (args, done.output)


# The command itself

def test_help_reads_well_and_comes_without_torch():
    code = ('import sys; from audio_tutorial.cli import app; app(["train", "--help"], standalone_mode=False);'
            'sys.stderr.write(" ".join(sys.modules))')
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    for word in 'FOLDER', '--out', '--epochs', '--valid', '--group', '--seed', 'COLUMN=VALUE': assert word in done.stdout
    assert not {'torch', 'fastai', 'pandas', 'numpy'} & set(done.stderr.split())
    for word in 'predict', 'train', 'report': assert word in run('--help').output


def test_the_package_installs_the_command():
    scripts = tomllib.loads((ROOT/'pyproject.toml').read_text())['project']['scripts']
    assert scripts == {'audio-tutorial': 'audio_tutorial.cli:main'}
    done = subprocess.run([sys.executable, '-m', 'audio_tutorial.cli', '--help'], capture_output=True, text=True)
    assert done.returncode == 0 and 'train' in done.stdout
