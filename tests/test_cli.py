"The reader's own data: tables, splits, training, and the three commands"
import base64, csv, io, json, os, re, subprocess, sys, tomllib, zlib
from html.parser import HTMLParser
from pathlib import Path

import numpy as np, pandas as pd, pytest, soundfile as sf
from click.testing import CliRunner

from audio_tutorial.classifier import AudioClassifier
from audio_tutorial.cli import app, find_clips, split_clips, train_clips, usual_duration

ROOT = Path(__file__).resolve().parents[1]
QUICK = ['--no-pretrained', '--arch', 'squeezenet1_1', '--epochs', '1', '--batch-size', '4', '--duration', '0.5']


def tone(path, f, seconds=0.6, rate=44100):
    "A tone in a file, stereo, with a little noise"
    path.parent.mkdir(parents=True, exist_ok=True)
    rng, t = np.random.default_rng(zlib.crc32(path.name.encode()) + f), np.arange(int(seconds*rate))/rate
    x = 0.3*np.sin(2*np.pi*f*t) + rng.normal(0, 0.01, len(t))
    sf.write(path, np.stack([x, x], axis=1), rate)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    "Two classes with spaces in their names, in OGG at 44,100 Hz, of unequal length; four sources of two clips each"
    root = tmp_path_factory.mktemp('data')/'my sounds'
    for label, f in ('low tone', 200), ('high tone', 2000):
        for i in range(8): tone(root/label/f's{i//2} {i}.ogg', f + 10*i, 0.3 + 0.1*i)
    return root


