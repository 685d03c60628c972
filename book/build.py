"""Run the chapters of nbs/ under a profile of settings.ini and render them, with book/, as a Jupyter Book.

The pages land in OUT/html, the chapters as they ran in OUT/executed/PROFILE. What is wrong is said on standard error,
with exit status 1."""
import argparse, ast, configparser, hashlib, html, os, re, shutil, subprocess, sys, time, tomllib
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import nbformat, papermill, yaml
from nbclient.exceptions import DeadKernelError

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT)) # for bench
from bench.tables import all_reports
from bench.turns import TRAINING

BIN = Path(sys.executable).parent
DIRECTIVE = re.compile(r"\s*#\s*\|\s*([\w-]+)\s*:?\s*(.*?)\s*$")
TAGS = {"hide": "remove-cell", "default_exp": "remove-cell", "hide_input": "remove-input",
        "hide_output": "remove-output", "include: false": "remove-cell", "echo: false": "remove-input",
        "output: false": "remove-output", "eval: false": "skip-execution", "code-fold: true": "hide-input",
        "warning: false": "remove-stderr"}
FIGURE = ("label", "fig-cap", "fig-alt")
KNOWN = {*(k.split(":")[0] for k in TAGS), *FIGURE, "export", "exports", "exporti"}
COLOURS = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")

# ------------------------------------------------------------------------------------------------ what there is to do

def toc_pages(node) -> list:
    "All pages that a table of contents, or a part of one, names, in reading order and without suffix"
    if isinstance(node, list): return [page for part in node for page in toc_pages(part)]
    if not isinstance(node, dict): return []
    own = [node[k] for k in ("root", "file") if k in node]
    return own + [page for part in node.values() for page in toc_pages(part)]

def notebooks(root: Path) -> list:
    "Paths of all notebooks in nbs/"
    return [p for p in sorted((root/"nbs").glob("*.ipynb")) if p.name[0] not in "_."]

def listed_chapters(root: Path) -> list:
    "Paths of the notebooks that the table of contents lists, in reading order"
    toc = yaml.safe_load((root/"book/_toc.yml").read_text())
    return [root/f"{page}.ipynb" for page in toc_pages(toc) if page.startswith("nbs/")]

def chapters(root: Path) -> list:
    "Paths of the notebooks in reading order: those of the table of contents, which are exactly those in nbs/"
    listed, there = listed_chapters(root), notebooks(root)
    if missing := [p.name for p in listed if p not in there]:
        sys.exit(f"book/_toc.yml lists chapters that are not in nbs/: {', '.join(missing)}")
    if extra := [p.name for p in there if p not in listed]:
        sys.exit(f"nbs/ has notebooks that book/_toc.yml does not list: {', '.join(extra)}")
    return listed

def declared(notebook: Path) -> set:
    "The names in the parameters cell of a chapter"
    return set(papermill.inspect_notebook(str(notebook)))

def profiles(
    root: Path, # The repository
    listed: list, # Its chapters
) -> dict: # `{profile: {chapter: {name: value}}}`
    "The values that settings.ini gives each chapter; a name that nobody declares is an error"
    names = {p.stem: declared(p) for p in listed}
    ini = configparser.ConfigParser(default_section="", interpolation=None)
    ini.optionxform = str
    try: ini.read(root/"settings.ini")
    except configparser.Error as e: sys.exit(f"settings.ini: {e}")
    found = {section: {stem: {} for stem in names} for section in ini.sections() if ":" not in section}
    for section in sorted(ini.sections(), key=lambda s: ":" in s): # a profile first, then what overrides it
        profile, _, only = section.partition(":")
        if profile not in found: sys.exit(f"settings.ini: [{section}] belongs to no profile [{profile}]")
        if only and only not in names: sys.exit(f"settings.ini: [{section}] names no chapter of nbs/")
        for key, text in ini[section].items():
            takers = [stem for stem in ([only] if only else names) if key in names[stem]]
            if not takers:
                sys.exit(f"settings.ini: unknown parameter {key!r} in [{section}]: "
                         f"{only or 'no chapter'} {'does not declare it' if only else 'declares it'}")
            try: value = ast.literal_eval(text)
            except (ValueError, SyntaxError):
                sys.exit(f"settings.ini: {key} in [{section}] is no Python literal: {text}")
            for stem in takers: found[profile][stem][key] = value
    return found

