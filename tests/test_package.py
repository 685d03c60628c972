"The notebooks and what is made from them: the package, the settings, the addresses"
import ast, json, os, re, shutil, subprocess, sys, tomllib
from pathlib import Path

import build, cells, chapters, nbformat, profiles, pytest

ROOT = Path(__file__).resolve().parents[1]

NOTEBOOKS = profiles.notebooks(ROOT)
BY_HAND = Path("all.py") # the one module that no notebook exports
CHAPTERS = {module: names[0] for module, names in build.modules(NOTEBOOKS).items()} # {module: its chapter}
LIGHT = [m for m in CHAPTERS if m in ("arrays", "decoders", "files", "players", "clips", "fft", "stft", "mel", "folders",
                                      "report", "nsynth", "notes")]
HEAVY = {"torch", "fastai", "pandas", "matplotlib", "numba"}
URL = build.address(ROOT)

each_notebook = pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda p: p.stem)


def source(notebook, kind):
    "The sources of a notebook's cells of one kind"
    return [c["source"] for c in nbformat.read(notebook, 4).cells if c["cell_type"] == kind]


# ---------------------------------------------------------------------------------------- notebooks and package agree

def export(root, to):
    "A copy of a project whose notebooks are cleaned and whose package is exported from scratch"
    shutil.copytree(root/"nbs", to/"nbs", ignore=shutil.ignore_patterns(".*"))
    shutil.copy(root/"pyproject.toml", to)
    (to/"audio_tutorial").mkdir()
    shutil.copy(root/"audio_tutorial/__init__.py", to/"audio_tutorial")
    env = {k: v for k, v in os.environ.items() if k != "IN_TEST"} # with it, nbdev-export does nothing
    for command in "nbdev-clean", "nbdev-export": subprocess.run([chapters.BIN/command], cwd=to, env=env, check=True)
    return to


def differences(root, fresh):
    "What of a project is not as a fresh export has it"
    package, made = ({p.relative_to(r/"audio_tutorial"): p.read_text() for p in (r/"audio_tutorial").rglob("*.py")}
                     for r in (root, fresh))
    package.pop(BY_HAND, None)
    found = [f"orphaned: {name}" for name in package.keys() - made]
    found += [f"stale: {name}" for name in made if package.get(name) != made[name]]
    for notebook in profiles.notebooks(root):
        if notebook.read_text() != (fresh/"nbs"/notebook.name).read_text(): found.append(f"not clean: {notebook.name}")
        for cell in json.loads(notebook.read_text())["cells"]:
            if cell["cell_type"] == "code" and (cell["outputs"] or cell["execution_count"]):
                found.append(f"has outputs: {notebook.name}")
    return sorted(set(found))


@pytest.fixture(scope="module")
def fresh(tmp_path_factory): return export(ROOT, tmp_path_factory.mktemp("fresh"))


def test_package_and_notebooks_agree(fresh):
    assert differences(ROOT, fresh) == [], "run `make export` (it leaves an orphaned module to you) and commit"


def test_disagreement_is_found(fresh, tmp_path):
    "The test above can fail: a project with every fault in turn"
    root = shutil.copytree(fresh, tmp_path/"copy")
    assert differences(root, fresh) == []
    module, notebook = root/"audio_tutorial/clips.py", root/"nbs/01_clips.ipynb"
    (root/"audio_tutorial/all.py").write_text("from .clips import *")
    assert differences(root, fresh) == []

    (root/"audio_tutorial/gone.py").write_text("")
    assert differences(root, fresh) == ["orphaned: gone.py"]
    (root/"audio_tutorial/gone.py").unlink()

    module.write_text(module.read_text() + "\n")
    assert differences(root, fresh) == ["stale: clips.py"]
    module.unlink()
    assert differences(root, fresh) == ["stale: clips.py"]
    shutil.copy(fresh/"audio_tutorial/clips.py", module)

    nb = nbformat.read(notebook, 4)
    cell = cells.code_cells(nb)[1]
    cell.outputs = [nbformat.v4.new_output("stream", text="left")]
    nbformat.write(nb, notebook)
    assert "has outputs: 01_clips.ipynb" in differences(root, fresh)
    cell.outputs, cell.metadata["scrolled"] = [], True
    nbformat.write(nb, notebook)
    assert differences(root, export(root, tmp_path/"again")) == ["not clean: 01_clips.ipynb"]


def test_changed_notebook_makes_its_module_stale(fresh, tmp_path):
    root = shutil.copytree(fresh, tmp_path/"copy")
    text = (root/"nbs/01_clips.ipynb").read_text()
    (root/"nbs/01_clips.ipynb").write_text(text.replace("def example_clip(", "def another_clip("))
    assert "stale: clips.py" in differences(root, export(root, tmp_path/"again"))


# --------------------------------------------------------------------------------------------------------- a notebook

@each_notebook
def test_lines_fit_a_phone(notebook):
    long = [line for cell in source(notebook, "code") for line in cell.splitlines()
            if len(line) > 78 and not cells.DIRECTIVE.match(line)]
    address = [line for line in long if URL in line] # cannot be broken
    assert long == address


@each_notebook
def test_links_to_chapters_have_their_numbers(notebook):
    links = re.findall(r"\[(?:[Cc]hapters? )?(\d+)\]\((\d\d)_(\w+\.ipynb)", "\n".join(source(notebook, "markdown")))
    assert [link for link in links if int(link[0]) != int(link[1])] == []
    assert [link for link in links if not (notebook.parent/f"{link[1]}_{link[2]}").exists()] == []


