"Fixtures that several test files share"
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent/'shared'/'data'


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
