"book/build.py and what it is made of, the real ones, on a small project in an empty folder"
import ast, json, os, re, shutil, subprocess, sys
from pathlib import Path

import build, cells, chapters, depends, nbformat, profiles, pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

ROOT = Path(__file__).resolve().parents[1]
KERNEL = {"kernelspec": {"display_name": "python3", "language": "python", "name": "python3"}}
TITLE, PARAMETERS, NUMBERS = new_markdown_cell("# A chapter"), "seed = 1 # draws", "result = seed*1000\nresult"
OTHER = "[other]\nseed = 7\n"
CONFIG = """
title: Small book
only_build_toc_files: true
execute: {execute_notebooks: "off"}
repository: {path_to_book: "", branch: main}
launch_buttons: {colab_url: "https://colab.research.google.com", binderhub_url: "https://mybinder.org"}
html: {use_repository_button: true, use_edit_page_button: true}
sphinx:
  recursive_update: true
  extra_extensions: [sphinx.ext.autodoc]
"""


def chapter(*cells):
    "A notebook of a title, a parameters cell and some more; text of a cell is code"
    nb = new_notebook(cells=[TITLE, new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]})], metadata=KERNEL)
    nb.cells += [c if isinstance(c, dict) else new_code_cell(c) for c in cells]
    for i, cell in enumerate(nb.cells): cell.id = f"cell-{i}"
    return nb


class Project:
    "A small book: two chapters, the second of which exports a module"
    def __init__(self, root):
        self.root = root
        for folder in "nbs", "book", "audio_tutorial": (root/folder).mkdir(parents=True)
        self.write("audio_tutorial/__init__.py", "")
        self.write("audio_tutorial/two.py", '__all__ = ["twice"]\ndef twice(x):\n    "Two times `x`"\n    return 2*x\n')
        self.write("requirements.lock", "some==1")
        self.write("pyproject.toml", '[project.urls]\nRepository = "https://github.com/some-one/small_book"')
        self.write("settings.ini", "[quick]\nseed = 7\n[quick:two]\nseed = 8\n" + OTHER)
        self.write("book/_config.yml", CONFIG)
        self.write("book/_toc.yml", "format: jb-book\nroot: book/intro\nchapters:\n"
                   "- file: nbs/one\n- file: nbs/two\n- glob: book/api/*\n")
        self.write("book/intro.md", "# Small book\n\nWelcome.")
        self.notebook("one", NUMBERS)
        self.notebook("two", "#| default_exp two", "#| export\nfrom audio_tutorial.two import twice\n", "twice(seed)")

    def write(self, path, text): (self.root/path).write_text(text)
    def notebook(self, name, *cells): nbformat.write(chapter(*cells), self.root/f"nbs/{name}.ipynb")
    def run(self, profile="quick", jobs=1): return chapters.execute(self.root, self.root/"out", profile, jobs)
    def main(self): build.main(["--root", str(self.root), "--profile", "quick", "--out", "out"])
    def kept(self, name, profile="quick"): return self.root/f"out/executed/{profile}/{name}.ipynb"


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(tmp_path)) # and put back after what main sets
    monkeypatch.setenv("JUPYTER_PREFER_ENV_PATH", "1")
    return Project(tmp_path)


def message(call, *args):
    "What a call that must fail says"
    with pytest.raises(SystemExit) as e: call(*args)
    assert isinstance(e.value.code, str) # Python prints it on standard error and exits with status 1
    return e.value.code


def shown(nb):
    "All text in a notebook's outputs"
    return json.dumps([c.outputs for c in nb.cells if c.cell_type == "code"])


# ------------------------------------------------------------------------------------------------- the whole command

@pytest.fixture(scope="module")
def built(tmp_path_factory):
    "The small project, built by the command"
    p = Project(tmp_path_factory.mktemp("built"))
    p.notebook("one", NUMBERS, "#| code-fold: true\n#| code-summary: How it is drawn\n#| label: fig-line\n#| fig-cap: A \"line\": it goes up\n"
               "#| fig-alt: A line, rising: from 0\nimport matplotlib.pyplot as plt\nplt.plot([0, 1]);",
               "#| label: fig-html\n#| fig-cap: \"A picture: it plays\"\n#| fig-alt: A picture in \"HTML\"\n"
               "from IPython.display import HTML\nHTML('<img alt=\"clip\" src=\"data:,\"><img alt=\"another\" src=\"data:,\">')")
    command = [sys.executable, ROOT/"book/build.py", "--root", p.root, "--profile", "quick", "--out", "out"]
    p.done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "MPLBACKEND": "agg"})
    assert p.done.returncode == 0, p.done.stderr
    return p