@each_notebook
def test_declares_seed(notebook): assert "seed" in profiles.declared(notebook)


@each_notebook
def test_directives_are_known(notebook): cells.prepare(nbformat.read(notebook, 4), notebook.stem)


@each_notebook
def test_installs_itself_in_colab(notebook):
    cells = [c for c in source(notebook, "code") if "%pip install" in c]
    assert len(cells) == 1 and cells[0].startswith("#| eval: false\n")
    assert re.search(rf'%pip install .*"audio-tutorial(\[\w+\])? @ git\+{re.escape(URL)}"', cells[0])


def test_settings_fit_the_notebooks():
    found = profiles.read_profiles(ROOT, NOTEBOOKS)
    assert {"quick", "book", "nsynth"} <= set(found)


# --------------------------------------------------------------------------------------------------------- the package

def exported(module):
    "`__all__` of a module"
    for node in ast.parse((ROOT/f"audio_tutorial/{module}.py").read_text()).body:
        if isinstance(node, ast.Assign) and node.targets[0].id == "__all__": return ast.literal_eval(node.value)


@pytest.mark.parametrize("module", CHAPTERS)
def test_chapter_lists_what_it_exports(module):
    text = "\n".join(source(ROOT/f"nbs/{CHAPTERS[module]}.ipynb", "markdown"))
    assert [n for n in exported(module) if not re.search(rf"`([\w.]+\.)?{n}\b[^`]*`", text)] == []


def imports(code):
    "Top-level names of the modules loaded after running some code in a new Python"
    code += "; import sys; print(*{m.split('.')[0] for m in sys.modules})"
    return set(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split())


@pytest.mark.parametrize("module", LIGHT)
def test_light_modules_import_nothing_heavy(module):
    loaded = imports(f"import audio_tutorial.{module}")
    assert "audio_tutorial" in loaded and loaded & HEAVY == set()


# --------------------------------------------------------------------------------------------- addresses and the lock

OURS = re.compile(r"(?:colab\.research\.google\.com/github/|mybinder\.org/v2/gh/|git\+https://[\w.]+/)"
                  r"([\w.-]+/[\w.-]*[\w-])"
                  r"|(?:github\.com|githubusercontent\.com)/([\w-]+/audio[_-]tutorial)\b"
                  r"|https?://([\w-]+\.github\.io/audio[_-]tutorial)\b")
OWNER, REPO = URL.split("/")[-2:]


def strangers(text):
    "Addresses in a text that mean this repository but name another"
    names = [next(filter(None, m.groups())).removesuffix(".git") for m in OURS.finditer(text)]
    return [name for name in names if name not in (f"{OWNER}/{REPO}", f"{OWNER}.github.io/{REPO}")]


@pytest.mark.parametrize("path", [p for pattern in ("nbs/*.ipynb", "*.md", "*.cff", "book/*.md", "book/*.yml", "*.toml")
                                  for p in sorted(ROOT.glob(pattern))], ids=lambda p: p.name)
def test_one_address(path): assert strangers(path.read_text()) == []


def test_another_address_is_found():
    for link in ("git+https://github.com/x/y.git", "https://colab.research.google.com/github/x/y/blob/main/nbs/a.ipynb",
                 "https://mybinder.org/v2/gh/x/y/main", "https://github.com/x/audio-tutorial/issues",
                 "https://raw.githubusercontent.com/x/audio_tutorial/main/a.png",
                 "https://x.github.io/audio_tutorial/"):
        assert strangers(f"see {link}."), link
    for link in (f"git+{URL}", f"{URL}.git", f"{URL}/issues", f"https://{OWNER}.github.io/{REPO}/",
                 f"https://colab.research.google.com/github/{OWNER}/{REPO}/blob/main/nbs/a.ipynb",
                 "https://github.com/librosa/librosa"):
        assert not strangers(f"see {link}."), link


def test_lock_is_hashed_and_names_no_host():
    text = (ROOT/"requirements.lock").read_text()
    assert "://" not in text
    assert all("--hash=sha256:" in pin for pin in re.split(r"\n(?=\S)", text.strip()))


def test_lock_satisfies_pyproject():
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name
    project = tomllib.loads((ROOT/"pyproject.toml").read_text())["project"]
    pins = dict(re.findall(r"^([\w.-]+)==([^\s;\\]+)", (ROOT/"requirements.lock").read_text(), re.M))
    wanted = [*project["dependencies"], *(r for extra in project["optional-dependencies"].values() for r in extra)]
    wrong = [r for r in map(Requirement, wanted) if pins.get(canonicalize_name(r.name)) not in r.specifier]
    assert wrong == [], "run `make lock`"


@each_notebook
def test_outputs_show_no_path_of_this_machine(notebook):
    ran = ROOT/"_build/quick/src/nbs"/notebook.name
    if not ran.exists(): pytest.skip(f"no {ran.relative_to(ROOT)}: make test builds it")
    outputs = json.dumps([cell.outputs for cell in cells.code_cells(nbformat.read(ran, 4))])
    assert [path for path in (f"{ROOT}/", f"{Path.home()}/", "site-packages/") if path in outputs] == []
