"What the kernels of `make lab` do beyond those of the book: an IPython extension, with its settings from book/lab.py"
import ast, os, re
from pathlib import Path

NOT_RUN = re.compile(r"(\s*#\s*\|.*\n)*?\s*#\s*\|\s*eval\s*:\s*false\s*$", re.M)

def skip(lines: list) -> list:
    "The lines of a cell, or their stand-in where the book does not run it: Colab's install would replace the package"
    return ["print('Not run, as in the book (eval: false)')\n"] if NOT_RUN.match("".join(lines)) else lines

def start_in(folder: Path):
    "Let what a chapter writes lie in a folder of its own and not in nbs/"
    folder.mkdir(parents=True, exist_ok=True)
    os.chdir(folder)

def load_ipython_extension(shell):
    "Prepare a kernel; after a parameters cell, the values of the profile are set, as papermill sets them"
    if notebook := os.environ.get("JPY_SESSION_NAME"): start_in(Path(os.environ["LAB_OUT"], Path(notebook).stem))
    profile, values = ast.literal_eval(os.environ["LAB_VALUES"])

    def fill_in(result):
        if result.success and (given := values.get(result.info.cell_id)):
            shell.push(given)
            print(f"Profile [{profile}]:", ", ".join(f"{name} = {value!r}" for name, value in given.items()))

    shell.events.register("post_run_cell", fill_in)
    shell.input_transformers_cleanup.append(skip)
