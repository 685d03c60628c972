"""Open nbs/ in JupyterLab with the kernel of the book, without a network. What a chapter writes goes to _build/lab.

Options that are not listed here go on to `jupyter lab`."""
import argparse, os, sys
from pathlib import Path

import nbformat

from cells import code_cells
from chapters import ROOT, set_environment
from profiles import listed_chapters, values_of

def parameters(
    root: Path, # The repository
    profile: str, # Section of its settings.ini
) -> dict: # `{id of a parameters cell: {name: value}}`
    "What the profile gives each chapter, by the cell to follow"
    listed = listed_chapters(root) # a reader may have notebooks of their own beside them
    values = values_of(root, listed, profile)
    return {cell.id: values[p.stem] for p in listed for cell in code_cells(nbformat.read(p, 4))
            if "parameters" in cell.metadata.get("tags", [])}

def main(argv=None):
    "The command, which becomes the server"
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--profile", help="section of settings.ini (default: the values that stand in the chapters)")
    p.add_argument("--root", default=ROOT, type=Path, help="repository to open (default: the one of this script)")
    args, rest = p.parse_known_args(argv)
    root, ours = args.root.resolve(), Path(__file__).resolve().parent/"_lab"
    values = parameters(root, args.profile) if args.profile else {}
    set_environment(root)
    os.environ |= {"LAB_VALUES": repr((args.profile, values)), "LAB_OUT": str(root/"_build/lab")}
    for name in "PYTHONPATH", "JUPYTER_PATH", "JUPYTER_CONFIG_PATH": # first: its python3 is the kernel of the chapters
        os.environ[name] = os.pathsep.join(filter(None, [str(ours), os.environ.get(name)]))
    # Root is allowed as `make book` allows it: in a container there may be nobody else.
    command = [sys.executable, "-m", "jupyterlab", "--allow-root", f"--ServerApp.root_dir={root/'nbs'}", *rest]
    os.execv(command[0], command)

if __name__ == "__main__": main()
