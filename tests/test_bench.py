"The benchmarks: everybody takes part, the numbers are equal, and the page shows what was measured; no figure is tested"
import copy, importlib, json
from contextlib import contextmanager, nullcontext

import build, pytest
from bench import __main__ as bench, tables, turns


class Here:
    "A contestant in this process: what it does is the same, and it starts at once"
    def __init__(self, module, name, **options):
        self.take = importlib.import_module(f"bench.{module}").CONTESTANTS[name](**options)

    def turn(self, **request): return json.loads(json.dumps(self.take(**json.loads(json.dumps(request)))))


@contextmanager
def contestants_here(module, names, env=None, **options): yield {name: Here(module, name, **options) for name in names}


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    "A whole run on next to nothing, as it was written"
    pytest.importorskip("audioflux")
    pytest.importorskip("nnAudio")
    out = tmp_path_factory.mktemp("results")
    with pytest.MonkeyPatch.context() as m:
        for module in bench, turns: m.setattr(module, "contestants", contestants_here)
        bench.main(["--tiny", "--out", str(out)])
    file, = out.glob("*.json")
    return json.loads(file.read_text())


def test_all_take_part(result):
    cases = {(tables.setting_name(c["settings"]), c["batch"]): set(c["rates"])
             for c in result["transform"] if c["device"] == "cpu"}
    peers = {"torchaudio", "torchaudio, memory kept", "nnAudio", "librosa, clip by clip", "librosa, whole batch",
             "audioflux", "rfft alone"}
    assert peers < cases["1024/256/40", 2] and peers - cases["400/160/80", 2] == {"audioflux"}
    assert cases["1024/256/40", 1] == {"ours", "torchaudio"}
    assert list(result["loading"]) == ["WAV", "FLAC", "MP3", "OGG"] and len(result["epoch"]) == 5
    assert all(len(times) == 4 for times in result["loading"].values())


def test_parts_of_an_epoch_add_up(result):
    for way, rounds in result["epoch"].items():
        for turn in rounds:
            parts = [turn[p] for p in tables.PARTS]
            assert all(p > 0 for p in parts) and sum(parts) == pytest.approx(turn["total"]) and turn["clips"] == 20


def test_report_shows_everything(result):
    text = tables.report(result)
    for name in ("torchaudio", "audioflux", "librosa.load", "on the fly, from memory", "Drawing the pictures", "| met |"):
        assert name in text, name


@pytest.fixture
def made_up(result):
    "The same file with figures that are easy to check"
    r = copy.deepcopy(result)
    r["transform"] = [c for c in r["transform"] if c["device"] == "cpu"]
    for case in r["transform"]: case["rates"] = {name: [100, 200] for name in case["rates"]} | {"ours": [600, 1200]}
    r["memory"] = {"ours": [10], "torchaudio": [100]}
    for turns_ in r["epoch"].values():
        for t in turns_: t["total"] = 8
    for t in r["epoch"]["pictures, RGB"]: t["total"] = 10
    r["machine"]["gpu"] = None
    return r


def test_ratios_are_of_the_same_round(): assert tables.ratio([1, 10, 30], [1, 20, 10]) == (1, 0.5, 3)


def test_goals_say_what_is_met(made_up):
    def met(): return {what: (round(value, 3), ok) for what, value, _, _, ok in tables.goals(made_up)}
    assert met()["transform ÷ torchaudio, 1024/256, batch of 64"] == (6, True)
    assert met()["memory ÷ torchaudio's, 256 clips of 4 s"] == (0.1, True)
    assert met()["epoch on the fly, from files ÷ RGB pictures"] == (0.8, True)
    made_up["transform"][0]["rates"]["torchaudio"] = [200, 400]
    for t in made_up["epoch"]["on the fly, from files"]: t["total"] = 11
    assert met()["transform ÷ torchaudio, 1024/256, batch of 64"] == (3, False)
    assert met()["epoch on the fly, from files ÷ RGB pictures"] == (1.1, False)
    assert "**no**" in tables.goals_table(made_up)


