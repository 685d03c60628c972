"""Tidy what the theme puts on a page: no unused scripts, one Colab button, edit links to sources that exist, and
lists that are marked up as what they are."""
import re

SIGNATURE = re.compile(r"<dl>\s*((?:<dd><em class=\"sig-param.*?</dd>\s*)+)</dl>", re.S)


def scripts(context):
    "sphinx_thebe is always loaded by Jupyter Book, twice, and names a CDN: drop it, and every repeated script"
    seen, keep = set(), []
    for script in context.get("script_files", []):
        name = str(getattr(script, "filename", script) or "")
        body = getattr(script, "attributes", {}).get("body", "") or ""
        if "thebe" in (name + body).lower() or (name, body) in seen:
            continue
        seen.add((name, body))
        keep.append(script)
    context["script_files"][:] = keep
    context["css_files"][:] = [c for c in context.get("css_files", []) if "thebe" not in str(getattr(c, "filename", c))]


def source(app, page):
    "The page a reader would edit: a reference page is written in the chapter that exports its module"
    if not page.startswith("book/api/"):
        return page
    module = f"{app.env.audio_package}.{page.rsplit('/', 1)[1]}"
    chapters = [app.env.audio_cells[n][0] for n, m in app.env.audio_names.items()
                if m == module and n in app.env.audio_cells]
    return chapters[0] if chapters else None


def buttons(app, page, context):
    "One click to Colab instead of a menu of one; no edit or download of pages that are generated"
    edited, out = source(app, page), []
    for button in context.get("header_buttons", []):
        if button.get("label") == "launch-buttons" and len(button["buttons"]) == 1:
            button = dict(button["buttons"][0], text="Open in Colab", tooltip="Run this chapter in Colab",
                          label="colab-button")
        elif button.get("label") == "source-buttons" and edited != page:
            links = [dict(b) for b in button["buttons"] if edited or b["label"] != "source-edit-button"]
            for b in links:
                if b["label"] == "source-edit-button":
                    b["url"] = b["url"].replace(f"{page}.md", f"{edited}.ipynb")
            button = dict(button, buttons=links)
        elif button.get("label") == "download-buttons" and edited != page:
            continue
        out.append(button)
    context["header_buttons"] = out


def markup(context):
    "What axe calls serious in the HTML of Sphinx itself"
    def lines(m):
        inner = m[1].replace("<dd>", '<span class="sig-line">').replace("</dd>", "</span>")
        return f'<span class="sig-lines">{inner}</span>'
    if "body" in context:
        body = SIGNATURE.sub(lines, context["body"])  # a definition list without terms
        body = body.replace('<div role="list" class="citation-list">', '<div class="citation-list">')
        context["body"] = body.replace(' role="doc-biblioentry"', "")  # not a list item to a screen reader


def clean(app, page, template, context, doctree):
    scripts(context)
    buttons(app, page, context)
    markup(context)


def setup(app):
    app.connect("html-page-context", clean, priority=990)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
