"tools/renumber.py on a small repository"
import subprocess

import pytest, renumber

NEW = {"02_two": "03_two", "03_three": "04_three"}


@pytest.mark.parametrize("before, after", [
    ("Chapter 2 and chapter 03.", "Chapter 3 and chapter 4."),
    ("chapters 1, 2 and 3; chapters 1 to 3; chapter 2 or 3", "chapters 1, 3 and 4; chapters 1 to 4; chapter 3 or 4"),
    ("In chapter 2, 3 clips", "In chapter 3, 3 clips"),
    ("as chapter\n# 2 shows", "as chapter\n# 3 shows"),
    ('"as chapter\\n",\n    "2 shows"', '"as chapter\\n",\n    "3 shows"'),
    ("[quick:02_two] nbs/03_three.ipynb 02_two_more", "[quick:03_two] nbs/04_three.ipynb 02_two_more"),
    ("[chapters 1](01_one.ipynb) and [2](02_two.ipynb), [chapter 2](02_two.ipynb#x)",
     "[chapters 1](01_one.ipynb) and [3](03_two.ipynb), [chapter 3](03_two.ipynb#x)"),
    ("chapter 4, chapter 12, chapter 22, section 2, 2 chapters", "chapter 4, chapter 12, chapter 22, section 2, 2 chapters"),
])
def test_texts_follow(before, after): assert renumber.renamed(before, NEW) == after


def test_chapters_move_up_to_the_next_gap():
    names = ["01_one", "02_two", "03_three", "05_five", "99_last", "Untitled"]
    assert renumber.moves(names, 2) == NEW
    assert renumber.moves(names, 4) == {}
    with pytest.raises(SystemExit, match="99"): renumber.moves(names, 99)


def test_the_command(tmp_path, capsys):
    for folder in "nbs", "audio_tutorial": (tmp_path/folder).mkdir()
    for name in "01_one", "02_two", "03_three", "05_five": (tmp_path/f"nbs/{name}.ipynb").write_text(f"{name}: Chapter 2")
    for name in "two.py", "all.py": (tmp_path/"audio_tutorial"/name).write_text("# Chapter 2")
    (tmp_path/"settings.ini").write_text("[quick:03_three]")
    (tmp_path/"picture.png").write_bytes(b"\xff\xfe")
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    renumber.main(["2", "--root", str(tmp_path)])
    assert {p.stem: p.read_text() for p in (tmp_path/"nbs").iterdir()} == {
        "01_one": "01_one: Chapter 3", "03_two": "03_two: Chapter 3", "04_three": "04_three: Chapter 3", "05_five": "05_five: Chapter 3"}
    assert (tmp_path/"settings.ini").read_text() == "[quick:04_three]"
    assert [(tmp_path/f"audio_tutorial/{name}.py").read_text() for name in ("two", "all")] == ["# Chapter 2", "# Chapter 3"]
    assert capsys.readouterr().out.endswith("02_two is now 03_two\n03_three is now 04_three\n")
    with pytest.raises(SystemExit, match="2 is free"): renumber.main(["2", "--root", str(tmp_path)])