def test_page_holds_the_reports_of_all_machines(made_up, tmp_path, monkeypatch):
    assert "make bench" in tables.all_reports(tmp_path)
    for cpu in "First processor", "Second processor":
        made_up["machine"]["cpu"] = cpu
        (tmp_path/bench.file_name(made_up["machine"])).write_text(json.dumps(made_up))
    monkeypatch.setattr(build, "all_reports", lambda folder: tables.all_reports(tmp_path))
    assert "book/speed" in build.stage(build.ROOT, tmp_path/"src", [])
    page = (tmp_path/"src/book/speed.md").read_text()
    assert page.count("## First processor") == page.count("## Second processor") == 1 and "<!--" not in page
    assert " ".join(f"{k}={v}" for k, v in turns.TRAINING.items()) in page # what the page tells its reader to set


def test_measured_files_can_be_shown():
    for file in (build.ROOT/"bench/results").glob("*.json"): assert file.name == bench.file_name(
        json.loads(file.read_text())["machine"]) and "| met |" in tables.report(json.loads(file.read_text()))


@pytest.mark.parametrize("part", bench.PARTS)
def test_a_part_alone_has_a_report(result, part):
    of_part = ("arch", "batch", "drawing", "notes") if part == "epoch" else ()
    text = tables.report({key: result[key] for key in ("machine", "rounds", part, *of_part)} | dict(dates={part: "today"}))
    assert text.count("| met |") == 1 and text.count("| :-- |") >= 2


def test_a_contestant_is_a_process_that_takes_turns(tmp_path):
    import numpy as np, soundfile as sf
    sf.write(tmp_path/"a.wav", np.linspace(-0.5, 0.5, 1000), 16000, "PCM_16")
    with turns.contestants("loading", ["soundfile.read"], files=[str(tmp_path/"a.wav")]*3) as made:
        answers = turns.rounds(made, 3, warm=2)
        assert len(answers["soundfile.read"]) == 3 and all(t > 0 for t in answers["soundfile.read"])
        process = made["soundfile.read"].process
    assert process.returncode == 0


def test_each_contestant_has_its_own_environment(monkeypatch):
    seen = {}
    monkeypatch.setattr(turns, "Contestant", lambda module, name, env: seen.update({name: env}) or pytest.fail("enough"))
    for name in "kept", "plain":
        with pytest.raises(pytest.fail.Exception), turns.contestants("epoch", [name], env={"kept": turns.KEEP_MEMORY}): pass
    assert seen == {"kept": turns.KEEP_MEMORY, "plain": {}}


def test_every_launch_adds_its_rounds(monkeypatch):
    class Player:
        def turn(self): return 1
    monkeypatch.setattr(turns, "contestants", lambda module, names: nullcontext({n: Player() for n in names}))
    assert turns.launches(3, "epoch", 2, names="ab") == {"a": [1]*6, "b": [1]*6}


def test_a_contestant_that_fails_says_why():
    with turns.contestants("loading", ["soundfile.read"], files=["nowhere.wav"]) as made:
        with pytest.raises(RuntimeError, match="soundfile.read stopped:\n(.|\n)*nowhere.wav"):
            made["soundfile.read"].turn()


def test_another_begins_in_each_round():
    began = []
    class Player:
        def __init__(self, name): self.name = name
        def turn(self): began.append(self.name)
    turns.rounds({n: Player(n) for n in "abc"}, 2, warm=1)
    assert "".join(began) == "abcbcacab"


def test_the_articles_experiment_runs_both_ways(tmp_path):
    from bench import article
    article.main(["--tiny", "--repeats", "2", "--work", str(tmp_path/"work"), "--out", str(tmp_path/"article")])
    file, = (tmp_path/"article").glob("*.json")
    result = json.loads(file.read_text())
    assert result["notes"] == [60, 20] and [run["way"] for run in result["runs"]] == [*article.WAYS, *article.WAYS[::-1]]
    assert all(run["training"] > 0 and 0 <= run["accuracy"] <= 1 for run in result["runs"])
    assert len([*(tmp_path/"work/pictures").rglob("*.png")]) == 80
    text = tables.all_reports(tmp_path)
    assert "60 and 20 built-in notes" in text and "2 trainings" in text and all(way in text for way in article.WAYS)


def test_takes_share_out_the_notes_and_keep_instruments_apart(tmp_path, monkeypatch):
    from audio_tutorial.notes import instrument
    from bench import article
    monkeypatch.setattr(article, "TAKE", 12)
    train, valid = article.built_in_notes(tmp_path, 31, 11)
    assert (len(train), len(valid)) == (31, 11) and len({f.read_bytes() for f in train}) == 31
    assert {f.parent.parent.name for f in train} == {"take00", "take01", "take02"}
    assert not {*map(instrument, train)} & {*map(instrument, valid)}