@pytest.fixture(scope='module')
def model(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp('model')/'a model'
    done = run('train', folder, '--out', out, *QUICK)
    assert done.exit_code == 0, done.output
    return out, done


def run(*args): return CliRunner().invoke(app, [str(a) for a in args])


# A table of clips

def test_a_folder_of_classes(folder):
    table = find_clips(folder)
    assert len(table) == 16 and set(table.label) == {'low tone', 'high tone'}
    assert all(Path(p).is_file() and Path(p).parent.name == label for p, label in zip(table.path, table.label))
    assert set(find_clips(folder, group=r'(s\d)').group) == {'s0', 's1', 's2', 's3'}
    assert find_clips(folder, group=r'\w+ tone/s\d').group.nunique() == 8
    with pytest.raises(ValueError, match='x.*s0 0.ogg'): find_clips(folder, group='x')


def test_the_first_folder_is_the_label(tmp_path):
    tone(tmp_path/'dog'/'monday'/'a.wav', 100)
    assert find_clips(tmp_path).label.tolist() == ['dog']
    tone(tmp_path/'loose.wav', 100)
    with pytest.raises(ValueError, match='loose.wav'): find_clips(tmp_path)


def test_a_table_with_folds_groups_and_several_labels(folder, tmp_path):
    table = find_clips(folder)
    rows = pd.DataFrame(dict(path=table.path, label=[f'{l} ; tone' for l in table.label], fold=[i % 4 for i in range(16)],
                             group=[Path(p).stem.split()[0] for p in table.path]))
    rows.to_csv(tmp_path/'x.csv', index=False)
    found = find_clips(tmp_path/'x.csv', label_delim=';')
    assert found.label[0] == 'high tone;tone' and found.group.nunique() == 4
    assert split_clips(found, 'fold=2', label_delim=';').valid.tolist() == [i % 4 == 2 for i in range(16)]
    with pytest.raises(ValueError, match='no column.*folt'): split_clips(found, 'folt=2')
    with pytest.raises(ValueError, match='leaves no clip for validation'): split_clips(found, 'fold=9')


# The split

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


def test_own_split_and_another_folder(folder, tmp_path):
    table = find_clips(folder).assign(split=['train', 'valid', 'test', 'train']*4)
    split = split_clips(table)
    assert len(split) == 12 and split.valid.sum() == 4
    tone(tmp_path/'low tone'/'x.wav', 200)
    split = split_clips(find_clips(folder), tmp_path)
    assert split.valid.sum() == 1 and len(split) == 17


def test_sides_that_cannot_be_are_refused():
    one = pd.DataFrame(dict(path=['a', 'b', 'c'], label=['x', 'x', 'y']))
    with pytest.raises(ValueError, match="'y' has one clip"): split_clips(one)
    with pytest.raises(ValueError, match="'x' has one clip"): split_clips(one.assign(group=['1', '1', '2']))
    with pytest.raises(ValueError, match='one class'): train_clips(one[:2].assign(valid=[True, False]))
    with pytest.raises(ValueError, match='no training clip.*y'): train_clips(one.assign(valid=[False, False, True]))


def test_usual_duration(folder):
    paths = find_clips(folder).path.tolist()
    seconds = sorted(sf.info(p).duration for p in paths)
    assert seconds[-4] <= usual_duration(paths) <= seconds[-1] + 0.1


# Training

def test_the_same_seed_gives_the_same_classifier(folder):
    table = split_clips(find_clips(folder))
    a, b = (AudioClassifier.from_learner(train_clips(table, duration=0.5, arch='squeezenet1_1', pretrained=False, epochs=1,
                                                     bs=4)).predict(folder) for _ in range(2))
    assert np.abs(a[['low tone']].to_numpy() - b[['low tone']].to_numpy()).max() < 1e-5


def test_fewer_clips_than_a_batch(folder):
    table = split_clips(find_clips(folder)).groupby(['label', 'valid']).head(1)
    learn = train_clips(table.reset_index(drop=True), duration=0.5, arch='squeezenet1_1', pretrained=False, epochs=1)
    assert len(learn.recorder.losses) == 1


# audio-tutorial train

def test_train_reports_trains_and_saves(folder, model):
    out, done = model
    assert '16 clips' in done.output and '44,100 Hz' in done.output and 'faults: ' in done.output
    assert done.output.index('16 clips') < done.output.index('epoch 0, train_loss')
    assert sorted(p.name for p in out.iterdir()) == ['README.md', 'config.json', 'confusion.png', 'model.safetensors']
    assert (out/'confusion.png').read_bytes().startswith(b'\x89PNG')
    assert f'audio-tutorial predict "{out}"' in done.output
    clf = AudioClassifier.load(out)
    assert clf.vocab == ['high tone', 'low tone'] and clf.provenance['n_train'] == 12


def test_a_model_is_not_replaced_unasked(folder, model):
    done = run('train', folder, '--out', model[0], *QUICK)
    assert done.exit_code == 2 and '--force' in done.output


def test_train_on_a_table_with_several_labels(folder, tmp_path):
    table = find_clips(folder)
    pd.DataFrame(dict(path=table.path, label=[f'{l};tone' for l in table.label], fold=[i % 4 for i in range(16)])).to_csv(
        tmp_path/'x.csv', index=False)
    done = run('train', tmp_path/'x.csv', '--out', tmp_path/'m', '--delim', ';', '--valid', 'fold=3', *QUICK)
    assert done.exit_code == 0, done.output
    clf = AudioClassifier.load(tmp_path/'m')
    assert clf.vocab == ['high tone', 'low tone', 'tone'] and clf.activation == 'sigmoid'
    assert (tmp_path/'m/confusion.png').exists()


def test_unreadable_clips_are_left_out_and_exit_with_1(folder, tmp_path):
    for f in find_clips(folder).path:
        (new := tmp_path/'data'/Path(f).parent.name/Path(f).name).parent.mkdir(parents=True, exist_ok=True)
        new.write_bytes(Path(f).read_bytes())
    (tmp_path/'data/low tone/bad.ogg').write_text('no sound')
    done = run('train', tmp_path/'data', '--out', tmp_path/'m', *QUICK)
    assert done.exit_code == 1 and 'bad.ogg' in done.output and (tmp_path/'m/config.json').exists()


def test_equal_clips_stay_on_one_side(tmp_path, monkeypatch):
    from audio_tutorial import cli
    for label, f in ('a', 200), ('b', 900):
        for i in range(6): tone(tmp_path/label/f'{i}.wav', f + 50*(i//2))
        for i in 1, 3, 5: (tmp_path/label/f'{i}.wav').write_bytes((tmp_path/label/f'{i-1}.wav').read_bytes())
    table = find_clips(tmp_path)
    table, bad = cli._without_faults(table, cli._report(table.path, tmp_path))
    assert bad == 0 and table.group.nunique() == 6
    assert (split_clips(table, 0.3).groupby('group').valid.nunique() == 1).all()


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

def test_predict_prints_a_table(folder, model):
    done = run('predict', model[0], folder)
    lines = done.stdout.splitlines()
    assert done.exit_code == 0 and len(lines) == 17 and lines[0].split() == ['path', 'label', 'probability']
    assert 'low tone' in done.stdout and 's0 0.ogg' in done.stdout


def test_json_and_csv_hold_every_probability(folder, model):
    clip = folder/'low tone'/'s0 0.ogg'
    wanted = AudioClassifier.load(model[0]).predict(clip)
    row, = json.loads(run('predict', model[0], clip, '--json').stdout)
    assert (row['path'], row['label']) == (str(clip), wanted.label[0])
    assert row['probabilities'] == pytest.approx(wanted.iloc[0, 3:].to_dict(), abs=1e-5)
    row, = csv.DictReader(io.StringIO(run('predict', model[0], clip, '--csv').stdout))
    assert row['path'] == str(clip) and float(row['low tone']) == pytest.approx(wanted['low tone'][0], abs=1e-5)


def test_unreadable_clips_exit_with_1_and_the_others_are_named(folder, model, tmp_path):
    (tmp_path/'bad.wav').write_text('no sound')
    good = folder/'low tone'/'s0 0.ogg'
    for format in [], ['--json'], ['--csv']:
        done = run('predict', model[0], tmp_path/'bad.wav', good, tmp_path/'gone.wav', *format)
        assert done.exit_code == 1 and 's0 0.ogg' in done.stdout
        assert 'bad.wav' in done.stderr and 'gone.wav' in done.stderr
        if format == ['--json']: assert [('error' in r) for r in json.loads(done.stdout)] == [True, False, True]
    assert run('predict', model[0], tmp_path/'bad.wav').exit_code == 1


def test_predict_calls_that_make_no_sense(folder, model, tmp_path):
    clip = folder/'low tone'/'s0 0.ogg'
    for args, words in (((tmp_path, clip), 'config.json'), ((tmp_path/'no', clip), 'no folder'), ((model[0],), 'CLIPS'),
                        ((model[0], tmp_path), 'no sound files'), ((model[0], clip, '--json', '--csv'), 'not both'),
                        ((model[0], clip, '--nonsense'), 'nonsense')):
        done = run('predict', *args)
        assert done.exit_code == 2 and words in done.output and 'Traceback' not in done.output, (args, done.output)


# audio-tutorial report

class Page(HTMLParser):
    "The texts, the table and the addresses of a page that `report` wrote"
    def __init__(self, path):
        super().__init__()
        self.text, self.rows, self.tags, self.addresses, self.attributes, self.inside = {}, [], [], [], {}, None
        self.source = path.read_text('utf8')
        self.feed(self.source)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.tags.append(tag)
        self.attributes[tag], self.inside = attrs, tag
        self.addresses += [v for k, v in attrs.items() if k in ('src', 'href', 'srcset', 'poster', 'action', 'data', 'style')]
        if tag == 'tr': self.rows.append([])
        if tag in ('td', 'th'): self.rows[-1].append('')
        if tag == 'audio': self.rows[-1].append(attrs['src'])

    def handle_endtag(self, tag): self.inside = None

    def handle_data(self, data):
        self.text[self.inside] = self.text.get(self.inside, '') + data
        if self.inside in ('td', 'th'): self.rows[-1][-1] += data

    def sounds(self): return {row[0]: decoded(row[2]) for row in self.rows if len(row) == 3}


def decoded(address): return sf.read(io.BytesIO(base64.b64decode(address.removeprefix('data:audio/mpeg;base64,'))))


ODD = """a 'b" <b>&amp;.wav"""


@pytest.fixture(scope='module')
def suspicious(tmp_path_factory):
    "20 good clips of 1 s, 7 with faults, 3 that cannot be read, and names that are no HTML; what `report` makes of it"
    root, rate, rng = tmp_path_factory.mktemp('report')/'sent & unseen', 16000, np.random.default_rng(0)
    for i in range(20): tone(root/'deep'/'er'/f'{i:02}.wav', 300 + 20*i, 1, rate)
    good = rng.normal(0, 0.1, (rate, 2)).clip(-0.5, 0.5)
    long = np.full((30*rate, 2), 0.01)*np.sin(np.arange(30*rate)/7)[:, None]
    long[20*rate:20*rate + 100] = 1
    for name, sound, hz in [('silent.wav', 0*good, rate), (ODD, (20*good).clip(-1, 1), rate), ('offset.flac', good/2 + 0.1, rate),
                            ('long.wav', long, rate), ('odd rate.wav', good[:11111], 11111)]: sf.write(root/name, sound, hz)
    (root/'deep'/'twice.wav').write_bytes((root/'deep'/'er'/'07.wav').read_bytes())
    sf.write(root/'huge.wav', (1e37*good).astype('float32'), rate, subtype='FLOAT')
    (root/'empty.ogg').write_bytes(b'')
    (root/'text\n\x1b[31m.mp3').write_text('<script>')
    sf.write(root/'nan.wav', np.full(100, np.nan), rate, subtype='FLOAT')
    out = root.parent/'page.html'
    return root, run('report', root, '--out', out), out


FOUND = {'silent.wav': 'silent', ODD: 'clipped', 'offset.flac': 'DC offset', 'long.wav': 'clipped, other length',
         'odd rate.wav': 'other rate', 'huge.wav': 'DC offset', 'deep/twice.wav': 'duplicate of deep/er/07.wav',
         'empty.ogg': 'unreadable: ', 'text??[31m.mp3': 'unreadable: ', 'nan.wav': 'unreadable: NaN or infinite samples'}


def test_report_prints_the_summary_of_train_and_a_line_per_file(suspicious):
    root, done, out = suspicious
    lines = done.stdout.splitlines()
    assert done.exit_code == 1 and 'Traceback' not in done.output
    assert lines[0].startswith('30 clips, 0.9 minutes, each 1.0 to 30.0 s long')
    assert lines[3].startswith('  faults: ') and '3 unreadable' in lines[3] and lines[-1] == f'Wrote {out}'
    said = dict(line.split(': ', 1) for line in lines[4:-1])
    assert said.keys() == FOUND.keys()
    for name, fault in said.items(): assert fault.startswith(FOUND[name]), name


def test_the_page_is_one_file_that_says_the_same(suspicious):
    root, done, out = suspicious
    page, lines = Page(out), done.stdout.splitlines()
    assert page.attributes['html'] == {'lang': 'en'} and page.text['title'] == 'Sounds in sent & unseen'
    assert 'width=device-width' in page.source and 'color-scheme: light dark' in page.source
    assert lines[0] in page.text['li'] and lines[3].strip() in page.text['li']
    assert page.rows[0] == ['File', 'What is wrong']
    assert [f'{row[0]}: {row[1]}' for row in page.rows[1:]] == lines[4:-1]
    assert page.attributes['img']['alt']
    assert base64.b64decode(page.attributes['img']['src'].partition(',')[2]).startswith(b'\x89PNG')
    assert all(a.startswith('data:') for a in page.addresses) and '://' not in page.source
    assert not {'script', 'iframe', 'object', 'b'} & set(page.tags)


def test_players_hold_the_place_of_the_fault(suspicious):
    root, done, out = suspicious
    sounds = Page(out).sounds()
    assert sounds.keys() == {n for n, fault in FOUND.items() if 'unreadable' not in fault}
    for name, (x, rate) in sounds.items():
        assert rate == (12000 if name == 'odd rate.wav' else 16000) and len(x) == rate*(5 if name == 'long.wav' else 1), name
    assert np.abs(sounds['silent.wav'][0]).max() == 0
    x = np.abs(sounds['long.wav'][0]) # from 19 s on, and the fault is at 20 s
    assert abs(x.argmax() - 16000) < 200 and x[:15000].max() < 0.05
    wanted, _ = sf.read(root/'deep/er/07.wav')
    assert np.corrcoef(sounds['deep/twice.wav'][0], wanted.mean(1))[0, 1] > 0.9


def test_fewer_players(suspicious, tmp_path):
    root, _, _ = suspicious
    run('report', root, '--out', tmp_path/'x.html', '--most', 2)
    page = Page(tmp_path/'x.html')
    assert page.tags.count('audio') == 2 and len(page.rows) == 11 and '5 more files could have a player' in page.source
    run('report', root, '--out', tmp_path/'x.html', '--most', 0)
    assert Page(tmp_path/'x.html').tags.count('audio') == 0


def test_rare_faults_come_first(tmp_path):
    for i in range(8): tone(tmp_path/f'{i}.wav', 300 + 20*i, 3 if i < 3 else 1)
    sf.write(tmp_path/'silent.wav', np.zeros((44100, 2)), 44100)
    run('report', tmp_path, '--out', tmp_path/'x.html')
    assert [row[0] for row in Page(tmp_path/'x.html').rows[1:]] == ['silent.wav', '0.wav', '1.wav', '2.wav']


def test_report_on_a_healthy_folder_and_on_a_table(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in 'a', 'b': tone(tmp_path/'good'/f'{name}.ogg', 300)
    done = run('report', 'good')
    page = Page(tmp_path/'report.html')
    assert done.exit_code == 0 and done.stdout.splitlines()[-2:] == ['  faults: none', 'Wrote report.html']
    assert 'There are none.' in page.source and not page.rows and {p.name for p in tmp_path.iterdir()} == {'good', 'report.html'}
    (folder/'some.csv').write_text('path\nlow tone/s0 0.ogg\nhigh tone/s0 1.ogg\nno sound.txt\n')
    (folder/'no sound.txt').write_text('no')
    done = run('report', folder/'some.csv')
    for name in 'some.csv', 'no sound.txt': (folder/name).unlink()
    assert done.exit_code == 1 and done.stdout.startswith('3 clips') and 'no sound.txt: unreadable' in done.stdout


def test_report_on_nothing_but_bad_files(tmp_path):
    (tmp_path/'a.wav').write_bytes(b'')
    done = run('report', tmp_path, '--out', tmp_path/'x.html')
    assert done.exit_code == 1 and done.stdout.startswith('1 clips\n  faults: 1 unreadable\na.wav: unreadable')
    assert len(Page(tmp_path/'x.html').rows) == 2


@pytest.mark.skipif(sys.platform != 'linux', reason='names are text elsewhere')
def test_a_name_that_is_no_text_stops_nobody(tmp_path):
    tone(tmp_path/'a.wav', 300)
    Path(os.fsdecode(bytes(tmp_path) + b'/\xff.wav')).write_bytes((tmp_path/'a.wav').read_bytes())
    done = run('report', tmp_path, '--out', tmp_path/'x.html')
    assert done.exit_code == 0 and r'\xff.wav: duplicate of a.wav' in done.stdout
    assert Page(tmp_path/'x.html').rows[1][0] == r'\xff.wav'


def test_a_file_that_goes_away_meanwhile_stops_nobody(tmp_path):
    from audio_tutorial import cli
    from audio_tutorial.notes import clip_report
    for i in range(3): tone(tmp_path/f'{i}.wav', 300 + i, 1 if i else 5)
    row = clip_report(tmp_path, progress=False).loc['0.wav']
    assert '<audio' in cli._heard(tmp_path/'0.wav', row)
    (tmp_path/'0.wav').unlink()
    assert re.search('cannot be played: .*0.wav', cli._heard(tmp_path/'0.wav', row))


def test_report_calls_that_make_no_sense(folder, tmp_path):
    (tmp_path/'empty').mkdir()
    (tmp_path/'x.csv').write_text('file\na.wav\n')
    (tmp_path/'none.csv').write_text('path\n')
    for args, words in ((('missing',), 'no folder missing'), ((tmp_path/'empty',), 'no sound files'),
                        ((tmp_path/'x.csv',), 'no column path'), ((tmp_path/'none.csv',), 'no files'), ((folder, '--out', tmp_path/'no'/'x.html'), 'no folder'),
                        ((folder, '--out', tmp_path), 'is a folder'), ((folder, '--most', -1), 'most'), ((), 'FOLDER')):
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
