"""Docstrings as this project writes them, turned into what Sphinx reads.

Parameter comments (fastcore's docments) become parameter lists, `name` becomes code (linked where it is a name
of the package), $...$ becomes math, fenced code becomes a code block, [text](address) becomes a link.
"""
import ast
import re
import sys
from pathlib import Path

from fastcore.docments import docments
from sphinx.util import logging

PACKAGE = "audio_tutorial"
logger = logging.getLogger(__name__)
FENCE = re.compile(r"^\s*```+\s*\{?([\w+-]*)\}?\s*$")
INLINE = re.compile(
    r"(?P<code>``.+?``|:[\w:+-]+:`[^`]+`|`[^`]+`_{1,2})"         # already reStructuredText: leave
    r"|(?<![`\w:])`(?P<name>[^`\n]+)`(?![`\w])"                   # `name`
    r"|(?<![\\$\w])\$(?P<math>[^$\s](?:[^$\n]*[^$\s\\])?)\$(?![\w$])"  # $x$
    r"|(?<!\w)\[(?P<text>[^\]\n]+)\]\((?P<url>https?://[^)\s]+)\)"  # [text](address)
)


def public_names(package=PACKAGE):
    "Public functions and classes of the package, each with its module; read from the files, nothing is imported"
    import importlib.util
    spec, names = importlib.util.find_spec(package), {}
    for file in sorted(Path(spec.submodule_search_locations[0]).glob("*.py")) if spec else []:
        for node in ast.parse(file.read_text(encoding="utf8")).body:
            # a patch is a method of a class, a command is typed in the shell, a case of `dispatch` belongs to another
            # library's function: as bare names they mean something else
            made_by = {ast.unparse(d).split("(")[0] for d in getattr(node, "decorator_list", [])}
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_") \
                    and not made_by & {"patch", "app.command", "dispatch"}:
                names.setdefault(node.name, f"{package}.{file.stem}")
    return names


def convert(text, names=None, own=""):
    "One line of Markdown-like text as reStructuredText"
    def one(m):
        if m["code"]:
            return m["code"]
        if m["math"]:
            return f":math:`{m['math']}`"
        if m["text"]:
            return f"`{m['text']} <{m['url']}>`__"
        bare = m["name"].removesuffix("()")
        if names and bare in names and f"{names[bare]}.{bare}" != own:
            return f":py:obj:`{m['name']} <{names[bare]}.{bare}>`"
        return f"``{m['name']}``"
    return INLINE.sub(one, text)


def blocks(lines, names=None, own=""):
    "All lines of a docstring; fenced blocks become code blocks"
    out, fenced = [], False
    for line in lines:
        if m := FENCE.match(line):
            out += [""] if fenced else ["", f".. code-block:: {m[1] or 'text'}", ""]
            fenced = not fenced
        elif fenced:
            out.append("   " + line)
        else:
            out.append(convert(line, names, own))
    return out


def process(app, what, name, obj, options, lines):
    names = app.env.audio_names
    lines[:] = blocks(lines, names, name)
    if what not in ("function", "method", "class"):
        return
    try:
        doc = docments(obj, full=True, returns=True)
    except Exception as e:  # a class without a readable signature: its docstring is shown alone
        logger.debug("no docments for %s: %s", name, e)
        return
    fields = []
    for key, value in doc.items():
        if not value.docment:
            continue
        text = convert(" ".join(str(value.docment).split()), names, name)
        fields.append(f":returns: {text}" if key == "return" else f":param {key}: {text}")
    if fields:
        lines += ["", *fields, ""]


def skip(app, what, name, obj, skipped, options):
    "Fields of a dataclass stand in its parameter list: not a second time as attributes; nor fastai's hooks"
    if what == "class" and name in ("encodes", "decodes", "setups"): return True
    parent = app.env.temp_data.get("autodoc:class", "").split(".")[0]
    module = sys.modules.get(app.env.temp_data.get("autodoc:module", ""))
    if what == "class" and name in getattr(getattr(module, parent, None), "__dataclass_fields__", ()):
        return True


def read_names(app):
    app.env.audio_package, app.env.audio_names = PACKAGE, public_names()


def setup(app):
    app.connect("builder-inited", read_names)
    app.connect("autodoc-process-docstring", process, priority=900)
    app.connect("autodoc-skip-member", skip)
    return {"parallel_read_safe": False, "parallel_write_safe": True}
