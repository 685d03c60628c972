"`make lab`: its command lines, and a chapter that is run in it, in a real browser and on a copy of nbs/"
import os, re, shutil, signal, subprocess, sys, time
from contextlib import contextmanager
from pathlib import Path

import chapters, lab, profiles, pytest

from _lab import lab_kernel
from visits import Visit, fail_if

ROOT = Path(__file__).resolve().parents[1]
MAKE = shutil.which("make")
ENV = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "PROFILE")}
STARTED = """() => document.querySelector('.jp-CodeCell .jp-InputPrompt')?.textContent.match(/[*0-9]/)"""
FINISHED = """() => ![...document.querySelectorAll('.jp-CodeCell .jp-InputPrompt')].some(p => p.textContent.includes('*'))"""
DURATION = """async a => {
  if (!a.readyState) await new Promise(done => ['loadedmetadata', 'error'].map(e => a.addEventListener(e, done)));
  return a.duration;
}"""


def wait(done, process, log, seconds=60):
    "What `done` returns, once it is something; what the server said if it never is"
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None:
        if found := done(): return found
        time.sleep(0.1)
    pytest.fail(f"JupyterLab did not start:\n{log.read_text()[-3000:]}", pytrace=False)


@contextmanager
def running(
    root, # The repository to open
    *options, # For book/lab.py
): # Address and token of the server, which is gone afterwards
    "JupyterLab as `make lab` starts it, with no settings but its own"
    log, own = root/"lab.log", {name: str(root/name) for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "IPYTHONDIR")}
    command = [sys.executable, ROOT/"book/lab.py", "--root", root, "--no-browser", "--ServerApp.ip=127.0.0.1", *options]
    with log.open("w") as f:
        p = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=f, stderr=f, env={**ENV, **own, "MPLBACKEND": "agg"},
                             start_new_session=True)
    try: yield wait(lambda: re.search(r"(http://127\.0\.0\.1:\d+/)lab\?token=(\w+)", log.read_text()), p, log).groups()
    finally:
        p.terminate() # it ends its kernels first
        try: p.wait(30)
        except subprocess.TimeoutExpired: os.killpg(p.pid, signal.SIGKILL)


@pytest.fixture
def copy(tmp_path):
    "The chapters, and a profile under which chapter 1 shows something else"
    shutil.copytree(ROOT/"nbs", tmp_path/"nbs", ignore=shutil.ignore_patterns(".*"))
    (tmp_path/"book").mkdir()
    for name in "_toc.yml", "matplotlibrc": shutil.copy(ROOT/"book"/name, tmp_path/"book")
    (tmp_path/"settings.ini").write_text("[short]\nseconds = 2\n")
    (tmp_path/"nbs/Untitled.ipynb").write_text("{}") # a reader's own
    return tmp_path


def ran(visit, chapter, token):
    "A chapter in JupyterLab, after all its cells have run"
    tab = visit.go(f"lab/tree/{chapter}.ipynb?token={token}")
    tab.get_by_text("Audio tutorial | Idle").wait_for(timeout=90_000)
    tab.get_by_role("menuitem", name="Run", exact=True).click()
    tab.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    tab.wait_for_function(STARTED, timeout=60_000)
    tab.wait_for_function(FINISHED, timeout=240_000)
    return visit


def test_a_chapter_runs_in_the_lab(copy, browser):
    with (running(copy, "--profile", "short") as (address, token),
          browser.new_context(viewport={"width": 1400, "height": 900}) as context):
        visit = ran(Visit(context.new_page(), address), "01_clips", token)
        tab = visit.tab
        said = "\n".join(tab.locator(".jp-OutputArea-output").all_text_contents())
        wrong = tab.locator("[data-mime-type$='.error'], [data-mime-type$='.stderr']").all_text_contents()
        visit.problems += [s for s in wrong if not s.startswith("Warning: Xing")] # libsndfile's, of a file that was joined
        visit.problems += [f"no {s!r} in the outputs" for s in (
            "Not run, as in the book", "Profile [short]: seconds = 2", "Saxophone, the first 2 seconds") if s not in said]
        for output in "img", "audio":
            shown = tab.locator(f".jp-OutputArea-output {output}").first
            shown.scroll_into_view_if_needed(timeout=5_000)
            assert shown.is_visible(), output
            if output == "img": assert shown.evaluate("i => i.naturalWidth") > 500
            else: assert shown.evaluate(DURATION) > 1
    fail_if(visit.problems, "01_clips.ipynb in JupyterLab")
    assert not [p for p in (copy/"nbs").iterdir() if p.suffix != ".ipynb" and p.name != ".ipynb_checkpoints"]
    assert (copy/"_build/lab/01_clips/mono.wav").exists()


