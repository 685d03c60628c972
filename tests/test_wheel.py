"The wheel, and a chapter that runs from it in an empty folder of a fresh environment, as in Colab"
import json, os, re, shutil, subprocess, sys, tomllib, zipfile
from email.parser import Parser
from pathlib import Path

import build, cells, nbformat, profiles, pytest
from nbformat.v4 import new_code_cell

ROOT = Path(__file__).resolve().parents[1]

CHAPTER = "04_mel" # of the chapters that run in seconds, the one that imports most of the package
WORK = ROOT/"_build/wheel" # beside .venv, so that uv can link what it has installed there already
UV = [sys.executable, "-m", "uv"]
SEEN = """
import json, sys
json.dump({name: module.__file__ for name, module in list(sys.modules.items()) if getattr(module, '__file__', None)},
          open('seen.json', 'w'))
"""


def run(command, **options):
    "Run a command and show what it said when it fails"
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, **options)
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"


@pytest.fixture(scope="module")
def wheel():
    "The wheel, built from a copy, so that nothing of an earlier build gets in"
    shutil.rmtree(WORK, ignore_errors=True)
    source = WORK/"source"
    shutil.copytree(ROOT/"audio_tutorial", source/"audio_tutorial", ignore=shutil.ignore_patterns("__pycache__"))
    for name in "pyproject.toml", "README.md", "LICENSE": shutil.copy(ROOT/name, source)
    run([*UV, "build", "--quiet", "--wheel", "--no-build-isolation", "--offline", "--out-dir", WORK, source])
    return next(WORK.glob("*.whl"))


def test_wheel_holds_package_and_samples(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    package = {str(p.relative_to(ROOT)) for p in (ROOT/"audio_tutorial").rglob("*")
               if p.is_file() and "__pycache__" not in p.parts}
    assert package <= names and "audio_tutorial/samples/saxophone.flac" in names
    assert {name for name in names - package if ".dist-info/" not in name} == set()


def test_wheel_is_small(wheel): assert wheel.stat().st_size <= 8e6


def test_wheel_metadata(wheel):
    archive = zipfile.ZipFile(wheel)
    info = Parser().parsestr(archive.read(next(n for n in archive.namelist() if n.endswith("/METADATA"))).decode())
    project = tomllib.loads((ROOT/"pyproject.toml").read_text())["project"]
    version = re.search(r'__version__ = "(.+)"', (ROOT/"audio_tutorial/__init__.py").read_text())[1]
    assert (info["Name"], info["Version"]) == (project["name"], version)
    assert info["Requires-Python"] == project["requires-python"]
    assert info["License-Expression"] == "Apache-2.0"
    assert info.get_all("Project-URL") == [f"Repository, {build.address(ROOT)}"]


def test_chapter_runs_from_the_wheel(wheel):
    venv, folder = WORK/"venv", WORK/"empty"
    python = venv/"bin/python"
    run([*UV, "venv", "--quiet", "--python", sys.executable, venv])
    install = [*UV, "pip", "install", "--quiet", "--python", python, "-c", ROOT/"requirements.lock",
               wheel, "papermill", "ipykernel"]
    try: run([*install, "--offline"]) # uv keeps what it has installed once
    except AssertionError: run(install)

    values = profiles.read_profiles(ROOT, profiles.notebooks(ROOT))["quick"][CHAPTER]
    nb = cells.prepare(nbformat.read(ROOT/f"nbs/{CHAPTER}.ipynb", 4), CHAPTER)
    nb.cells.append(new_code_cell(SEEN, metadata={"tags": []}))
    folder.mkdir()
    nbformat.write(nb, folder/"chapter.ipynb")
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL_ENV"))}
    run([python, "-m", "papermill", "chapter.ipynb", "ran.ipynb", "-k", "python3", "--no-progress-bar",
         "-y", json.dumps(values)], cwd=folder, env={**env, "JUPYTER_PREFER_ENV_PATH": "1"})

    seen = json.loads((folder/"seen.json").read_text())
    assert Path(seen["audio_tutorial"]).is_relative_to(venv) and "numpy" in seen
    from_checkout = {n: p for n, p in seen.items() if Path(p).is_relative_to(ROOT) and not Path(p).is_relative_to(venv)}
    assert from_checkout == {}
    shutil.rmtree(venv)
