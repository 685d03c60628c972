"""What a chapter depends on, as one key: the chapter runs again when its key has changed.

A key holds the chapter and its parameters, the modules of the package that its code names, those that these name in
turn (wherever the name is: at the top, in a function, in a program that is kept as text), and what counts for all
chapters: the package's data, the lock, Python, and the files that run chapters.

`check` is the exception. Every chapter imports it, and its exercises call it with dots in place of an answer, so all
that a page shows of it is what it says to dots. For such a chapter the key holds these words, which a new Python is
asked for, and not the code: who mends a check trains nothing, and who changes what the dots get sees it on every page.
A chapter that uses `check` in any other way depends on its code, and on all that this imports, as on any module."""
import ast, hashlib, json, re, subprocess, sys, tomllib
from pathlib import Path

import nbformat
from IPython.core.inputtransformer2 import TransformerManager

from cells import TAGS, code_cells, split_directives

PACKAGE, CHECK = "audio_tutorial", "check"
NAMED = re.compile(rf"\b{PACKAGE}\.(\w+)|\bfrom\s+\.(\w+)\s+import\b"
                   rf"|(?:\b{PACKAGE}|\bfrom\s+\.)\s+import\s*(\([^)]*\)|(?:[^\n;\\]|\\\n)*)")
ANY = re.compile(rf"\b{PACKAGE}\s+as\b|\b{PACKAGE}\.[{{'\"]") # under another name, or put together: it may be any
IMPORTS_CHECK = re.compile(rf"^from {PACKAGE} import {CHECK}$", re.M)
RUNNERS = "cells.py", "chapters.py" # beside this file
ASK = f"""
import json
from IPython.core.formatters import format_display_data
from {PACKAGE} import {CHECK}

def answer(name):
    try: return repr(format_display_data(getattr({CHECK}, name)(...)))
    except Exception as e: return repr(e)

print()
print(json.dumps({{name: answer(name) for name in {CHECK}.__all__}}))
"""

def code_of(notebook: Path) -> str:
    "The code of a chapter that the book runs, as Python"
    shell, code = TransformerManager(), []
    for cell in code_cells(nbformat.read(notebook, 4)):
        found, source = split_directives(cell.source)
        if "skip-execution" not in (TAGS.get(f"{k}: {v}") for k, v in found.items()):
            code.append(shell.transform_cell(source))
    return "\n".join(code)

def asked_with_dots(code: str) -> set|None:
    "The checks that code calls with `...`; None when it uses `check` for anything else, or cannot be read"
    try: nodes = list(ast.walk(ast.parse(code)))
    except SyntaxError: return None
    calls = [n for n in nodes if isinstance(n, ast.Call) and not n.keywords and isinstance(n.func, ast.Attribute)
             and [getattr(a, "value", None) for a in n.args] == [...]]
    dots = {id(n.func.value): n.func.attr for n in calls}
    uses = [dots.get(id(n)) for n in nodes if isinstance(n, ast.Name) and n.id == CHECK]
    return None if None in uses else set(uses)

def named(
    code: str, # Of a chapter or a module
    modules: dict, # `{name: code}` of the package
    commands: dict, # `{command: module it starts in}`
) -> set:
    "The modules that code names itself"
    if ANY.search(code): return set(modules)
    found = set() if asked_with_dots(code) is not None else {CHECK}
    for module, sibling, names in NAMED.findall(IMPORTS_CHECK.sub("", code)):
        found |= {module, sibling, *re.findall(r"\w+", names)}
    return (found | {module for command, module in commands.items() if command in code}) & modules.keys()

def reached(code: str, modules: dict, commands: dict) -> set:
    "The modules that code names, those that these name, and so on"
    found, new = set(), named(code, modules, commands)
    while new:
        found |= new
        new = set().union(*(named(modules[name], modules, {}) for name in new)) - found
    return found

def answers(root: Path) -> dict:
    "`{check: what it shows for dots}`, from a new Python"
    done = subprocess.run([sys.executable, "-c", ASK], cwd=root, capture_output=True, text=True)
    if done.returncode: sys.exit(f"{PACKAGE}.{CHECK} cannot be imported:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])

def shared(root: Path) -> str:
    "What counts for all chapters"
    package, here = root/PACKAGE, Path(__file__).parent
    data = sorted(p for p in package.rglob("*") if p.is_file() and "__pycache__" not in p.parts
                  and (p.parent != package or p.suffix != ".py" or p.name == "__init__.py"))
    files = [*data, root/"requirements.lock", *(root/"book").glob("matplotlibrc"), *(here/name for name in RUNNERS)]
    digest = hashlib.sha256(sys.version.encode())
    for path in files:
        digest.update(f"{path.name} {path.stat().st_size} ".encode() + path.read_bytes())
    return digest.hexdigest()

def keys(
    root: Path, # The repository
    listed: list, # Its chapters
    values: dict, # `{chapter: {name: value}}`
) -> list: # One key a chapter
    "The keys of all chapters"
    modules = {p.stem: p.read_text() for p in (root/PACKAGE).glob("*.py") if p.stem not in ("__init__", "_modidx")}
    project = tomllib.loads((root/"pyproject.toml").read_text())["project"]
    commands = {name: start.split(":")[0].split(".")[-1] for name, start in project.get("scripts", {}).items()}
    common, said, found = shared(root), answers(root) if CHECK in modules else {}, []
    for notebook in listed:
        code = code_of(notebook)
        parts = [common, sorted(values[notebook.stem].items()), notebook.read_text(),
                 [(name, modules[name]) for name in sorted(reached(code, modules, commands))],
                 [(name, said.get(name)) for name in sorted(asked_with_dots(code) or ())]]
        found.append(hashlib.sha256(repr(parts).encode()).hexdigest())
    return found
