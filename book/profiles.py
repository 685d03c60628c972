"What there is to run: the chapters of the table of contents, and the values that settings.ini gives them"
import ast, configparser, sys
from pathlib import Path

import papermill, yaml
from papermill.translators import PythonTranslator

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

def book_chapters(root: Path) -> list:
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

def arrives(
    value, # From settings.ini
) -> str: # Its `repr` in the chapter, or the code that sets it there where that is no literal
    "What papermill makes of a value: it writes a tuple, a set or bytes as a string, without a word"
    code = PythonTranslator.translate(value)
    try: return repr(ast.literal_eval(code))
    except (ValueError, SyntaxError): return code

def read_profiles(
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
            if arrives(value) != repr(value):
                sys.exit(f"settings.ini: {key} in [{section}] would not reach a chapter as it is: {value!r} arrives as "
                         f"{arrives(value)} (use numbers, strings, lists, and dictionaries whose keys are strings)")
            for stem in takers: found[profile][stem][key] = value
    return found

def values_of(root: Path, listed: list, profile: str) -> dict:
    "`{chapter: {name: value}}` of a profile; one that settings.ini does not know is an error"
    every = read_profiles(root, listed)
    if profile not in every: sys.exit(f"settings.ini has no profile [{profile}], only {', '.join(every)}")
    return every[profile]