def test_progress_line_per_chapter(built):
    lines = built.done.stdout.splitlines()
    assert re.fullmatch(r"\[1/2\] one  \d+\.\d s", lines[0]) and re.fullmatch(r"\[2/2\] two  \d+\.\d s", lines[1])
    assert lines[-1].endswith("out/html/index.html")


def test_page_shows_values_of_the_run_once(built):
    page = (built.root/"out/html/nbs/one.html").read_text()
    assert "7000" in page and page.count("# draws") == 1
    assert "16" in shown(nbformat.read(built.kept("two"), 4)) # overridden for this chapter, and [other] not used


def test_figure_has_caption_and_alt(built):
    page = (built.root/"out/html/nbs/one.html").read_text()
    assert 'alt="A line, rising: from 0"' in page
    assert re.search(r'id="fig-line".*<figcaption>.*it goes up', page, re.S)
    html = re.search(r'id="fig-html".*?</figure>', page, re.S)[0]
    assert re.findall('alt="(.*?)"', html) == ["A picture in &quot;HTML&quot;", "another"] and "A picture: it plays<" in html
    assert "How it is drawn" in page and "code-summary" not in page # above the code that is folded


def test_links_come_from_the_one_address(built):
    page = (built.root/"out/html/nbs/one.html").read_text()
    for link in ("https://colab.research.google.com/github/some-one/small_book/blob/main/nbs/one.ipynb",
                 "https://mybinder.org/v2/gh/some-one/small_book/main?urlpath=tree/nbs/one.ipynb",
                 "https://github.com/some-one/small_book/edit/main/nbs/one.ipynb"):
        assert f'"{link}"' in page
    assert '<link rel="canonical" href="https://some-one.github.io/small_book/nbs/one.html"' in page


def test_reference_page_per_module(built):
    page = (built.root/"out/html/book/api/two.html").read_text()
    assert "audio_tutorial.two.twice" in page and 'href="../../nbs/two.html"' in page


def test_missing_or_empty_page_is_found(built, tmp_path):
    executed = [(n, nbformat.read(built.kept(n), 4)) for n in ("one", "two")]
    pages = ["book/intro", "nbs/one", "nbs/two", "book/api/two"]
    whole = built.root/"out/html"
    build.check(whole, pages, executed)
    copy = shutil.copytree(whole, tmp_path/"html")
    page, text = copy/"nbs/one.html", (whole/"nbs/one.html").read_text()
    page.unlink()
    assert "nbs/one: missing" in message(build.check, copy, pages, executed)
    page.write_text(re.sub(r"<article.*</article>", "<article></article>", text, flags=re.S))
    assert "nbs/one: rendered without a title" in message(build.check, copy, pages, executed)
    page.write_text(re.sub(r"(<article.*?</h1>).*(</article>)", r"\1\2", text, flags=re.S))
    assert "nbs/one: rendered empty" in message(build.check, copy, pages, executed)
    page.write_text(text.replace("cell_output", "nothing"))
    assert "nbs/one: rendered without the outputs" in message(build.check, copy, pages, executed)


def test_book_with_an_empty_chapter_fails(project):
    nb = chapter(NUMBERS)
    nb.cells[1:] = [new_code_cell("#| hide\n" + PARAMETERS, metadata={"tags": ["parameters"]})]
    nbformat.write(nb, project.root/"nbs/one.ipynb")
    assert "nbs/one: rendered empty" in message(project.main)


def test_warning_of_the_rendering_fails(project):
    project.notebook("one", new_markdown_cell("See [nothing](nowhere.ipynb)."))
    said = message(project.main)
    assert "Jupyter Book failed" in said and "nowhere.ipynb" in said and "sphinx.log" in said


# ------------------------------------------------------------------------------------------------------ what may fail

