"The page about a folder, and the command that writes it: one file that plays, says what is wrong and loads nothing"
import base64, html, io, os, re, sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np, pytest, soundfile as sf
from click.testing import CliRunner
from conftest import tone

from audio_tutorial.cli import app
from audio_tutorial.report import clip_report
from audio_tutorial.report_page import fault_text, printable, report_html, report_summary, suspicious_files


def run(*args): return CliRunner().invoke(app, [str(a) for a in args])


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
        self.addresses += [v for k, v in attrs.items() if k in ('src', 'href', 'srcset', 'poster', 'action', 'data')]
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
    assert 'width=device-width' in page.source and '<meta name="color-scheme" content="light dark">' in page.source
    assert lines[0] in page.text['li'] and lines[3].strip() in page.text['li']
    assert page.rows[0] == ['File', 'What is wrong']
    assert [f'{row[0]}: {row[1]}' for row in page.rows[1:]] == lines[4:-1]
    assert page.attributes['img']['alt']
    assert base64.b64decode(page.attributes['img']['src'].partition(',')[2])[8:12] == b'WEBP'
    assert all(a.startswith('data:') for a in page.addresses) and '://' not in page.source and 'url(' not in page.source
    assert "default-src 'none'" in page.source and '.sound-report table' in page.text['style']
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


def test_report_on_a_healthy_folder_and_on_a_table(two_tones, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in 'a', 'b': tone(tmp_path/'good'/f'{name}.ogg', 300)
    done = run('report', 'good')
    page = Page(tmp_path/'report.html')
    assert done.exit_code == 0 and done.stdout.splitlines()[-2:] == ['  faults: none', 'Wrote report.html']
    assert 'There are none.' in page.source and not page.rows and {p.name for p in tmp_path.iterdir()} == {'good', 'report.html'}
    (two_tones/'some.csv').write_text('path\nlow tone/s0 0.ogg\nhigh tone/s0 1.ogg\nno sound.txt\n')
    (two_tones/'no sound.txt').write_text('no')
    done = run('report', two_tones/'some.csv')
    for name in 'some.csv', 'no sound.txt': (two_tones/name).unlink()
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
    for i in range(3): tone(tmp_path/f'{i}.wav', 300 + i, 1 if i else 5)
    report = clip_report(tmp_path, progress=False)
    assert list(suspicious_files(report).index) == ['0.wav'] and '<audio' in report_html(report, tmp_path, 'x')
    (tmp_path/'0.wav').unlink()
    assert re.search('cannot be played: .*0.wav', report_html(report, tmp_path, 'x'))


def test_a_page_of_a_report_in_python(tmp_path):
    for i in range(3): tone(tmp_path/f'{i}.wav', 300 + i, 1 if i else 5)
    report = clip_report(tmp_path, progress=False)
    before = report.copy()
    page = report_html(report, str(tmp_path), '<&>', most=0)
    assert '<title>Sounds in &lt;&amp;&gt;</title>' in page and '<audio' not in page and '1 more files' in page
    assert report.equals(before), 'the table is left as it is'
    assert all(html.escape(line) in page for line in report_summary(report)) and report_summary(report)[-1] == 'faults: 1 other length'
    assert fault_text(report.loc['0.wav']) == 'other length'


def test_what_no_screen_can_show():
    assert printable('a\n\x1b[31m\x9b\ud800é') == 'a??[31m??é' and printable(Path('x')) == 'x'
