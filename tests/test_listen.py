"""The pages that listen, in headless Chromium: their numbers beside Python's, and what they say to any sound"""
import base64, functools, http.server, io, json, os, re, shutil, threading
from dataclasses import asdict

import nbformat, numpy as np, pytest, soundfile as sf, soxr, torch
from scipy.signal import get_window

import listen
from audio_tutorial.batches import MelSpectrogram
from audio_tutorial.classifier import AudioClassifier
from audio_tutorial.clips import load_clip
from audio_tutorial.mel import MelSettings, compare_db
from audio_tutorial.notes import play_note
from visits import Visit, fail_if

RATE = 16000
PAGE = """<!doctype html><html lang="en"><meta charset="utf8"><title>A page that listens</title>
<link rel="icon" href="data:,"><link rel="stylesheet" href="listen/listen.css"><script defer src="listen/listen.js"></script>
<body style="margin: 1rem"><main><h1>A page that listens</h1>%s</main></body></html>"""


class Handler(http.server.SimpleHTTPRequestHandler):
    "Serves the folder under a sub-path, as GitHub Pages does"
    def translate_path(self, path): return super().translate_path(path.removeprefix("/book/"))
    def log_message(self, *args): pass


def tone(f, seconds=2, rate=RATE): return 0.5*np.sin(2*np.pi*f*np.arange(int(seconds*rate))/rate)


def wav(samples):
    file = io.BytesIO()
    sf.write(file, samples, RATE, format="WAV", subtype="PCM_16")
    return listen.base64_of(file.getvalue())


FAMILIES = [f"family {i}" for i in range(10)]
QUIZ = dict(families=FAMILIES, notes=[
    dict(wav=wav(play_note("flute_acoustic_001", 60 + i)), family=FAMILIES[i], probability=0.5,
         network=FAMILIES[i if i < 4 else 9]) for i in range(10)])


@pytest.fixture(scope="module")
def classifier():
    "Chapter 20's network with random weights, large ones at its end, and so with an answer of its own for each clip"
    torch.manual_seed(1)
    classifier = AudioClassifier(MelSettings(hop_length=1024), FAMILIES, 4, "plain_cnn")
    with torch.no_grad(): classifier.network.head[-1].weight *= 40
    return classifier


def given(classifier, tmp_path_factory):
    "What a chapter displays for the page"
    model = classifier.to_onnx(tmp_path_factory.mktemp("model")/"model.onnx", waveforms=False)
    return dict(model=listen.base64_of(model.read_bytes()), vocab=classifier.vocab, duration=classifier.duration,
                settings=asdict(classifier.settings))


@pytest.fixture(scope="module")
def folder(tmp_path_factory, classifier):
    folder = tmp_path_factory.mktemp("listen")
    listen.write(folder/"listen", dict(classifier=given(classifier, tmp_path_factory), quiz=QUIZ))
    for module in listen.HERE.glob("*.js"): shutil.copy(module, folder)
    for page in "lab", "name", "quiz": (folder/f"{page}.html").write_text(PAGE % f'<div data-listen="{page}"></div>')
    (folder/"folded.html").write_text(
        PAGE % '<details><summary>Try it</summary><div data-listen="lab" data-preset="time">Not here</div></details>')
    return folder


@pytest.fixture(scope="module")
def address(folder):
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/book/"
        server.shutdown()


@pytest.fixture
def visit(browser, address):
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    visit = Visit(context.new_page(), address)
    yield visit
    context.close()
    fail_if(visit.problems, "the page")


@pytest.fixture(scope="module")
def maths(browser, address):
    "Call a function of sound.js; arrays go there and back as float32"
    tab = browser.new_page()
    tab.goto(address + "lab.html")
    tab.evaluate(f"""async () => {{
        const floats = text => new Float32Array(Uint8Array.from(atob(text), c => c.charCodeAt(0)).buffer)
        const text = x => btoa(Array.from(new Uint8Array(x.buffer), c => String.fromCharCode(c)).join(''))
        const sound = await import('{address}sound.js'), controls = await import('{address}controls.js')
        window.call = async (name, args) => {{
            const x = await ({{...sound, ...controls}})[name](...args.map(a => a?.floats ? floats(a.floats) : a?.bytes ? controls.bytesOf(a.bytes) : a))
            const out = x.db ?? x.samples ?? x
            return out instanceof Float32Array || out instanceof Float64Array ? {{floats: text(new Float32Array(out))}} : out }} }}""")

    def call(name, *args):
        sent = [dict(floats=base64.b64encode(a.astype("<f4").tobytes()).decode()) if isinstance(a, np.ndarray) else
                dict(bytes=base64.b64encode(a).decode()) if isinstance(a, bytes) else a for a in args]
        found = tab.evaluate("([name, args]) => call(name, args)", [name, sent])
        return np.frombuffer(base64.b64decode(found["floats"]), "<f4") if isinstance(found, dict) and "floats" in found else found
    yield call
    tab.close()


