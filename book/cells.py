"The code cells of a notebook, and what the directives at their tops say"
import re, sys

# Quotation marks around a value, which Quarto needs where it contains a colon, are not part of it.
DIRECTIVE = re.compile(r"""\s*#\s*\|\s*([\w-]+)\s*:?\s*("?)(.*?)\2\s*$""")
TAGS = {"hide": "remove-cell", "default_exp": "remove-cell", "hide_input": "remove-input",
        "hide_output": "remove-output", "include: false": "remove-cell", "echo: false": "remove-input",
        "output: false": "remove-output", "eval: false": "skip-execution", "code-fold: true": "hide-input",
        "warning: false": "remove-stderr"}
FIGURE = ("label", "fig-cap", "fig-alt")
KNOWN = {*(k.split(":")[0] for k in TAGS), *FIGURE, "code-summary", "export", "exports", "exporti"}

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
        if m: found[m[1]] = m[3]
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
            found["code-summary"] = "Install (Colab)"
        if summary := found.get("code-summary"): # above code that is folded
            cell.metadata["mystnb"] = {"code_prompt_show": summary, "code_prompt_hide": summary}
        cell.metadata["tags"] = [*cell.metadata.get("tags", []), *filter(None, tags)]
        if given:
            cell.metadata.setdefault("mystnb", {}).update(
                figure={"name": found["label"], "caption": found["fig-cap"]}, image={"alt": found["fig-alt"]})
        cell.source = source
    return nb
