"The scoreboard: one table of runs on the same draws, shown as far as a chapter has come"
import pandas as pd, pytest
from audio_tutorial.scoreboard import scoreboard

RUNS = pd.DataFrame([dict(way=way, seed=seed, chapter=chapter, than=than, accuracy=base + luck)
                     for way, chapter, than, base in (("guess", 9, "", 0.1), ("train", 11, "guess", 0.5))
                     for seed, luck in ((1, 0.0), (2, 0.02), (3, 0.04))])


def test_ways_are_compared_in_pairs():
    table = scoreboard(runs=RUNS)
    assert table.index.tolist() == ["guess", "train"] and table.chapter.tolist() == [9, 11]
    assert table.accuracy.tolist() == ["12.0% ± 5.0%", "52.0% ± 5.0%"]
    assert table.difference.tolist() == ["", "+40.0 ± 0.0 points"] # the luck of a seed cancels


def test_one_run_gives_no_interval():
    table = scoreboard(runs=RUNS[RUNS.seed == 2])
    assert table.accuracy.tolist() == ["12.0%", "52.0%"] and table.difference["train"] == "+40.0 points"


def test_a_chapter_shows_what_came_before_it():
    assert scoreboard(9, RUNS).index.tolist() == ["guess"] and len(scoreboard(12, RUNS)) == 2
    with pytest.raises(ValueError, match="chapter 3 is before"): scoreboard(3, RUNS)


def test_a_way_without_its_pair_is_refused():
    with pytest.raises(ValueError, match="same seeds"): scoreboard(runs=RUNS[:-1])


def test_the_stored_runs_are_of_all_ways_on_the_same_draws():
    table = scoreboard()
    assert table.index[0] == "majority class" and len(table) == 8
    assert table.accuracy.str.contains("±").all() and table.difference[1:].str.contains("±").all()