# ---- the numbers -------------------------------------------------------------------------------------------------

SETTINGS = {"the article's": {}, "128 bands": dict(n_fft=2048, hop_length=512, n_mels=128, f_min=50, f_max=7600),
            "sharp in time": dict(n_fft=128, hop_length=32, n_mels=None, f_min=0),
            "sharp in frequency": dict(n_fft=4096, hop_length=256, n_mels=None, f_min=0, top_db=100),
            "part of the bins": dict(n_fft=512, hop_length=100, n_mels=None, f_min=300, f_max=3000, top_db=60)}


def levels(s, x): return s.unscale(MelSpectrogram(s)(torch.from_numpy(x).double()[None])[0, 0].numpy())


@pytest.mark.parametrize("given", SETTINGS.values(), ids=SETTINGS)
def test_levels_are_those_of_the_package(maths, given):
    s, x = MelSettings(**given), play_note("guitar_acoustic_000", 52)
    settings = {name: getattr(s, name) for name in s.__dataclass_fields__}
    ours = maths("logMel", x, settings)
    theirs = levels(s, x)
    print(compare_db(ours.reshape(theirs.shape), theirs, s.top_db))
    np.testing.assert_allclose(maths("frequencies", settings), s.frequencies(), rtol=1e-9)


def test_narrow_bands_are_counted(maths):
    s = dict(sample_rate=RATE, n_fft=256, hop_length=256, n_mels=128, f_min=20, f_max=8000)
    with pytest.warns(UserWarning, match="contain no bin"): bank = MelSettings(**s).filterbank()
    assert sum(not row["weights"] for row in maths("filterbank", s)) == (~bank.any(axis=1)).sum() > 0


@pytest.mark.parametrize("name", ["hann", "hamming"])
def test_windows(maths, name):
    np.testing.assert_allclose(maths("windowOf", name, 64), get_window(name, 64), atol=1e-7)


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 44100, 48000, 96000, 192000])
def test_resampling_agrees_with_soxr(maths, rate):
    "Noise in the band that both keep; what would fold into the band is gone"
    top, t = min(7000, 0.43*rate), np.arange(rate)/rate
    noise = np.fft.rfft(np.random.default_rng(0).normal(size=rate))
    noise[int(top):] = 0
    x = (np.fft.irfft(noise, rate)*np.hanning(rate)).astype("f4")
    ours, theirs = maths("resample", x, rate, RATE), soxr.resample(x, rate, RATE)
    assert len(ours) == RATE
    assert np.linalg.norm(ours - theirs) < 2e-4*np.linalg.norm(theirs)
    if rate > RATE: # 8,400 Hz would fold onto 7,600 Hz
        alias = maths("resample", np.sin(2*np.pi*8400*t), rate, RATE)[1000:-1000]
        assert 20*np.log10(np.abs(alias).max()) < -80


def test_names_of_notes(maths):
    assert [maths("noteAt", f) for f in (440, 261.63, 27.5, 4186, 5)] == ["A4", "C4", "A0", "C8", ""]


@pytest.mark.parametrize("ending, rate", [("wav", 8000), ("wav", 192000), ("flac", 44100), ("ogg", 22050), ("mp3", 44100),
                                          ("mp3", 24000), ("mp3", 11025)])
def test_the_rate_is_read_from_the_header(maths, tmp_path, ending, rate):
    sf.write(tmp_path/f"x.{ending}", 0.1*np.random.default_rng(0).normal(size=rate), rate)
    assert maths("rateOf", (tmp_path/f"x.{ending}").read_bytes()) == rate


