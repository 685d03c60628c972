"Work that a Dask cluster does: the same answers as here, whoever dies; and addresses in place of paths"
import os, random, shutil, signal, subprocess, sys, threading, time
from pathlib import Path

import numpy as np, pandas as pd, pytest, soundfile as sf

distributed = pytest.importorskip("distributed", reason="the extra distributed is not installed")
import fsspec
from fsspec.implementations.memory import MemoryFileSystem

from audio_tutorial.arrays import AudioError
from audio_tutorial.classifier import AudioClassifier
from audio_tutorial.cli import app
from audio_tutorial.clips import load_clip
from audio_tutorial.distributed import ClientPool, check_workers, client_map, connect, part_size, write_parts
from audio_tutorial.files import get_audio_files, path_below, sound_seconds
from audio_tutorial.images import draw_images
from audio_tutorial.report import clip_report
from classifiers import small
from click.testing import CliRunner

LOCAL = dict(threads_per_worker=1, dashboard_address=None, silence_logs=50, worker_dashboard_address=None)


@pytest.fixture(scope="module")
def client():
    with distributed.LocalCluster(n_workers=2, **LOCAL) as cluster, distributed.Client(cluster) as client: yield client


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    "24 short sounds of different loudness, and one that is none"
    folder = tmp_path_factory.mktemp("sounds")/"here"
    rng = np.random.default_rng(0)
    for i in range(24):
        (folder/f"{i%3}").mkdir(parents=True, exist_ok=True)
        sf.write(folder/f"{i%3}"/f"{i:02d}.wav", rng.normal(0, 0.01 + 0.01*i, 4000 + 100*i), 16000)
    (folder/"2/bad.wav").write_text("no sound")
    return folder


@pytest.fixture(scope="module")
def clf(): return small()


def test_nothing_is_imported_unless_asked():
    code = ("import sys, audio_tutorial.all, audio_tutorial.cli\n"
            "print(*{'dask', 'distributed', 'fsspec'} & {*sys.modules})")
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout == "\n"


def test_predict_says_what_it_says_here(client, clf, sounds):
    here = clf.predict(sounds, bad="keep", bs=4, progress=False)
    there = clf.predict(sounds, bad="keep", bs=4, progress=False, client=client)
    pd.testing.assert_frame_equal(there, here, rtol=1e-5)
    assert here.error.notna().sum() == 1 and "bad.wav" in here.error.dropna().item()
    with pytest.raises(AudioError, match="bad.wav"): clf.predict(sounds, progress=False, client=client)
    arrays = [np.full(8000, x, "float32") for x in (0.1, 0.2, 0.3)]
    pd.testing.assert_frame_equal(clf.predict(arrays, 32000, bs=1, client=client, progress=False),
                                  clf.predict(arrays, 32000, bs=1, progress=False), rtol=1e-5)


def test_report_and_pictures_are_the_same(client, sounds, tmp_path):
    pd.testing.assert_frame_equal(clip_report(sounds, progress=False, client=client), clip_report(sounds, progress=False))
    good = shutil.copytree(sounds, tmp_path/"good", ignore=shutil.ignore_patterns("bad*"))
    for name, c in ("here", None), ("there", client):
        drawn = draw_images(good, tmp_path/name, progress=False, client=c)
        assert [p.relative_to(tmp_path/name).with_suffix("") for p in drawn] == [
            f.relative_to(good).with_suffix("") for f in get_audio_files(good)]
    for p in (tmp_path/"here").rglob("*.png"):
        assert p.read_bytes() == (tmp_path/"there"/p.relative_to(tmp_path/"here")).read_bytes()
    assert draw_images(good, tmp_path/"there", progress=False, client=client) == []
    with pytest.raises(AudioError, match="bad.wav"): draw_images(sounds, tmp_path/"bad", progress=False, client=client)


def slow(part, shared=None):
    time.sleep(0.03)
    return part, os.getpid()


def test_order_is_kept(client):
    assert [part for part, _ in client_map(client, slow, list(range(40)))] == list(range(40))
    assert list(ClientPool(client).map(abs, range(0, -70, -1), 8)) == list(range(70))


class Loaded:
    "Says in a file where it was loaded"
    def __init__(self, log): self.log = log
    def __reduce__(self): return loaded, (self.log,)


def loaded(log):
    with open(log, "a") as f: f.write(f"{os.getpid()}\n")
    return Loaded(log)


def test_what_is_shared_is_loaded_once_on_each_worker(client, tmp_path):
    worked = {pid for _, pid in client_map(client, slow, list(range(60)), Loaded(str(tmp_path/"log")))}
    pids = (tmp_path/"log").read_text().split()
    assert len(worked) == 2 and sorted(pids) == sorted(map(str, worked))


