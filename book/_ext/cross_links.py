"""Link chapters and reference to each other.

In a chapter, `name` in code letters leads to the reference page where that name is documented; in the reference,
every function and class leads back to the cell of the chapter that defines it.
"""
import re

from docutils import nodes
from sphinx import addnodes
from sphinx.transforms.post_transforms import SphinxPostTransform

DEFINED = re.compile(r"^(?:def|class)\s+(\w+)", re.M)


def is_chapter(docname):
    return docname.startswith("nbs/")


def mark_cells(app, doctree):
    "Give every code cell that defines a public name an anchor"
    docname = app.env.docname
    if not is_chapter(docname):
        return
    for cell in doctree.findall(nodes.container):
        if cell.get("nb_element") != "cell_code":
            continue
        source = next((b.astext() for b in cell.findall(nodes.literal_block)), "")
        for name in DEFINED.findall(source):
            if name in app.env.audio_names and name not in app.env.audio_cells:
                cell["ids"].append(f"def-{name}")
                app.env.audio_cells[name] = docname, f"def-{name}"


class Links(SphinxPostTransform):
    default_priority = 5

    def run(self, **kwargs):
        if is_chapter(self.env.docname):
            self.to_reference()
        else:
            self.to_chapter()

    def link(self, docname, anchor, child, classes):
        uri = self.app.builder.get_relative_uri(self.env.docname, docname)
        return nodes.reference("", "", child, internal=True, refuri=f"{uri}#{anchor}", classes=classes)

    def to_reference(self):
        objects = self.env.get_domain("py").objects
        for literal in list(self.document.findall(nodes.literal)):
            if isinstance(literal.parent, (nodes.reference, nodes.title, addnodes.pending_xref)):
                continue
            name = literal.astext().removesuffix("()")
            full = f"{self.env.audio_names.get(name)}.{name}"
            if full in objects and objects[full].docname in self.env.found_docs:
                literal.replace_self(self.link(objects[full].docname, objects[full].node_id,
                                               literal.deepcopy(), ["api-link"]))

    def to_chapter(self):
        for desc in self.document.findall(addnodes.desc):
            if desc.get("domain") != "py" or desc.get("objtype") not in ("function", "class", "exception", "data"):
                continue
            signature = desc.next_node(addnodes.desc_signature)
            content = desc.next_node(addnodes.desc_content)
            name = signature.get("fullname", "") if signature else ""
            if name not in self.env.audio_cells or content is None:
                continue
            docname, anchor = self.env.audio_cells[name]
            title = self.env.titles[docname].astext()
            text = nodes.inline("", f"Defined in the chapter “{title}”")
            content += nodes.paragraph("", "", self.link(docname, anchor, text, ["chapter-link"]))


def start(app):
    app.env.audio_cells = {}


def setup(app):
    app.connect("builder-inited", start)
    app.connect("doctree-read", mark_cells)
    app.add_post_transform(Links)
    return {"parallel_read_safe": False, "parallel_write_safe": True}