def test_failing_cell_is_named_and_the_half_run_notebook_kept(project):
    project.notebook("one", "print('ran')", "#| hide\n\n1/0 # too far", "print('never')")
    said = message(project.main)
    assert "one, code cell 3 (1/0 # too far): ZeroDivisionError: division by zero" in said and "\x1b" not in said
    half = Path(said.rsplit("Half-run notebook: ", 1)[1])
    text = shown(nbformat.read(half, 4))
    assert "ran" in text and "ZeroDivisionError" in text and "never" not in text
    assert not project.kept("one").exists() and not (project.root/"out/html").exists()


def test_failing_run_leaves_no_good_one(project, capsys):
    project.run()
    project.notebook("one", "raise OSError('no disk')")
    message(project.run)
    message(project.run) # again: it is not taken for done
    project.notebook("one", NUMBERS)
    capsys.readouterr()
    project.run() # as it was at its last good run
    assert capsys.readouterr().out.count("unchanged") == 2


def test_cell_that_kills_or_leaves_the_kernel_is_a_failure(project):
    project.notebook("one", "import os\nos._exit(1)")
    assert "one, code cell 2 (import os): the kernel died" in message(project.run)
    project.notebook("one", "import sys\nsys.exit(0)", "print('never')")
    assert "one, code cell 2 (import sys): it left the chapter before its end" in message(project.run)


@pytest.mark.parametrize("settings, said", [
    ("[quick]\nsede = 1", "unknown parameter 'sede' in [quick]: no chapter declares it"),
    ("[quick]\n[quick:one]\nresult = 1", "unknown parameter 'result' in [quick:one]: one does not declare it"),
    ("[quick]\n[other]\nsede = 1", "unknown parameter 'sede' in [other]"),
    ("[quick]\n[DEFAULT]\nsede = 1", "unknown parameter 'sede' in [DEFAULT]"),
    ("[quick]\n[quick:three]\nseed = 1", "[quick:three] names no chapter"),
    ("[quick]\n[quack:one]\nseed = 1", "[quack:one] belongs to no profile [quack]"),
    ("[quick]\nseed = seven", "seed in [quick] is no Python literal: seven"),
    ("[other]\nseed = 1", "no profile [quick], only other"),
    ("seed = 1", "settings.ini: "),
])
def test_bad_settings(project, settings, said):
    project.write("settings.ini", settings)
    assert said in message(project.run)


@pytest.mark.parametrize("text", ["(1, 2)", "{1, 2}", "b'x'", "[1, (2, 3)]", "{'a': (1,)}", "{1: 'a'}", "1e999", "-1e999",
                                  "1j", "()", "..."])
def test_a_value_that_would_arrive_as_another_is_refused(project, text):
    project.write("settings.ini", f"[quick]\n[quick:one]\nseed = {text}")
    said = message(project.run)
    assert said.startswith("settings.ini: seed in [quick:one] would not reach a chapter as it is: ")


@pytest.mark.parametrize("text", ["None", "True", "-3", "0.1", "1e-9", "[[1, 2], [3, []], None]", "{'a': [1, {'b': False}]}",
                                  "'it\\'s \"this\" \\\\ \\n ä'", "''"])
def test_a_value_that_arrives_is_the_value(project, text):
    project.write("settings.ini", f"[quick]\nseed = {text}")
    project.notebook("one", "repr(seed)")
    value, = {repr(v["seed"]) for v in profiles.values_of(project.root, profiles.book_chapters(project.root), "quick").values()}
    assert value == repr(ast.literal_eval(text))
    code = chapters.papermill.translators.PythonTranslator.codify({"seed": ast.literal_eval(text)})
    assert ast.literal_eval(code.split(" = ", 1)[1]) == ast.literal_eval(text)


def test_nan_is_no_literal(project):
    project.write("settings.ini", "[quick]\nseed = float('nan')")
    assert "seed in [quick] is no Python literal" in message(project.run)


def test_contents_and_notebooks_must_agree(project):
    project.notebook("three", NUMBERS)
    assert "does not list: three.ipynb" in message(project.run)
    for name in "three", "two": (project.root/f"nbs/{name}.ipynb").unlink()
    assert "not in nbs/: two.ipynb" in message(project.run)