def with_shared(part, shared): return part, shared


def test_what_was_shared_last_is_not_sent_again(client, monkeypatch):
    sent, submit = [], client.submit
    def counted(do, *args, **kwargs):
        if do is bytes: sent.append(args)
        return submit(do, *args, **kwargs)
    monkeypatch.setattr(client, "submit", counted)
    for shared, times in (["a"], 1), (["a"], 1), (["b"], 2), (["a"], 3):
        assert [*client_map(client, with_shared, [1, 2], shared)] == [(1, shared), (2, shared)]
        assert len(sent) == times
    client.restart() # what the workers held is gone
    assert [*client_map(client, with_shared, [1], ["a"])] == [(1, ["a"])] and len(sent) == 4


@pytest.mark.parametrize("n, size", [(0, 32), (400, 32), (2000, 62), (100_000, 512)])
def test_parts_are_neither_tiny_nor_huge(client, n, size): assert part_size(client, n, 32) == size


def test_killed_workers_lose_nothing(client, clf, sounds, tmp_path):
    files, rng = get_audio_files(sounds)*8, random.Random(0)
    over = threading.Event()
    def kill():
        while not over.wait(0.02) and len(killed) < 2:
            if not [*(tmp_path/"table").glob("part-*")]: continue # the first part is done, most are not
            pids = sorted(client.run(os.getpid, on_error="ignore").values())
            if pids:
                killed.append(rng.choice(pids))
                os.kill(killed[-1], signal.SIGKILL)
            over.wait(rng.uniform(0.2, 1))
    killed, thread = [], threading.Thread(target=kill)
    thread.start()
    clf.predict_to(tmp_path/"table", files, size=5, client=client, progress=False)
    over.set()
    thread.join()
    table = pd.read_parquet(tmp_path/"table")
    assert killed and table.path.tolist() == [*map(str, files)]
    want = clf.predict(files[:25], bad="keep", progress=False)
    assert np.allclose(table[clf.vocab][:25], want[clf.vocab], atol=1e-5, equal_nan=True)