def values_of(root: Path, listed: list, profile: str) -> dict:
    "`{chapter: {name: value}}` of a profile; one that settings.ini does not know is an error"
    every = profiles(root, listed)
    if profile not in every: sys.exit(f"settings.ini has no profile [{profile}], only {', '.join(every)}")
    return every[profile]

# ------------------------------------------------------------------------------------------------------- one chapter

def set_environment(
    root: Path, # The repository
    jobs: int=1, # Kernels that run at a time, sharing the cores
):
    "Set the environment that kernels take over from this process: those of the book and those of `make lab`"
    os.environ |= {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "PYTHONHASHSEED": "0",
                   "PYTHONPATH": os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH")])),
                   "JUPYTER_PREFER_ENV_PATH": "1", "MATPLOTLIBRC": str(root/"book/matplotlibrc"), **TRAINING}
    if jobs > 1: os.environ["OMP_NUM_THREADS"] = str(max(1, os.cpu_count()//jobs))
    os.environ.pop("MPLBACKEND", None) # "agg" would leave the pages without figures

def code_cells(nb):
    "The code cells that stand in the notebook itself, without the one that papermill injects"
    return [c for c in nb.cells if c.cell_type == "code" and "injected-parameters" not in c.metadata.get("tags", [])]

def where(name: str, number: int, source: str) -> str:
    "A code cell as messages name it: chapter, number from 1, first line"
    line = next((s for s in source.splitlines() if s.strip() and not DIRECTIVE.match(s)), "empty")
    return f"{name}, code cell {number} ({line.strip()[:60]})"

def split_directives(
    source: str, # Code of a cell
) -> tuple: # `{directive: value}`, the code without their lines
    "Take the directives of nbdev off the top of a cell"
    lines, found = source.splitlines(keepends=True), {}
    while lines and ((m := DIRECTIVE.match(lines[0])) or (found and not lines[0].strip())):
        if m: found[m[1]] = m[2]
        lines.pop(0)
    return found, "".join(lines)

def prepare(
    nb, # Notebook as it stands in nbs/
    name: str, # Its name in messages
): # The same notebook
    "Turn directives into the tags and the metadata that nbclient and MyST-NB read"
    for number, cell in enumerate(code_cells(nb), 1):
        found, source = split_directives(cell.source)
        here = where(name, number, source)
        if unknown := set(found) - KNOWN: sys.exit(f"{here}: unknown directive {', '.join(sorted(unknown))}")
        if (given := [k for k in FIGURE if found.get(k)]) and len(given) < len(FIGURE):
            sys.exit(f"{here}: a figure needs {', '.join(FIGURE)}; this one has only {', '.join(given)}")
        tags = [TAGS.get(k) or TAGS.get(f"{k}: {v}") for k, v in found.items()]
        if "skip-execution" in tags and "%pip install" in source: # only Colab needs it
            tags.append("hide-input")
            cell.metadata["mystnb"] = {"code_prompt_show": "Install (Colab)", "code_prompt_hide": "Install (Colab)"}
        cell.metadata["tags"] = [*cell.metadata.get("tags", []), *filter(None, tags)]
        if given:
            cell.metadata["mystnb"] = {"figure": {"name": found["label"], "caption": found["fig-cap"]},
                                       "image": {"alt": found["fig-alt"]}}
        cell.source = source
    return nb

def fingerprint(root: Path) -> str:
    "What all chapters depend on: the package with its samples, the lock, this script and the Python that runs it"
    files = sorted(p for p in (root/"audio_tutorial").rglob("*") if p.is_file() and "__pycache__" not in p.parts)
    digest = hashlib.sha256(sys.version.encode())
    for path in [*files, root/"requirements.lock", Path(__file__)]:
        digest.update(f"{path.name} {path.stat().st_size} ".encode() + path.read_bytes())
    return digest.hexdigest()

def run(
    notebook: Path, # Chapter in nbs/
    out: Path, # OUT, for its scratch folder
    kept: Path, # Where the chapter is kept as it ran
    values: dict, # Its parameters
): # The notebook as it ran
    "Run a chapter alone in an empty folder; what ran of it when it fails is kept beside `kept`"
    nb, half, scratch = nbformat.read(notebook, 4), kept.with_suffix(".failed.ipynb"), out/"scratch"/notebook.stem
    shutil.rmtree(scratch, ignore_errors=True)
    for folder in scratch, kept.parent: folder.mkdir(parents=True, exist_ok=True)
    try:
        nb = papermill.execute_notebook(
            prepare(nb, notebook.stem), half, parameters=values, cwd=scratch, kernel_name="python3",
            progress_bar=False, extra_arguments=["--IPKernelApp.log_level=50"])
    except papermill.PapermillExecutionError as e:
        sys.exit(failure(notebook.stem, half, f"{e.ename}: {e.evalue}", "\n".join(e.traceback)))
    except DeadKernelError: sys.exit(failure(notebook.stem, half, "the kernel died (out of memory?)"))
    if any(o.output_type == "error" for c in code_cells(nb) for o in c.outputs): # papermill lets sys.exit(0) pass
        sys.exit(failure(notebook.stem, half, "it left the chapter before its end"))
    half.unlink()
    shutil.rmtree(scratch)
    return nb

def failure(
    name: str, # Chapter
    half: Path, # The notebook as far as it ran
    what: str, # Went wrong
    trace: str="", # Traceback
) -> str:
    "Which cell failed and how, in a few lines: the last cell that was begun"
    cells = enumerate(code_cells(nbformat.read(half, 4)), 1)
    number, cell = [(i, c) for i, c in cells if c.metadata.papermill.start_time][-1]
    lines = ["", f"FAILED {where(name, number, cell.source)}: {what}", *trace.splitlines()[-12:],
             f"Half-run notebook: {os.path.relpath(half)}"]
    return COLOURS.sub("", "\n".join(lines))

def fill_in(
    source: str, # Parameters cell
    values: dict, # What the chapter ran with
) -> str: # The cell with those values for its defaults
    "Write values into a parameters cell and leave its comments"
    lines = source.splitlines()
    for node in ast.parse(source).body:
        name = getattr(node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None), "id", None)
        if name not in values or node.value.lineno != node.value.end_lineno: continue
        line = lines[node.lineno - 1].encode()
        new = line[:node.value.col_offset] + repr(values[name]).encode() + line[node.value.end_col_offset:]
        lines[node.lineno - 1] = new.decode()
    return "\n".join(lines)

def tidy(
    nb, # Notebook as papermill leaves it
    values: dict, # Its parameters
): # The same notebook
    "Drop what differs from run to run, and show one parameters cell that holds the values of this run"
    nb.metadata.pop("papermill", None)
    nb.metadata.get("language_info", {}).pop("version", None)
    nb.cells = [c for c in nb.cells if "injected-parameters" not in c.metadata.get("tags", [])]
    for cell in nb.cells:
        for key in "papermill", "execution": cell.metadata.pop(key, None)
        if "parameters" in cell.metadata.get("tags", []): cell.source = fill_in(cell.source, values)
    for number, cell in enumerate(code_cells(nb), 1): # no gap where the injected cell was
        if cell.execution_count: cell.execution_count = number
        for output in cell.outputs:
            if "execution_count" in output: output.execution_count = number
    return nb

def kept_or_run(
    notebook: Path, # Chapter in nbs/
    out: Path, # OUT
    kept: Path, # Where the chapter is kept as it ran
    values: dict, # Its parameters
    common: str, # Fingerprint of what all chapters depend on
): # The notebook as it ran, and what became of it, in words
    "A chapter that has not changed since its last good run does not run again"
    key = hashlib.sha256(f"{common}{sorted(values.items())}".encode() + notebook.read_bytes()).hexdigest()
    nb, said = nbformat.read(kept, 4) if kept.exists() else None, "unchanged, kept from its last good run"
    if not nb or nb.metadata.get("key") != key:
        start = time.monotonic()
        nb = tidy(run(notebook, out, kept, values), values)
        nb.metadata["key"], said = key, f"{time.monotonic() - start:.1f} s"
        nbformat.write(nb, kept.with_suffix(".new"))
        kept.with_suffix(".new").replace(kept)
    del nb.metadata["key"]
    return nb, said

def execute(root: Path, out: Path, profile: str, jobs: int=1) -> list:
    "`(name, notebook as it ran)` of every chapter, `jobs` of them running at a time"
    listed = chapters(root)
    values, common, done = values_of(root, listed, profile), fingerprint(root), []
    tasks = [(p, out, out/"executed"/profile/p.name, values[p.stem], common) for p in listed]
    with ProcessPoolExecutor(jobs) as pool: # not threads: papermill changes the folder of its whole process
        results = map(kept_or_run, *zip(*tasks)) if jobs == 1 else pool.map(kept_or_run, *zip(*tasks))
        try:
            for i, notebook in enumerate(listed, 1):
                print(f"[{i}/{len(listed)}] {notebook.stem}  ", end="", flush=True)
                nb, said = next(results)
                print(said, flush=True)
                done.append((notebook.stem, nb))
        except BaseException: # Ctrl-C as well: what has not begun need not
            pool.shutdown(cancel_futures=True)
            raise
    return done

# ---------------------------------------------------------------------------------------------------------- the book

def address(root: Path) -> str:
    "Where the repository lives on the web, from pyproject.toml"
    return tomllib.loads((root/"pyproject.toml").read_text())["project"]["urls"]["Repository"].removesuffix("/")

def modules(paths: list) -> dict:
    "`{module: chapters that export it}` of these notebooks, in reading order"
    found = {}
    for path in paths:
        for cell in code_cells(nbformat.read(path, 4)):
            directives, _ = split_directives(cell.source)
            for module in filter(None, map(directives.get, ("default_exp", "export", "exports", "exporti"))):
                if path.stem not in found.setdefault(module, []): found[module].append(path.stem)
    return found

def api_page(module: str, names: list) -> str:
    "The reference page of a module that these chapters export"
    links = " and ".join(f"{{doc}}`/nbs/{name}`" for name in names)
    return (f"# audio_tutorial.{module}\n\nBuilt in chapter {links}.\n\n"
            f"```{{eval-rst}}\n.. automodule:: audio_tutorial.{module}\n   :members:\n```\n")

def stage(
    root: Path, # The repository
    src: Path, # Folder to fill, laid out as the repository is
    executed: list, # `(name, notebook as it ran)` of every chapter
) -> list: # The pages to expect
    "Lay out the sources of the book: chapters as they ran, book/, a reference page per module, measured speed"
    shutil.rmtree(src, ignore_errors=True)
    shutil.copytree(root/"book", src/"book", ignore=shutil.ignore_patterns("__pycache__", "build.py", "lab.py", "_lab"))
    (src/"nbs").mkdir()
    for name, nb in executed: nbformat.write(nb, src/"nbs"/f"{name}.ipynb")
    (src/"book/api").mkdir()
    found = modules([root/"nbs"/f"{name}.ipynb" for name, _ in executed])
    for module, names in found.items(): (src/f"book/api/{module}.md").write_text(api_page(module, names))

    if (page := src/"book/speed.md").exists():
        page.write_text(page.read_text().replace("<!-- reports of bench/results -->", all_reports(root/"bench/results")))

    toc = (src/"book/_toc.yml").read_text()
    listing = re.compile(r"^( *)- glob: book/api/\*$", re.M) # in reading order, not by the alphabet
    toc = listing.sub(lambda m: "\n".join(f"{m[1]}- file: book/api/{module}" for module in found), toc)
    config = yaml.safe_load((src/"book/_config.yml").read_text())
    url = config.setdefault("repository", {})["url"] = address(root)
    owner, repo = url.split("/")[-2:]
    sphinx = config.setdefault("sphinx", {}).setdefault("config", {})
    sphinx["html_baseurl"] = f"https://{owner}.github.io/{repo}/"
    (src/"_toc.yml").write_text(toc)
    (src/"_config.yml").write_text(yaml.safe_dump(config, sort_keys=False))
    for name in "_toc.yml", "_config.yml": (src/"book"/name).unlink()
    if (src/"book/references.bib").exists(): (src/"book/references.bib").rename(src/"references.bib")
    return toc_pages(yaml.safe_load(toc))

def render(src: Path, out: Path):
    "Let Jupyter Book make OUT/html of the staged sources; a warning is an error"
    work, log = out/"jupyter-book", out/"sphinx.log"
    shutil.rmtree(work, ignore_errors=True)
    command = [BIN/"jupyter-book", "build", src, "--path-output", work, "-W", "--keep-going", "-n"]
    with log.open("w") as f: code = subprocess.run(command, cwd=src, stdout=f, stderr=subprocess.STDOUT).returncode
    if code:
        lines = COLOURS.sub("", log.read_text()).splitlines()
        telling = [s for s in lines if re.search(r"WARNING|ERROR|[Ee]rror:|[Ee]xception", s)] or lines[-10:]
        sys.exit("\n".join(["", "Jupyter Book failed:", *dict.fromkeys(telling), f"All it said: {log}"]))
    shutil.rmtree(out/"html", ignore_errors=True)
    (work/"_build/html").rename(out/"html")
    shutil.rmtree(work)

def check_page(
    page: Path, # HTML file
    nb=None, # The notebook as it ran, where the page is a chapter
) -> str|None: # What is wrong
    "Whether a page is there, has a title, says something and shows its chapter's outputs"
    if not page.exists(): return "missing"
    article = re.search(r"<article.*</article>", page.read_text(), re.S)
    title, body = "", ""
    if article:
        body = re.sub(r"<script.*?</script>", "", article[0], flags=re.S)
        if m := re.search(r"<h1>(.*?)</h1>", body, re.S):
            title, body = re.sub(r'<a class="headerlink.*?</a>', "", m[1], flags=re.S), body.replace(m[0], "")
    text = html.unescape(re.sub(r"<[^>]*>", "", body))
    if not re.sub(r"<[^>]*>", "", title).strip(): return "rendered without a title"
    if not text.strip() and not re.search(r"<(img|audio|video|table|svg)\b", body): return "rendered empty"
    hidden = {"remove-cell", "remove-output"}
    shown = any(c.outputs and not hidden & set(c.metadata.tags) for c in code_cells(nb)) if nb else False
    if shown and "cell_output" not in body: return "rendered without the outputs of its cells"

def check(
    folder: Path, # OUT/html
    pages: list, # What must be there
    executed: list, # `(name, notebook as it ran)` of every chapter
):
    "Fail when a page of the table of contents is missing or rendered empty"
    nbs = {f"nbs/{name}": nb for name, nb in executed}
    wrong = {page: check_page(folder/f"{page}.html", nbs.get(page)) for page in pages}
    if lines := [f"{page}: {problem}" for page, problem in wrong.items() if problem]:
        sys.exit("\n".join(["", "The book is not whole:", *lines]))

def main(argv=None):
    "The command"
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--profile", default="book", help="section of settings.ini (default: book)")
    p.add_argument("--out", default="_build", help="folder for all that is made, under ROOT (default: _build)")
    p.add_argument("--root", default=ROOT, type=Path, help="repository to build (default: the one of this script)")
    p.add_argument("--jobs", default=1, type=int, help="chapters that run at a time, sharing the cores (default: 1)")
    args = p.parse_args(argv)
    root, out = args.root.resolve(), (args.root/args.out).resolve()
    set_environment(root, args.jobs)
    executed = execute(root, out, args.profile, args.jobs)
    print("Rendering  ", end="", flush=True)
    start = time.monotonic()
    pages = stage(root, out/"src", executed)
    render(out/"src", out)
    check(out/"html", pages, executed)
    print(f"{time.monotonic() - start:.1f} s\nThe book: {os.path.relpath(out/'html/index.html')}", flush=True)

if __name__ == "__main__": main()