@pytest.mark.parametrize("cell, said", [
    ("#| exprot\nx = 1", "one, code cell 2 (x = 1): unknown directive exprot"),
    ("#| label: fig-x\n#| fig-cap: X\nx = 1",
     "a figure needs label, fig-cap, fig-alt; this one has only label, fig-cap"),
])
def test_bad_directives(project, cell, said):
    project.notebook("one", cell)
    assert said in message(project.run)


# ---------------------------------------------------------------------------------------------------- what runs again

def test_skips_what_is_unchanged_and_says_so(project, capsys):
    first = project.run()
    capsys.readouterr()
    assert project.run() == first
    assert capsys.readouterr().out.splitlines() == [
        "[1/2] one  unchanged, kept from its last good run", "[2/2] two  unchanged, kept from its last good run"]


@pytest.mark.parametrize("text, left", [
    ("plain\n  text  \n", "plain\n  text  \n"),
    ("\r  0%|  | 0/2\r100%|##| 2/2\n", "100%|##| 2/2\n"),
    ("\r 50%|# |\r         \r", ""), # cleared, as a bar that does not stay
    ("before\n\r 50%|# |\r         \r", "before\n"),
    ("\r 50%|# |\r         \rdone\n", "done\n"),
    ("long line\rshort", "shortline"), # a terminal leaves the rest
    ("long line\r\x1b[Kshort", "short"),
    ("long line\x1b[2K\r\n", ""),
    ("a\r\nb\r\n", "a\nb\n"),
    ("\n\n", "\n\n"),
])
def test_a_bar_leaves_what_a_terminal_shows(text, left): assert chapters.text_shown(text) == left


def test_a_page_shows_no_bar_that_is_done(project):
    project.notebook("one", "import sys\nfor i in range(3): print(f'\\r{i}/2 done', end='', file=sys.stderr)",
                     "print('\\r50 %\\r    \\r', end='', file=sys.stderr)\n7")
    outputs = [c.outputs for c in cells.code_cells(project.run()[0][1])]
    assert [o.text for o in outputs[1]] == ["2/2 done"]
    assert [o.output_type for o in outputs[2]] == ["execute_result"]


def test_two_chapters_run_at_a_time(project, tmp_path):
    "Each writes down where numba keeps what it compiles, and waits for the other: two that share it end in a crash"
    wait = ("import os, time\nfrom pathlib import Path\nPath({0!r}, {1!r}).write_text(os.environ['NUMBA_CACHE_DIR'])\n"
            "end = time.monotonic() + 60\n"
            "while not Path({0!r}, {2!r}).exists(): assert time.monotonic() < end; time.sleep(0.05)")
    project.notebook("one", wait.format(str(tmp_path), "a", "b"))
    project.notebook("two", wait.format(str(tmp_path), "b", "a"))
    assert [name for name, _ in project.run(jobs=2)] == ["one", "two"]
    assert (tmp_path/"a").read_text() != (tmp_path/"b").read_text()


def test_nothing_begins_after_a_failure(project):
    project.notebook("one", "1/0")
    project.notebook("two", "open('begun', 'w').close()\n1/0")
    assert "one, code cell 2" in message(project.run)
    assert not project.kept("two").with_suffix(".failed.ipynb").exists()


@pytest.fixture
def ran(project, monkeypatch):
    "The names of the chapters that run, without running them"
    names = []
    monkeypatch.setattr(chapters, "run", lambda nb, out, kept, values: (
        kept.parent.mkdir(parents=True, exist_ok=True), names.append(nb.stem), nbformat.read(nb, 4))[-1])
    return names


def again(project, ran, *args):
    "The chapters that run now"
    ran.clear()
    project.run(*args)
    return list(ran)


