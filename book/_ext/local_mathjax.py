"""Copy the one MathJax file the pages need out of the sphinx-mathjax-offline wheel (2 MB instead of 23)."""
import importlib.util
import shutil
from pathlib import Path


def copy(app, exception):
    if exception or app.builder.format != "html":
        return
    wheel = Path(importlib.util.find_spec("sphinx-mathjax-offline").submodule_search_locations[0])
    target = Path(app.outdir) / "_static/mathjax"
    target.mkdir(parents=True, exist_ok=True)
    shutil.copy(wheel / "static/mathjax/tex-svg.js", target)


def setup(app):
    app.connect("build-finished", copy)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