@pytest.mark.parametrize("ending, rate, channels", [("wav", 16000, 1), ("flac", 16000, 2), ("wav", 44100, 2)])
def test_a_file_gives_the_samples_that_python_reads(maths, tmp_path, ending, rate, channels):
    x = 0.1*np.random.default_rng(0).normal(size=(rate, channels))
    sf.write(path := tmp_path/f"x.{ending}", soxr.resample(soxr.resample(x, rate, 8000), 8000, rate), rate)
    ours = maths("load", path.read_bytes(), 30)
    np.testing.assert_allclose(ours, load_clip(path, RATE)[0], atol=1e-4 if rate != RATE else 2**-15)


def complaints(tab):
    "Fail for what axe finds, or a page wider than its window"
    axe = pytest.importorskip("axe_playwright_python.base", reason="axe-playwright-python is not installed").AXE_SCRIPT
    tab.evaluate(axe)
    found = tab.evaluate("() => axe.run({resultTypes: ['violations']})")["violations"]
    assert [(v["id"], v["nodes"][0]["target"]) for v in found if v["impact"] in ("serious", "critical")] == []
    assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")


# ---- the lab -----------------------------------------------------------------------------------------------------

def shown(tab): return json.loads(tab.locator("[data-listen]").get_attribute("data-shown"))
def size(tab): return tab.locator(".listen-size").text_content().split(",")[0]
def said(tab): return tab.locator(".listen-said").first


def lab(visit):
    tab = visit.go("lab.html")
    tab.wait_for_selector("[data-shown]")
    return tab


def waits_for_size(tab, settings, n_samples):
    rows, frames = len(settings.frequencies()), settings.n_frames(n_samples)
    tab.wait_for_function("text => document.querySelector('.listen-size').textContent.startsWith(text)",
                          arg=f"{rows:,} rows × {frames:,} frames")


def give(tab, path, samples=None, rate=RATE):
    if samples is not None: sf.write(path, samples, rate)
    tab.locator("input[type=file]").set_input_files(path)


def loudest(tab):
    "Move along the rows at 1 s, and give the frequency of the loudest"
    tab.locator(".listen-frame").focus()
    found = []
    for _ in range(shown(tab)["n_mels"]):
        found.append(tab.locator(".listen-reading").text_content())
        tab.keyboard.press("ArrowUp")
    best = max(found, key=lambda s: float(re.search(r"([\d.]+) dB", s.replace("−", ""))[1])*(-1 if "−" in s else 1))
    return float(re.search(r"s, ([\d,]+) Hz", best)[1].replace(",", ""))


def to_one_second(tab):
    box = tab.locator(".listen-frame canvas").bounding_box()
    tab.mouse.move(box["x"] + box["width"]/2, box["y"] + box["height"] - 1)


def test_the_settings_of_the_book_are_one_click_away(visit):
    tab, n = lab(visit), 5*RATE
    waits_for_size(tab, MelSettings(), n)
    for name, s in (("Sharp in time", MelSettings(n_fft=128, hop_length=32, n_mels=None, f_min=0)),
                    ("Sharp in frequency", MelSettings(n_fft=4096, n_mels=None, f_min=0)), ("The article’s", MelSettings())):
        tab.get_by_role("button", name=name).click()
        waits_for_size(tab, s, n)
        assert {k: shown(tab)[k] for k in ("n_fft", "hop_length", "n_mels")} == \
            {k: getattr(s, k) for k in ("n_fft", "hop_length", "n_mels")}


def test_the_picture_follows_a_slider(visit):
    tab = lab(visit)
    for name, key, setting in (("Frame", "ArrowRight", dict(n_fft=2048)), ("Hop", "ArrowLeft", dict(n_fft=2048, hop_length=128)),
                               ("Mel bands", "ArrowRight", dict(n_fft=2048, hop_length=128, n_mels=44))):
        tab.get_by_role("slider", name=name, exact=False).press(key)
        waits_for_size(tab, MelSettings(**setting), 5*RATE)
    tab.get_by_role("slider", name="Lowest").fill("4000")
    tab.get_by_role("slider", name="Highest").fill("1000")
    tab.wait_for_function("JSON.parse(document.querySelector('[data-listen]').dataset.shown).f_max === 1000")
    assert shown(tab)["f_min"] == 700


def test_what_is_under_the_pointer(visit, tmp_path):
    tab = lab(visit)
    give(tab, tmp_path/"tone.wav", tone(1000))
    waits_for_size(tab, s := MelSettings(), 2*RATE)
    row = np.abs(s.frequencies() - 1000).argmin()
    box = tab.locator(".listen-frame canvas").bounding_box()
    tab.mouse.move(box["x"] + box["width"]/2, box["y"] + box["height"]*(1 - (row + 0.5)/40))
    text = tab.locator(".listen-reading").text_content()
    level = levels(s, tone(1000))[row, 63]
    assert text == f"1.008 s, {s.frequencies()[row]:,.0f} Hz (near B5): {round(level, 1) + 0:.1f} dB".replace("-", "−"), text


