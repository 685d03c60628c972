"Habits of language that the book has given up: words that a native speaker would replace, wherever a reader meets them"
import io, re, tokenize
from pathlib import Path

import nbformat, pytest

from cells import code_cells
from profiles import notebooks

ROOT = Path(__file__).resolve().parents[1]
PLACE = r"(?:in|at|on|off|beside|below|above|behind|before|beneath|under|here|there|ready|alone)"
HABITS = { # what to write instead, for the message: the pattern
    "leave it out": r"(?:simply|obviously|since long)",
    "again, from the start": r"anew",
    "correctly": r"rightly",
    "anyone who, a reader who": r"whoever",
    "validate, evaluate, decide": r"judg(?:e[sd]?|ing|e?ments?)",
    "unfreeze": r"thaw(?:s|ed|ing)?",
    "is": rf"(?:lies?|lay|lain|lying)\s+(?:\w+ly\s+)?{PLACE}",
    "is, is written": rf"(?:stands?|stood|standing)\s+(?:\w+ly\s+)?{PLACE}",
    "is sampled at": r"(?:has|have|had)\s+(?:\{[^}]*\}|[\d.,]+)\s*k?Hz",
    "fewer": r"a\s+few\s+less",
    "how many are in, how long is": r"how\s+(?:many|much)\s+(?:\w+\s+)?has\s+(?:an?|the)",
}
FOUND = {advice: re.compile(rf"\b{pattern}\b", re.I) for advice, pattern in HABITS.items()}


def prose(markdown):
    "Markdown without its code, formulas and addresses; what a directive such as a glossary holds stays"
    markdown = re.sub(r"^(```+|:::+)\{[^\n]*\n(.*?)^\1", r"\2", markdown, flags=re.S | re.M)
    for gone in r"^(```+|~~~+).*?^\1", r"(`+).+?\1", r"\$[^$]+\$", r"\]\([^)]*\)", r"<[^>]*>":
        markdown = re.sub(gone, " … ", markdown, flags=re.S | re.M)
    return markdown


def said(code):
    "What code says: its comments, and its strings, those that Python joins as one"
    text = "".join("\n" if line.lstrip()[:1] in ("%", "!") else line for line in code.splitlines(keepends=True))
    found, joined = [], ""
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        kind = tokenize.tok_name[token.type]
        if kind == "COMMENT": found.append(token.string.lstrip("# |"))
        elif kind == "STRING": joined += re.sub(r"^\w*('''|\"\"\"|'|\")|('''|\"\"\"|'|\")$", "", token.string)
        elif kind == "FSTRING_MIDDLE": joined += token.string
        elif kind in ("NL", "NEWLINE") or kind.startswith("FSTRING"): continue
        elif joined and token.string not in "{}":
            found.append(joined)
            joined = ""
    return [*found, joined]


def habits(text):
    "`habit (instead): its sentence` of a text"
    for advice, pattern in FOUND.items():
        for m in pattern.finditer(text):
            start = max(text.rfind(s, 0, m.start()) for s in (". ", "? ", "! ", ":\n", ".\n", "\n\n")) + 1
            sentence = re.split(r"(?<=[.?!])\s|\n\n", text[start:].strip(), maxsplit=1)[0]
            yield f"{m[0]!r} ({advice}): {' '.join(sentence.split())[:160]}"


def texts(path):
    "What of a file a reader meets"
    if path.suffix == ".md": return [prose(path.read_text())]
    nb = nbformat.read(path, 4)
    return [prose(c.source) for c in nb.cells if c.cell_type == "markdown"] + \
           [text for c in code_cells(nb) for text in said(c.source)]


FILES = [*notebooks(ROOT), *(p for pattern in ("*.md", "book/*.md", "tools/*.md", "audio_tutorial/static/*.md")
                             for p in sorted(ROOT.glob(pattern)))]


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.name)
def test_words(path):
    found = [line for text in texts(path) for line in habits(text)]
    assert not found, f"{path.name}: {len(found)} of the habits that tests/test_words.py names\n  " + "\n  ".join(found)


@pytest.mark.parametrize("sentence", [
    "You simply load it.", "Files are opened anew.", "Named rightly.", "Whoever listens, hears.", "Notes that judge.",
    "The notes are judged.", "We thaw the body.", "The file lies in a folder.", "Errors lie off the diagonal.",
    "It lay\nthere before.", "A label stands on\nthe left.", "What stands directly above it.", "A clip has 16,000 Hz.", "```{glossary}\nbin\n  made anew\n```",
    "It has {rate:,} Hz.", "a few less notes", "How many samples has a clip of 4 s?"])
def test_a_habit_is_found(sentence): assert len(list(habits(prose(sentence)))) == 1


@pytest.mark.parametrize("sentence", [
    "A letter stands for a number.", "These stand out.", "It is between two bins, where the peak lies between them.",
    "An underlying layer.", "Call `judge(x)` or [this](judge/lies/in.md).", "```\nsimply\n```", "A bright sound.",
    "The network has 10 outputs at 16,000 Hz.", "How many samples are in a clip?", "How many files have an ending?", "The layout: lay it out."])
def test_good_english_is_left_alone(sentence): assert list(habits(prose(sentence))) == []


def test_what_code_says_is_found():
    code = "%pip install anew\n#| fig-cap: it lies in\nx = judge # rightly\ndef f():\n    'Opens\\n    anew'\n" \
           "    need(x, f'{x} stands '\n         f'in {y}')\n    return 'a', 'b'"
    lines = said(code)
    assert [x for x in lines if list(habits(x))] == ["fig-cap: it lies in", "rightly", "Opens\\n    anew",
                                                     next(x for x in lines if "stands in" in x)]
    assert len([x for text in lines for x in habits(text)]) == 4