def test_a_cursor_works_in_the_lab(copy, browser):
    "The script comes with the output, and the keys of the cursor are not those of the notebook"
    with (running(copy) as (address, token),
          browser.new_context(viewport={"width": 1400, "height": 900}) as context):
        visit = ran(Visit(context.new_page(), address), "94_players", token)
        tab = visit.tab
        picture = tab.locator(".sound-picture").first
        picture.scroll_into_view_if_needed(timeout=5_000)
        slider = tab.get_by_role("slider", name="Position in the sound: A tone that rises").first
        slider.focus()
        for _ in range(2): slider.press("PageUp")
        tab.wait_for_timeout(300)
        part = slider.evaluate("s => parseFloat(s.firstChild.style.left)/100")
        assert part == pytest.approx(0.5, abs=0.05)
        assert slider.evaluate("s => s === document.activeElement"), "the notebook has taken the keys"
        box = slider.bounding_box()
        tab.mouse.click(box["x"] + box["width"]/4, box["y"] + box["height"]/2)
        tab.wait_for_function("[...document.querySelectorAll('.sound-picture + * audio')].some(a => !a.paused)")
    fail_if(visit.problems, "94_players.ipynb in JupyterLab")


def started(monkeypatch, *options):
    "The command line that book/lab.py becomes, and the environment it has then"
    ran = []
    monkeypatch.setattr(os, "environ", {**ENV, "MPLBACKEND": "agg"})
    monkeypatch.setattr(os, "execv", lambda path, command: ran.append(command))
    lab.main([*options])
    return ran[0], os.environ


def test_the_kernels_of_the_lab_have_the_environment_of_the_book(monkeypatch):
    command, env = started(monkeypatch, "--no-browser")
    assert command[-1] == "--no-browser"
    assert env.items() >= chapters.TRAINING.items() and "MPLBACKEND" not in env
    assert eval(env["LAB_VALUES"]) == (None, {})


def test_every_chapter_gets_the_values_of_its_profile(monkeypatch):
    _, env = started(monkeypatch, "--profile", "quick")
    profile, values = eval(env["LAB_VALUES"])
    assert profile == "quick"
    assert len(values) == sum(bool(profiles.declared(p)) for p in profiles.listed_chapters(ROOT))
    assert values["c9f9e63c"] == {"seed": 42} and 8 in [given.get("n_timed") for given in values.values()]


def test_an_unknown_profile_is_an_error():
    with pytest.raises(SystemExit, match=r"no profile \[none\], only quick, book"): lab.main(["--profile", "none"])


@pytest.mark.parametrize("cell, runs", [
    ("#| eval: false\n%pip install x", False), ("\n#| hide\n# | eval : false\n1", False), ("#| eval: false", False),
    ("#| eval: true\n1", True), ("1\n#| eval: false", True), ("'#| eval: false'", True), ("", True)])
def test_the_lab_runs_what_the_book_runs(cell, runs):
    lines = cell.splitlines(keepends=True)
    assert (lab_kernel.skip(lines) == lines) is runs


@pytest.mark.parametrize("options, ending", [([], "lab.py"), (["PROFILE=quick"], "lab.py --profile quick")])
def test_make_lab_takes_a_profile_only_if_asked(options, ending):
    said = subprocess.run([MAKE, "-n", "lab", *options], cwd=ROOT, env=ENV, capture_output=True, text=True, check=True).stdout
    assert said.rstrip().endswith(ending)


@pytest.fixture
def setup(tmp_path):
    "`make setup` in an empty project, with a python3 as Debian has it: `venv` without ensurepip"
    for name in "bin", "without": (tmp_path/name).mkdir()
    for name in "requirements.lock", "pyproject.toml": (tmp_path/name).touch()
    shutil.copy(ROOT/"Makefile", tmp_path)
    (tmp_path/"without/ensurepip.py").write_text("raise ImportError")
    (tmp_path/"bin/rm").symlink_to(shutil.which("rm"))

    def python(name, line):
        path = tmp_path/"bin"/name
        path.write_text(f'#!/bin/sh\n{line} "{sys.executable}" "$@"\n')
        path.chmod(0o755)

    def run():
        return subprocess.run([MAKE, "setup"], cwd=tmp_path, env={**ENV, "PATH": str(tmp_path/"bin")},
                              capture_output=True, text=True)

    python("python3", f'PYTHONPATH="{tmp_path/"without"}" exec')
    return tmp_path, python, run


def test_setup_names_the_package_that_debian_keeps_venv_in(setup):
    root, _, run = setup
    done = run()
    package = "python{}.{}-venv".format(*sys.version_info)
    assert done.returncode and done.stderr.splitlines()[0].endswith(f"sudo apt-get install {package}")
    assert not (root/".venv").exists()


def test_setup_takes_the_next_python_that_has_venv(setup):
    _, python, run = setup
    python("python3.12", '[ "$2" = venv ] && exit 7; exec')
    done = run()
    assert "Setting up .venv with python3.12" in done.stdout and "apt-get" not in done.stderr
