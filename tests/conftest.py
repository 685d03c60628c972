"Fixtures that several test files share"
import os, shutil, tarfile, zlib
from pathlib import Path

import numpy as np, pytest, soundfile as sf

from audio_tutorial.files import thread_settings

os.environ |= thread_settings # before torch is imported

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent/'shared'/'data'
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", "--autoplay-policy=no-user-gesture-required",
         "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]


def tone(path, f, seconds=0.6, rate=44100):
    "A tone in a file, stereo, with a little noise"
    path.parent.mkdir(parents=True, exist_ok=True)
    rng, t = np.random.default_rng(zlib.crc32(path.name.encode()) + f), np.arange(int(seconds*rate))/rate
    x = 0.3*np.sin(2*np.pi*f*t) + rng.normal(0, 0.01, len(t))
    sf.write(path, np.stack([x, x], axis=1), rate)


@pytest.fixture(scope='module')
def two_tones(tmp_path_factory):
    "Two classes with spaces in their names, in OGG at 44,100 Hz, of unequal length; four sources of two clips each"
    root = tmp_path_factory.mktemp('data')/'my sounds'
    for label, f in ('low tone', 200), ('high tone', 2000):
        for i in range(8): tone(root/label/f's{i//2} {i}.ogg', f + 10*i, 0.3 + 0.1*i)
    return root


@pytest.fixture(scope='session')
def real_notes(tmp_path_factory):
    "Paths of 416 real NSynth notes, where they lie beside the checkout"
    archive = SHARED/'nsynth_acoustic_416.tar.gz'
    if not archive.exists(): pytest.skip('real NSynth notes are not beside this checkout')
    dest = tmp_path_factory.mktemp('nsynth')
    with tarfile.open(archive) as tar: tar.extractall(dest, filter='data')
    notes = sorted(dest.rglob('*.wav'))
    assert len(notes) == 416
    return notes


@pytest.fixture(scope="session")
def launch():
    "Start a browser with these further flags"
    sync = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    executable = next(filter(None, map(shutil.which, BROWSERS)), None)
    if not executable:
        pytest.skip(f"no browser on this machine: none of {', '.join(BROWSERS)} is found")
    with sync.sync_playwright() as p:
        yield lambda *flags: p.chromium.launch(executable_path=executable, headless=True, args=[*FLAGS, *flags])


@pytest.fixture(scope="session")
def browser(launch):
    browser = launch()
    yield browser
    browser.close()