def test_it_plays_and_the_cursor_runs(visit):
    tab = lab(visit)
    box = tab.locator(".listen-frame canvas").bounding_box()
    tab.mouse.click(box["x"] + box["width"]/2, box["y"] + 50)
    tab.wait_for_function("document.querySelector('.listen-picture audio').currentTime > 2.6")
    left = tab.evaluate("parseFloat(document.querySelector('.listen-cursor').style.left)")
    assert 51 < left < 100 and tab.locator(".listen-cursor").is_visible()
    tab.locator(".listen-frame").press(" ")
    assert tab.evaluate("document.querySelector('.listen-picture audio').paused")


def test_it_can_be_read_by_keyboard(visit):
    tab = lab(visit)
    frame = tab.locator(".listen-frame")
    frame.press("End")
    assert tab.locator(".listen-reading").text_content().startswith("4.992 s, ")
    frame.press("Home")
    for _ in range(2): frame.press("Shift+ArrowUp")
    frequency = MelSettings().frequencies()[20]
    assert tab.locator(".listen-reading").text_content().startswith(f"0.000 s, {frequency:,.0f} Hz")
    assert "40 rows and 313 frames" in frame.get_attribute("aria-label")


SAID = {"8 kHz": (lambda: (tone(1000, 2, 8000), 8000), "nothing above 4,000 Hz"),
        "192 kHz": (lambda: (tone(1000, 2, 192000), 192000), "resampled from 192,000 Hz to 16,000 Hz"),
        "silent": (lambda: (np.zeros(RATE), RATE), "is silent"),
        "empty": (lambda: (np.zeros(0), RATE), "cannot decode|no samples"),
        "ten minutes": (lambda: (tone(1000, 600, 8000), 8000), "10:00 min long. You see and hear its first 30 seconds")}


@pytest.mark.parametrize("make, wanted", SAID.values(), ids=SAID)
def test_unusual_files_get_a_sentence(visit, tmp_path, make, wanted):
    tab = lab(visit)
    give(tab, tmp_path/"x.wav", *make())
    tab.wait_for_function("pattern => document.querySelector('.listen-said').textContent.match(pattern)", arg=wanted)
    if "long" in wanted: waits_for_size(tab, MelSettings(), 30*RATE)


def test_what_is_no_sound_gets_a_sentence(visit, tmp_path):
    tab = lab(visit)
    (tmp_path/"words.wav").write_text("These are words, not samples. "*99)
    give(tab, tmp_path/"words.wav")
    tab.wait_for_function("document.querySelector('.listen-said').textContent.includes('words.wav: This browser cannot decode it')")
    assert size(tab) == "40 rows × 313 frames", "the picture of the sound before it has gone"


def test_a_file_can_be_dropped(visit, tmp_path):
    tab = lab(visit)
    sf.write(tmp_path/"x.wav", tone(500), RATE)
    tab.evaluate("""text => {
        const bytes = Uint8Array.from(atob(text), c => c.charCodeAt(0)), dataTransfer = new DataTransfer()
        dataTransfer.items.add(new File([bytes], 'x.wav'))
        document.querySelector('.listen-size').dispatchEvent(new DragEvent('drop', {dataTransfer, bubbles: true, cancelable: true}))
    }""", base64.b64encode((tmp_path/"x.wav").read_bytes()).decode())
    waits_for_size(tab, MelSettings(), 2*RATE)


def test_without_a_microphone_it_says_so(visit):
    tab = lab(visit)
    tab.get_by_role("button", name="Record").click()
    tab.wait_for_function("/microphone/.test(document.querySelector('.listen-said').textContent)")
    assert tab.get_by_role("button", name="Record").is_visible()


@pytest.fixture(scope="module")
def with_microphone(launch, tmp_path_factory):
    "A browser whose microphone hears a tone of 1,000 Hz for ever"
    sound = tmp_path_factory.mktemp("microphone")/"tone.wav"
    sf.write(sound, tone(1000, 2, 48000), 48000)
    browser = launch("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream",
                     f"--use-file-for-fake-audio-capture={sound}")
    yield browser
    browser.close()