@pytest.mark.parametrize("path, text, which", [
    ("nbs/one.ipynb", None, ["one"]),
    ("audio_tutorial/two.py", "def twice(x): return x + x", ["two"]),
    ("audio_tutorial/__init__.py", "__version__ = '2'", ["one", "two"]),
    ("audio_tutorial/samples.bin", "a new sample", ["one", "two"]),
    ("book/matplotlibrc", "figure.dpi: 50", ["one", "two"]),
    ("requirements.lock", "some==2", ["one", "two"]),
    ("settings.ini", "[quick]\nseed = 7\n[quick:two]\nseed = 9\n" + OTHER, ["two"]),
    ("settings.ini", "# a comment\n[quick]\nseed = 7\n[quick:two]\nseed = 8\n" + OTHER, []),
    ("book/intro.md", "# Another book", []),
])
def test_runs_again_what_has_changed(project, ran, path, text, which):
    assert again(project, ran) == ["one", "two"]
    project.notebook("one", "1 + 1") if text is None else project.write(path, text)
    assert again(project, ran) == which
    assert again(project, ran, "other") == ["one", "two"] # each profile keeps its own
    assert again(project, ran) == []


MODULES = {"low": "def low(): return 1\n", "lazy": "x = 1\n", "apart": "x = 1\n", "shell": "def main(): print(1)\n",
           "mid": "from .low import low\ndef mid():\n    from audio_tutorial.lazy import x\n    return x + low()\n",
           "all": "from audio_tutorial import check\nfrom audio_tutorial.mid import *\n"}
MIDS = {"low", "lazy", "mid"}


@pytest.mark.parametrize("cell, needs", [
    ("from audio_tutorial.mid import mid", MIDS),
    ("def f():\n    import audio_tutorial.mid as m", MIDS), # inside a function of the chapter
    ("#| export\nfrom audio_tutorial.mid import mid", MIDS),
    ("from audio_tutorial import (low,\n    apart)", {"low", "apart"}),
    ("from audio_tutorial import low, \\\n    apart", {"low", "apart"}),
    ("program = 'from audio_tutorial.mid import mid'", MIDS), # for a Python of its own
    ("!small-book 1", {"shell"}),
    ("import subprocess\nsubprocess.run(['small-book', '1'])", {"shell"}),
    ("from audio_tutorial.all import *", {"all", *MIDS}),
    ("import audio_tutorial as at\nat.low", {*MODULES, "two", "check"}),
    ("import importlib\nimportlib.import_module(f'audio_tutorial.{1}')", {*MODULES, "two", "check"}),
    ("#| eval: false\nfrom audio_tutorial.mid import mid", set()), # the book does not run it
    ("1 + 1", set()),
])
def test_a_chapter_depends_on_what_it_imports(project, ran, monkeypatch, cell, needs):
    monkeypatch.setattr(depends, "answers", lambda root: {})
    for name, text in MODULES.items(): project.write(f"audio_tutorial/{name}.py", text)
    project.write("audio_tutorial/check.py", CHECKS)
    url = "[project.urls]\nRepository = 'https://github.com/some-one/small_book'\n"
    project.write("pyproject.toml", url + "[project.scripts]\nsmall-book = 'audio_tutorial.shell:main'\n")
    project.notebook("one", cell)
    again(project, ran)
    found = set()
    for path in sorted((project.root/"audio_tutorial").glob("[!_]*.py")):
        path.write_text(path.read_text() + "# changed\n")
        if "one" in again(project, ran): found.add(path.stem)
    assert found == needs


CHECKS = """
from audio_tutorial.two import twice
from IPython.display import Markdown
__all__ = ["half", "third"]
def half(answer): return Markdown("Your turn" if answer is ... else "Right" if twice(answer) == 1 else "Not yet")
def third(answer): return Markdown("Your turn" if answer is ... else "Right" if 3*answer == 1 else "Not yet")
"""
ASKS = "from audio_tutorial import check", "check.half(...)"


@pytest.mark.parametrize("text, which", [
    (CHECKS.replace("Not yet", "No"), []), # mended
    (CHECKS.replace("    ", "  ") + "# a comment", []),
    (CHECKS.replace('half(answer): return Markdown("Your turn"', 'half(answer): return Markdown("You"'), ["one"]),
    (CHECKS.replace('third(answer): return Markdown("Your turn"', 'third(answer): return Markdown("You"'), []),
    (CHECKS.replace("half", "hold"), ["one"]), # the chapter asks for what is no more there
    (CHECKS + "def half(answer): return 1/answer", ["one"]), # the chapter fails
])
def test_mending_a_check_runs_nothing(project, ran, text, which):
    project.write("audio_tutorial/check.py", CHECKS)
    project.notebook("one", *ASKS)
    again(project, ran)
    project.write("audio_tutorial/check.py", text)
    assert again(project, ran) == which


