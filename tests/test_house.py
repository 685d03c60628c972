"The rooms of the package: arrows point down, no circle, no private name across a border, no room too large"
from pathlib import Path

import house, pytest

ROOT = Path(__file__).resolve().parents[1]
LEVEL = {room: level for level, rooms in enumerate(reversed(house.FLOORS.values())) for room in rooms}
MOST_LINES = 350
LARGE = {"augment", "check"} # many small transforms, many small exercises
GRAPH = house.arrows(ROOT)


def test_every_room_is_on_a_floor_or_beside(): assert sorted([*LEVEL, *house.BESIDE]) == sorted(house.lines(ROOT))


@pytest.mark.parametrize("room", sorted(LEVEL))
def test_arrows_point_down(room):
    assert {to for to in GRAPH[room] if LEVEL.get(to, 99) > LEVEL[room]} == set()


@pytest.mark.parametrize("room", sorted(GRAPH))
def test_there_is_no_circle(room): assert room not in house.reached(GRAPH, room)


@pytest.mark.parametrize("room", sorted(GRAPH))
def test_no_private_name_crosses_a_border(room):
    assert [(to, name) for to, name in house.imported(ROOT/f"audio_tutorial/{room}.py") if name.startswith("_")
            and not name.startswith("__")] == []


@pytest.mark.parametrize("room", sorted(set(GRAPH) - LARGE))
def test_a_room_is_not_too_large(room): assert house.lines(ROOT)[room] <= MOST_LINES


def test_all_has_every_room():
    assert GRAPH["all"] == {*LEVEL, "check"} - {"cli"}


def test_a_fault_is_found(tmp_path):
    "The tests above can fail: a package with a circle, a private name and an import inside a function"
    package = tmp_path/"audio_tutorial"
    package.mkdir()
    (package/"low.py").write_text("def f():\n    from audio_tutorial.high import _secret\n")
    (package/"high.py").write_text("from .low import f\nimport audio_tutorial.other\nfrom audio_tutorial import low\n")
    (package/"other.py").write_text("from numpy import _core\n")
    assert house.imported(package/"low.py") == [("high", "_secret")]
    graph = house.arrows(tmp_path)
    assert graph == {"low": {"high"}, "high": {"low", "other"}, "other": set()}
    assert house.reached(graph, "low") == {"low", "high", "other"}


def test_the_picture_has_every_room():
    svg = house.picture(ROOT)
    assert all(f">{room}</text>" in svg for room in LEVEL)
    assert svg.count("marker-end") == sum(map(len, house.needed(
        {m: tos - set(house.BESIDE) for m, tos in GRAPH.items() if m not in house.BESIDE}).values()))