def test_the_microphone_is_heard(with_microphone, address):
    tab = with_microphone.new_page()
    visit = Visit(tab, address)
    lab(visit)
    tab.get_by_role("button", name="Record").click()
    tab.wait_for_function("/Stop .[12]/.test(document.querySelector('.listen-sources button').textContent)")
    tab.get_by_role("button", name="Stop").click()
    tab.wait_for_function("/stays in this page/.test(document.querySelector('.listen-said').textContent)")
    tab.wait_for_function("document.querySelector('.listen-frame').ariaLabel.includes('Your recording')")
    to_one_second(tab)
    nearest = min(MelSettings().frequencies(), key=lambda f: abs(f - 1000))
    assert loudest(tab) == round(nearest)
    tab.close()
    fail_if(visit.problems, "the lab")


def test_a_folded_lab_starts_when_it_is_opened(visit):
    tab = visit.go("folded.html")
    assert not tab.evaluate("performance.getEntriesByType('resource').some(e => e.name.includes('sounds.js'))")
    tab.get_by_text("Try it").click()
    tab.wait_for_selector("[data-shown]")
    assert shown(tab)["n_fft"] == 128 and "Not here" not in tab.content()


def test_it_works_from_disk(browser, folder):
    tab = browser.new_page()
    visit = Visit(tab, folder.as_uri())
    tab.goto((folder/"lab.html").as_uri())
    tab.wait_for_selector("[data-shown]")
    assert size(tab) == "40 rows × 313 frames"
    tab.close()
    fail_if(visit.problems, "the lab from disk")


@pytest.mark.parametrize("width", [1280, 400])
def test_axe_has_no_complaint(visit, width):
    visit.tab.set_viewport_size({"width": width, "height": 900})
    complaints(lab(visit))


def test_a_page_is_light_before_more_is_asked_for(folder):
    assert sum((folder/"listen"/name).stat().st_size for name in ("listen.js", "listen.css", "sounds.js", "sound0.js")) < 250_000


# ---- name this sound ---------------------------------------------------------------------------------------------

@pytest.fixture
def runtime():
    if listen.RUNTIME.exists(): return
    if os.environ.get("CI"): pytest.fail("onnxruntime-web was not fetched: see what book/node.py said in the set-up")
    pytest.skip("onnxruntime-web was not fetched: see what book/node.py said in the set-up")


def answered(tab, n=1):
    tab.wait_for_function("n => JSON.parse(document.querySelector('[data-listen]').dataset.answered ?? 0) >= n", arg=n)
    data = tab.evaluate("({...document.querySelector('[data-listen]').dataset})")
    return data["label"], np.array(json.loads(data["probabilities"]))


def name_it(visit, tmp_path, samples, rate=RATE):
    tab = visit.go("name.html")
    tab.wait_for_selector(".listen-frame")
    give(tab, tmp_path/"x.wav", samples, rate)
    tab.wait_for_function("document.querySelector('.listen-frame').ariaLabel.includes('x.wav')")
    tab.get_by_role("button", name="Name this sound").click()
    return tab


@pytest.mark.parametrize("samples, rate", [(play_note("guitar_acoustic_000", 52), RATE), (tone(700, 1), RATE),
                                           (tone(700, 4, 44100), 44100)], ids=["note", "short", "44.1 kHz"])
def test_the_label_is_that_of_python(runtime, visit, tmp_path, classifier, samples, rate):
    tab = name_it(visit, tmp_path, samples, rate)
    label, p = answered(tab)
    table = classifier.predict(tmp_path/"x.wav", progress=False)
    assert label == table.label[0]
    np.testing.assert_allclose(p, table[FAMILIES].to_numpy()[0], atol=2e-3)


