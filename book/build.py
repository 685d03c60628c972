"""Run the chapters of nbs/ under a profile of settings.ini and render them, with book/, as a Jupyter Book.

The pages land in OUT/html, the chapters as they ran in OUT/executed/PROFILE. What is wrong is said on standard error,
with exit status 1.

Jupyter Book's own cache and Quarto's run a notebook again when its cells have changed. Here a chapter runs under
profiles, again when anything it depends on has changed (depends.py), and a failure is said by chapter and cell
(chapters.py); Jupyter Book only renders what ran."""
import argparse, html, os, re, shutil, subprocess, sys, time, tomllib
from pathlib import Path

import nbformat, yaml

import house, listen
from cells import code_cells, split_directives
from chapters import BIN, COLOURS, ROOT, execute, set_environment
from profiles import toc_pages

from bench.tables import all_reports

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
    "Lay out the sources of the book: chapters as they ran, book/, a reference page per module, what is measured or drawn"
    shutil.rmtree(src, ignore_errors=True)
    tools = {p.name for p in (root/"book").glob("*.py")} | {"__pycache__", "_lab", "_listen"}
    shutil.copytree(root/"book", src/"book", ignore=lambda folder, names: tools & {*names})
    listen.write(src/"book/_static/listen", listen.take([nb for _, nb in executed]))
    (src/"nbs").mkdir()
    for name, nb in executed: nbformat.write(nb, src/"nbs"/f"{name}.ipynb")
    (src/"book/api").mkdir()
    found = modules([root/"nbs"/f"{name}.ipynb" for name, _ in executed])
    for module, names in found.items(): (src/f"book/api/{module}.md").write_text(api_page(module, names))

    for page, marker, made in (("speed", "reports of bench/results", lambda: all_reports(root/"bench/results")),
                               ("house", "picture of the rooms", lambda: house.picture(root))):
        if (path := src/f"book/{page}.md").exists():
            path.write_text(path.read_text().replace(f"<!-- {marker} -->", made()))

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
