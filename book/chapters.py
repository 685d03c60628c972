"""Run chapters and keep them as they ran: a chapter that has not changed since its last good run does not run again.
A failure is said in a few lines: chapter, cell, error."""
import ast, html, os, re, shutil, sys, time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import current_process
from pathlib import Path

import nbformat, papermill
from nbclient.exceptions import DeadKernelError

from cells import code_cells, prepare, where
from depends import keys
from profiles import book_chapters, values_of

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT)) # for bench
from bench.turns import TRAINING

BIN = Path(sys.executable).parent
COLOURS = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
STEPS = re.compile(r"\r|\x1b\[[02]?K|[^\r\x1b]+|\x1b") # what moves the cursor of a terminal or clears its line, and text

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

def line_shown(
    line: str, # What a program wrote between two line feeds
) -> str: # What of it is left in a terminal
    "Progress bars go back to the start of their line with a carriage return, and write over it"
    shown, at = "", 0
    for step in STEPS.findall(line):
        if step == "\r": at = 0
        elif step.startswith("\x1b["): shown = "" if "2" in step else shown[:at]
        else: shown, at = shown[:at].ljust(at) + step + shown[at + len(step):], at + len(step)
    return shown.rstrip()

def text_shown(text: str) -> str:
    "What a terminal shows in the end; a line that was cleared goes"
    kept = ""
    for line in re.findall(r"[^\n]*\n|[^\n]+", text):
        shown = line_shown(line.rstrip("\n")) if "\r" in line else None
        if shown is None: kept += line
        elif shown: kept += shown + "\n"*line.endswith("\n")
    return kept

def describe(cell):
    "Give a picture in the HTML of a figure its `fig-alt`; an image of Matplotlib's gets it when the page is rendered"
    if not (alt := cell.metadata.get("mystnb", {}).get("image", {}).get("alt")): return
    for output in cell.outputs:
        if page := output.get("data", {}).get("text/html"):
            said = f'<img alt="{html.escape(alt)}"'
            output.data["text/html"] = re.sub('<img alt="[^"]*"', lambda m: said, page, count=1)

def tidy(
    nb, # Notebook as papermill leaves it
    values: dict, # Its parameters
): # The same notebook
    "Drop what differs from run to run and bars that are done; one parameters cell holds the values of this run"
    nb.metadata.pop("papermill", None)
    nb.metadata.get("language_info", {}).pop("version", None)
    nb.cells = [c for c in nb.cells if "injected-parameters" not in c.metadata.get("tags", [])]
    for cell in nb.cells:
        for key in "papermill", "execution": cell.metadata.pop(key, None)
        if "parameters" in cell.metadata.get("tags", []): cell.source = fill_in(cell.source, values)
    for number, cell in enumerate(code_cells(nb), 1): # no gap where the injected cell was
        if cell.execution_count: cell.execution_count = number
        for output in cell.outputs:
            if output.output_type == "stream": output.text = text_shown(output.text)
        cell.outputs = [o for o in cell.outputs if o.get("text", "some")]
        for output in cell.outputs:
            if "execution_count" in output: output.execution_count = number
        describe(cell)
    return nb

def kept_or_run(
    notebook: Path, # Chapter in nbs/
    out: Path, # OUT
    kept: Path, # Where the chapter is kept as it ran
    values: dict, # Its parameters
    key: str, # Of all that it depends on
): # The notebook as it ran, and what became of it, in words
    "A chapter whose key is that of its last good run does not run again"
    nb, said = nbformat.read(kept, 4) if kept.exists() else None, "unchanged, kept from its last good run"
    if not nb or nb.metadata.get("key") != key:
        start = time.monotonic()
        nb = tidy(run(notebook, out, kept, values), values)
        nb.metadata["key"], said = key, f"{time.monotonic() - start:.1f} s"
        nbformat.write(nb, kept.with_suffix(".new"))
        kept.with_suffix(".new").replace(kept)
    del nb.metadata["key"]
    return nb, said

def own_numba_cache(out: Path):
    """Give the kernels of this process a cache of their own for what numba compiles (librosa's functions). Two that
    compile one function at a moment write into each other's entries, and calling such an entry ends the program:
    https://github.com/numba/numba/issues/10128"""
    os.environ["NUMBA_CACHE_DIR"] = str((out/"numba"/current_process().name).resolve())

def execute(root: Path, out: Path, profile: str, jobs: int=1) -> list:
    "`(name, notebook as it ran)` of every chapter, `jobs` of them running at a time"
    listed = book_chapters(root)
    values, done = values_of(root, listed, profile), []
    tasks = [(p, out, out/"executed"/profile/p.name, values[p.stem], key)
             for p, key in zip(listed, keys(root, listed, values))]
    # Not threads: papermill changes the folder of its whole process.
    with ProcessPoolExecutor(jobs, initializer=own_numba_cache, initargs=(out,)) as pool:
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