def test_windows_of_a_longer_sound(runtime, visit, tmp_path, classifier):
    x = np.concatenate([play_note("guitar_acoustic_000", 52), play_note("flute_acoustic_001", 72), np.zeros(RATE//2)])
    tab = name_it(visit, tmp_path, x)
    answered(tab, 6)
    tab.get_by_role("slider", name="Window").fill("4")
    _, p = answered(tab)
    wanted = classifier.predict(x[4*RATE:8*RATE].astype("f4"), RATE, progress=False)
    np.testing.assert_allclose(p, wanted[FAMILIES].to_numpy()[0], atol=2e-3)
    assert tab.locator(".listen-strip").get_attribute("aria-label").count(" s: ") == 6
    complaints(tab)


def test_a_doubtful_prediction_is_rejected(runtime, visit, tmp_path):
    tab = name_it(visit, tmp_path, tone(700, 4))
    label, p = answered(tab)
    threshold = tab.get_by_role("slider", name="Reject")
    for value, wanted in (0, f"{label}, {100*p.max():.0f} %"), (100, f"Rejected: the likeliest family, {label},"):
        threshold.fill(str(value))
        assert tab.locator(".listen-answer").text_content().startswith(wanted)


def test_nothing_is_loaded_before_it_is_asked_for(runtime, visit, tmp_path):
    tab = visit.go("name.html")
    tab.wait_for_selector("[data-listen] button")
    assert not tab.evaluate("performance.getEntriesByType('resource').some(e => /runtime|network/.test(e.name))")


def test_it_answers_from_disk(runtime, browser, folder, tmp_path, classifier):
    tab = browser.new_page()
    visit = Visit(tab, folder.as_uri() + "/")
    label, _ = answered(name_it(visit, tmp_path, tone(700, 4)))
    assert label == classifier.predict(tmp_path/"x.wav", progress=False).label[0]
    tab.close()
    fail_if(visit.problems, "the page from disk")


def test_six_megabytes_at_most(runtime, folder):
    assert sum((folder/"listen"/name).stat().st_size for name in ("runtime.js", "network.js")) < 6_000_000


def without(tab, name):
    "As if the book had been built without this data"
    tab.route(f"**/{name}.js", lambda r: r.fulfill(body=f"listen.give('{name}', null)", content_type="text/javascript"))


def test_without_the_runtime_the_page_says_so(visit, tmp_path):
    without(visit.tab, "runtime")
    tab = name_it(visit, tmp_path, tone(700, 1))
    tab.wait_for_function("document.querySelector('.listen-answer').textContent.includes('onnxruntime-web was not there')")


@pytest.mark.parametrize("page, wanted", [("name", "without chapter 20"), ("quiz", "without chapter 13")])
def test_a_book_without_the_chapter_says_so(visit, page, wanted):
    for name in listen.PAGES: without(visit.tab, name)
    tab = visit.go(f"{page}.html")
    if page == "quiz": tab.get_by_role("button", name="Start").click()
    tab.get_by_text(wanted).wait_for()


def test_data_for_no_page_is_refused(tmp_path):
    with pytest.raises(ValueError, match="bird"): listen.write(tmp_path/"listen", dict(bird={}))


def test_what_chapters_display_is_taken_out():
    outputs = [nbformat.v4.new_output("display_data", {listen.DATA: dict(quiz=1)}), nbformat.v4.new_output("stream", text="x")]
    nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("", outputs=outputs), nbformat.v4.new_markdown_cell("")])
    assert listen.take([nb]) == dict(quiz=1)
    assert [o.output_type for o in nb.cells[0].outputs] == ["stream"]


# ---- you against the network -------------------------------------------------------------------------------------

@pytest.mark.parametrize("width", [1280, 400])
def test_the_quiz_counts(visit, width):
    "The network is right about the first four notes and says `family 9` to the others; the reader says `family 9` to all"
    visit.tab.set_viewport_size({"width": width, "height": 900})
    tab = visit.go("quiz.html")
    tab.get_by_role("button", name="Start").click()
    for i in range(10):
        tab.get_by_role("heading", name=f"Note {i + 1} of 10").wait_for()
        tab.get_by_role("button", name="family 9").click()
        right = min(i + 1, 4)
        assert tab.locator(".listen-answer").text_content() == \
            f"You: {int(i == 9)} of {i + 1}. The network: {right + (i == 9)} of {i + 1}."
        if i == 0: complaints(tab)
        tab.keyboard.press("Enter")
    tab.get_by_role("heading", name="The result").wait_for()
    assert tab.get_by_text("You both took").all_text_contents() == [f"You both took family {i} for family 9." for i in range(4, 9)]
    assert tab.get_by_text("You took").all_text_contents() == [f"You took family {i} for family 9." for i in range(4)]
    assert tab.locator("tbody tr").count() == 10
    complaints(tab)


def test_the_lock_of_the_runtime_names_no_host():
    lock = (listen.HERE/"package-lock.json").read_text()
    assert "://" not in lock and '"resolved"' not in lock
    packages = json.loads(lock)["packages"]
    assert all("integrity" in package for name, package in packages.items() if name)
