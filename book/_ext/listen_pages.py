"""Give the script and the style of `book/listen.py` to the pages that have a use for them."""


def add(app, page, template, context, doctree):
    if "data-listen=" in context.get("body", ""):
        app.add_js_file("listen/listen.js", loading_method="defer")
        app.add_css_file("listen/listen.css")


def setup(app):
    app.connect("html-page-context", add)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