def test_a_second_run_does_what_is_missing(clf, sounds, tmp_path):
    table = tmp_path/"table.parquet"
    assert clf.predict_to(table, sounds, size=10, progress=False) == 25
    first = pd.read_parquet(table)
    (table/"part-00001.parquet").unlink()
    (table/"_0123").write_text("half a file")
    assert clf.predict_to(table, sounds, size=10, progress=False) == 10
    pd.testing.assert_frame_equal(pd.read_parquet(table), first)
    assert sorted(p.name for p in table.iterdir()) == ["_about.json", *(f"part-0000{i}.parquet" for i in range(3))]
    assert first.error.notna().sum() == 1
    with pytest.raises(ValueError, match="items"): clf.predict_to(table, get_audio_files(sounds)[1:], size=10)
    other = AudioClassifier(clf.settings, clf.vocab, clf.duration, clf.arch) # weights that are drawn anew
    with pytest.raises(ValueError, match="predictions"): other.predict_to(table, sounds, size=10)
    (tmp_path/"other").mkdir()
    (tmp_path/"other/notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="no table of ours"): clf.predict_to(tmp_path/"other", sounds)
    with pytest.raises(ValueError, match="paths of files"): clf.predict_to(table, [np.zeros(4000)])


@pytest.fixture
def memory(sounds):
    "The sounds at an address in memory"
    fs = fsspec.filesystem("memory")
    fs.put(str(sounds), "/bucket", recursive=True)
    yield "memory://bucket"
    fs.rm("/bucket", recursive=True)


def test_addresses_take_the_place_of_paths(clf, sounds, memory, tmp_path):
    want = clip_report(sounds, progress=False)
    for url in memory, f"file://{sounds}":
        files = get_audio_files(url)
        assert [path_below(f, url) for f in files] == [f.relative_to(sounds).as_posix() for f in get_audio_files(sounds)]
        assert np.array_equal(load_clip(files[3])[0], load_clip(get_audio_files(sounds)[3])[0])
        assert sound_seconds(files[0]) == sound_seconds(get_audio_files(sounds)[0])
        pd.testing.assert_frame_equal(clip_report(url, progress=False, num_workers=1), want)
        with pytest.raises(FileNotFoundError, match=f"no sound file {url}/gone.wav"): load_clip(f"{url}/gone.wav")
        with pytest.raises(FileNotFoundError, match=f"no folder {url}/gone"): get_audio_files(f"{url}/gone")
        with pytest.raises(AudioError, match=f"cannot use {url}/2/bad.wav"): load_clip(f"{url}/2/bad.wav")
    assert clf.predict_to("memory://bucket/table", memory, size=7, progress=False) == 25
    table = pd.concat([pd.read_parquet(f"memory://bucket/table/part-{i:05d}.parquet") for i in range(4)])
    assert np.allclose(table[clf.vocab], clf.predict(sounds, bad="keep")[clf.vocab], atol=1e-5, equal_nan=True)


class Locked(MemoryFileSystem):
    "A bucket that one may not read"
    protocol = "locked"
    def info(self, path, *args, **kwargs): raise PermissionError("Access Denied")
    ls = _get_file = get_file = isdir = info


def test_an_unreadable_bucket(clf, tmp_path):
    fsspec.register_implementation("locked", Locked, clobber=True)
    with pytest.raises(OSError, match="cannot read locked://bucket: PermissionError: Access Denied"):
        clip_report("locked://bucket")
    report = clip_report("locked://bucket", files=["locked://bucket/1.wav"], progress=False)
    row, = report.to_dict("records")
    assert row["error"] == "PermissionError: Access Denied" and row["faults"] == "unreadable"
    with pytest.raises(OSError, match="cannot read nosuch://bucket: .*nosuch"): get_audio_files("nosuch://bucket")


def test_no_scheduler():
    with pytest.raises(ConnectionError, match="no Dask scheduler answers at tcp://127.0.0.1:9 within 1 s"):
        connect("tcp://127.0.0.1:9", timeout=1)


def test_no_workers():
    with distributed.LocalCluster(n_workers=0, processes=False, **LOCAL) as cluster, distributed.Client(cluster) as client:
        with pytest.raises(ConnectionError, match="has no workers: start some"): check_workers(client, 0.2)


def look_first(folder, put): sys.path.insert(0, folder) if put else sys.path.remove(folder)


@pytest.fixture
def old_soxr(tmp_path):
    "A folder that says, if it is searched first, that another soxr is installed"
    fake = tmp_path/"soxr-0.0.1.dist-info"
    fake.mkdir()
    (fake/"METADATA").write_text("Metadata-Version: 2.1\nName: soxr\nVersion: 0.0.1\n")
    return str(tmp_path)


def test_other_packages(client, old_soxr):
    client.run(look_first, old_soxr, True)
    with pytest.raises(ValueError, match=r"tcp://.* has soxr 0\.0\.1, but here it is"): next(client_map(client, slow, [1]))
    client.run(look_first, old_soxr, False)
    assert next(client_map(client, slow, [1]))[0] == 1


def test_a_worker_that_joins_later_is_asked_too(old_soxr):
    late = [sys.executable, "-m", "distributed.cli.dask_worker", "--no-dashboard", "--nthreads=1"]
    with distributed.LocalCluster(n_workers=1, **LOCAL) as cluster, distributed.Client(cluster) as client:
        done = client_map(client, time.sleep, [0.03]*2000) # which the late one knows, too
        next(done)
        with subprocess.Popen([*late, client.scheduler.address], env=os.environ | {"PYTHONPATH": old_soxr},
                              stderr=subprocess.DEVNULL) as process:
            try:
                with pytest.raises(ValueError, match=r"tcp://.* has soxr 0\.0\.1, but here it is"): list(done)
            finally: process.terminate()


def test_the_command(client, clf, sounds, tmp_path):
    def run(*args): return CliRunner().invoke(app, ["predict", *map(str, args)])
    model, address = clf.save(tmp_path/"model"), client.scheduler.address
    done = run(model, sounds, "--scheduler", address, "--out", tmp_path/"table.parquet")
    assert done.exit_code == 1 and "Classified 25 of 25 clips now" in done.stdout and "bad.wav" in done.stderr
    table = pd.read_parquet(tmp_path/"table.parquet")
    assert table.path.tolist() == [*map(str, get_audio_files(sounds))]
    assert "Classified 0 of 25" in run(model, sounds, "--out", tmp_path/"table.parquet").stdout
    assert run(model, sounds/"0", "--scheduler", address).stdout == run(model, sounds/"0").stdout
    assert run(model, f"file://{sounds}/0", "--csv").stdout.count("file://") == 8
    for args, message in ((("--scheduler", "tcp://127.0.0.1:9"), "no Dask scheduler answers"),
                          (("--out", tmp_path/"t", "--json"), "choose one of")):
        done = run(model, sounds, *args)
        assert done.exit_code == 2 and message in done.stderr