def test_what_a_check_imports_is_not_what_its_chapter_imports(project, ran):
    project.write("audio_tutorial/check.py", CHECKS)
    project.notebook("one", *ASKS)
    again(project, ran)
    project.write("audio_tutorial/two.py", "def twice(x): return x + x")
    assert again(project, ran) == ["two"]


@pytest.mark.parametrize("use", ["check.half(0.5)", "check.half(..., 1)", "check.half(answer=...)", "ask = check.half",
                                 "from audio_tutorial.check import half", "from audio_tutorial import check as c",
                                 "from audio_tutorial.all import *\ncheck.half(0.5)"])
def test_a_chapter_that_shows_more_of_check_depends_on_it(project, ran, monkeypatch, use):
    monkeypatch.setattr(depends, "answers", lambda root: {"half": "the same"})
    project.write("audio_tutorial/all.py", "from audio_tutorial import check")
    project.write("audio_tutorial/check.py", CHECKS)
    project.notebook("one", *ASKS, use)
    again(project, ran)
    project.write("audio_tutorial/check.py", CHECKS.replace("Not yet", "No"))
    assert again(project, ran) == ["one"]


def test_a_check_that_cannot_be_imported_is_an_error(project):
    project.write("audio_tutorial/check.py", "from audio_tutorial.two import thrice")
    said = message(project.run)
    assert "audio_tutorial.check cannot be imported" in said and "thrice" in said


def test_who_mends_a_check_trains_nothing():
    "Chapter 4 shows verdicts, which takes no training, and the page on checks shows them all"
    others = [p.stem for p in profiles.notebooks(ROOT) if depends.asked_with_dots(depends.code_of(p)) is None]
    assert others == ["04_mel", "99_check"]


@pytest.mark.parametrize("name", depends.RUNNERS)
def test_what_runs_chapters_is_part_of_the_state(project, monkeypatch, tmp_path, name):
    here = shutil.copytree(ROOT/"book", tmp_path/"copy")
    monkeypatch.setattr(depends, "__file__", str(here/"depends.py"))
    before = depends.shared(project.root)
    (here/"build.py").write_text("another")
    assert depends.shared(project.root) == before
    (here/name).write_text("another")
    assert depends.shared(project.root) != before


def test_two_runs_give_the_same_bytes(project):
    project.run()
    first = project.kept("one").read_bytes()
    project.kept("one").unlink()
    project.run()
    assert project.kept("one").read_bytes() == first


# ------------------------------------------------------------------------------------------------------------- cells

def test_chapter_runs_in_an_empty_folder_with_colab_cell_skipped(project):
    project.notebook("one", "#| eval: false\n# In Colab, run this\n%pip install something",
                     "import os\nos.listdir()", "open('left behind', 'w').close()")
    project.notebook("two", "import os\nos.listdir()")
    (_, one), (_, two) = project.run()
    install, listing, _ = cells.code_cells(one)[1:]
    assert install.metadata.tags == ["skip-execution", "hide-input"] and not install.outputs
    assert listing.outputs[0]["data"]["text/plain"] == cells.code_cells(two)[1].outputs[0]["data"]["text/plain"] == "[]"


@pytest.mark.parametrize("directive, tag", [(d.strip(), t) for d, t in cells.TAGS.items()])
def test_directives_become_tags(directive, tag):
    nb = cells.prepare(chapter(f"#| export\n# |{directive}\n\nx = 1 #| hide"), "one")
    assert nb.cells[-1].metadata.tags == [tag] and nb.cells[-1].source == "x = 1 #| hide"


def test_fill_in_keeps_comments_and_the_rest():
    source = "# Parameters\nseed = 1     # draws «ä»\nname: str = 'a # b'  # who\nsome = other = 3\nn = 2*3\n"
    filled = chapters.fill_in(source, {"seed": 7, "name": "it's", "n": None})
    assert filled == ("# Parameters\nseed = 7     # draws «ä»\nname: str = \"it's\"  # who\n"
                      "some = other = 3\nn = None")
