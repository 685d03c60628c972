"Pictures whose sound plays: where time is in a figure, and the cursor in a real browser"
import json, re

import numpy as np, pytest
from matplotlib import rc_context
from matplotlib.figure import Figure

from audio_tutorial.mel import MelSettings
from audio_tutorial.players import figure_html, html_output, play, time_axes
from visits import Visit, fail_if

RATE, SECONDS = 16000, 4
SOUND = 0.5*np.sin(2*np.pi*440*np.arange(SECONDS*RATE)/RATE)


def figure(n=1, seconds=SECONDS, **kwargs):
    "A figure of plots over time, one above the other, with a plot of something else beside them"
    fig = Figure((6, 3), layout="constrained")
    axes = fig.subplots(n, 2, squeeze=False, **kwargs)
    for ax in axes[:, 0]: ax.set(xlim=(0, seconds))
    axes[-1, 0].set(xlabel="Time (s)")
    return fig


def block(name="A", fig=None, start=0, sound=SOUND):
    return figure_html(fig or figure(), f"Picture {name}", play(sound, RATE, f"Sound {name}", start))


# ------------------------------------------------------------------------------------------------ what is in the HTML

def test_time_axes_are_where_the_picture_shows_them():
    "A red plot: its pixels are the fractions"
    from PIL import Image
    import base64, io
    fig = Figure((5, 2), layout="constrained")
    left, right = fig.subplots(1, 2)
    left.set(xlabel="Hour", facecolor="blue")
    right.set(xlabel="Time (s)", xlim=(2, 5), facecolor="red", ylabel="Amplitude")
    for ax in left, right: ax.spines[:].set_visible(False)
    text = html_output(figure_html(fig, "Two plots", play(SOUND, RATE))).data
    (x, y, width, height, first, last), = json.loads(re.search(r'data-axes="(.*?)"', text)[1])
    assert (first, last) == (2, 5)
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(re.search(r'image/webp;base64,([^"]+)', text)[1]))))
    red = (pixels[..., 0] > 200) & (pixels[..., 1] < 50) & (pixels[..., 2] < 50)
    rows, columns = np.flatnonzero(red.any(axis=1)), np.flatnonzero(red.any(axis=0))
    h, w = red.shape
    for got, wanted in ((x*w, columns[0]), ((x + width)*w, columns[-1] + 1), (y*h, rows[0]),
                        ((y + height)*h, rows[-1] + 1)): assert abs(got - wanted) <= 1.5


def test_a_tight_box_in_the_settings_does_not_move_them():
    with rc_context({"savefig.bbox": "tight"}): tight = figure_html(figure(), "x", play(SOUND, RATE))
    assert tight == figure_html(figure(), "x", play(SOUND, RATE))


def test_plots_that_share_the_axis_count():
    fig = figure(2, sharex="col")
    fig.canvas.draw()
    assert len(time_axes(fig)) == 2
    fig = figure(2)
    fig.canvas.draw()
    assert len(time_axes(fig)) == 1


def test_a_spectrogram_has_one():
    settings = MelSettings()
    ax = settings.show(settings.log_mel(SOUND))
    ax.figure.canvas.draw()
    (*_, first, last), = time_axes(ax.figure)
    assert abs(first) < 0.05 and abs(last - SECONDS) < 0.05


def test_no_script_without_a_use():
    "No player, or nothing over time: the HTML is as plain as it can be"
    still = Figure((2, 1))
    still.subplots().plot([1, 2])
    for html in figure_html(still, "x", play(SOUND, RATE)), figure_html(figure(), "x"):
        assert html.startswith("<img ") and "<script" not in html_output(html).data
    assert html_output(block(), block()).data.count("<script") == 1


def test_a_player_with_a_figure():
    "The same as in two steps; the notebook does not show the figure a second time"
    import matplotlib.pyplot as plt
    fig = figure()
    player = play(SOUND, RATE, 'The "A"', 1)
    whole = html_output(figure_html(fig, "A tone", player, dpi=150)).data
    for drawn in fig, fig.axes[0]: assert play(SOUND, RATE, 'The "A"', 1, drawn, "A tone").data == whole
    assert 'img alt="The &quot;A&quot;"' in play(SOUND, RATE, 'The "A"', figure=fig).data
    ax = plt.subplots()[1]
    play(SOUND, RATE, figure=ax)
    assert ax.figure.number not in plt.get_fignums()


# ------------------------------------------------------------------------------------------------------- in a browser

@pytest.fixture
def visit(browser, tmp_path):
    context = browser.new_context(viewport={"width": 900, "height": 900})
    tab = context.new_page()
    made = Visit(tab, tmp_path.as_uri())
    tab.on("console", lambda m: made.problems.append(f"console: {m.text}"))
    def show(*outputs, script=True):
        body = "".join(f"<div>{o.data}</div>" for o in outputs)
        (tmp_path/"page.html").write_text(f"<!doctype html><html lang=en><title>Page</title><main><h1>Page</h1>{body}</main>")
        made.go("/page.html")
        tab.wait_for_function("[...document.querySelectorAll('audio')].every(a => a.duration > 0)")
        tab.evaluate("""document.querySelectorAll('audio').forEach(a => {
            a.addEventListener('seeking', () => { a.sought = a.currentTime })
            a.addEventListener('play', () => { a.began = true }) })""")
        return tab
    made.show = show
    yield made
    context.close()
    fail_if(made.problems, "the page")


def line(tab, picture=0, axis=0):
    "Where a line is in its plot, as a fraction, and whether it is shown"
    return tab.evaluate("""([p, i]) => {
        const area = document.querySelectorAll('.sound-picture')[p].querySelectorAll('.sound-axes')[i]
        const a = area.getBoundingClientRect(), b = area.firstChild.getBoundingClientRect()
        return [(b.left + b.width/2 - a.left)/a.width, !area.firstChild.hidden] }""", [picture, axis])


def seek(tab, seconds, player=0):
    tab.evaluate("""([s, i]) => new Promise(done => { const a = document.querySelectorAll('audio')[i]
        a.addEventListener('seeked', () => requestAnimationFrame(done), {once: true}); a.currentTime = s })""",
        [seconds, player])


def click(tab, part, picture=0, axis=0):
    "At a part of the width of a plot"
    box = tab.evaluate("""([p, i]) => { const a = document.querySelectorAll('.sound-picture')[p]
        .querySelectorAll('.sound-axes')[i]; a.scrollIntoView({block: 'center'})
        const r = a.getBoundingClientRect(); return [r.left, r.top, r.width, r.height] }""", [picture, axis])
    tab.mouse.click(box[0] + part*box[2], box[1] + box[3]/2)


def times(tab): return tab.evaluate("[...document.querySelectorAll('audio')].map(a => a.currentTime)")
def paused(tab): return tab.evaluate("[...document.querySelectorAll('audio')].map(a => a.paused)")


def sought(tab, player=0):
    "Where a click took a sound, once it has begun to play and the others rest; on a busy machine it may have ended by then"
    tab.wait_for_function("i => [...document.querySelectorAll('audio')].every((a, j) => i == j ? a.began : a.paused)", arg=player)
    return tab.evaluate("i => { const a = document.querySelectorAll('audio')[i]; a.began = false; return a.sought }", player)


@pytest.mark.parametrize("width", [900, 400])
def test_the_cursor_is_where_the_sound_is(visit, width):
    visit.tab.set_viewport_size({"width": width, "height": 900})
    tab = visit.show(html_output(block(fig=figure(2, sharex="col"))))
    assert not line(tab)[1], "a line before the sound has begun"
    for seconds in 1, 3:
        seek(tab, seconds)
        for axis in 0, 1: assert line(tab, axis=axis) == [pytest.approx(seconds/SECONDS, abs=0.01), True]
    tab.set_viewport_size({"width": 600, "height": 900}) # and the areas stay on the picture
    tab.wait_for_timeout(100)
    area, image = (tab.locator(s).first.bounding_box() for s in (".sound-axes", ".sound-picture img"))
    left, top, w, h, *_ = json.loads(tab.locator(".sound-picture").get_attribute("data-axes"))[0]
    assert [area["x"] - image["x"], area["width"]] == pytest.approx([left*image["width"], w*image["width"]], abs=1)
    assert [area["y"] - image["y"], area["height"]] == pytest.approx([top*image["height"], h*image["height"]], abs=1)


@pytest.mark.parametrize("motion", ["no-preference", "reduce"])
def test_the_cursor_runs(visit, motion):
    visit.tab.emulate_media(reduced_motion=motion)
    tab = visit.show(html_output(block()))
    seen = tab.evaluate("""async () => {
        const a = document.querySelector('audio'), span = document.querySelector('.sound-axes span'), seen = new Set()
        await a.play()
        for (let i = 0; i < 300 && a.currentTime < 1; i++) {
            seen.add(span.style.left); await new Promise(requestAnimationFrame) }
        a.pause()
        return [...seen].map(parseFloat) }""")
    assert seen == sorted(seen) and 0.15 < seen[-1]/100 < 0.5
    assert len(seen) > 12 if motion == "no-preference" else len(seen) <= 12, "four steps a second, or all of them"


def test_a_click_takes_the_sound_there(visit):
    tab = visit.show(html_output(block("A"), block("B")), html_output(block("C")))
    click(tab, 0.5)
    assert sought(tab) == pytest.approx(SECONDS/2, abs=0.05) and times(tab)[1:] == [0, 0]
    click(tab, 0.25, picture=2)
    assert sought(tab, 2) == pytest.approx(SECONDS/4, abs=0.05)
    before = times(tab)[0]
    click(tab, -0.05) # beside the plot
    assert times(tab)[0] == before and paused(tab)[0]


def test_a_part_of_a_longer_sound(visit):
    "The player holds seconds 6 to 10 of a picture of 20"
    tab = visit.show(html_output(block(fig=figure(seconds=20), start=6)))
    seek(tab, 1)
    assert line(tab) == [pytest.approx(7/20, abs=0.01), True]
    click(tab, 8/20)
    assert sought(tab) == pytest.approx(2, abs=0.1)
    tab.evaluate("document.querySelector('audio').pause()")
    before = times(tab)
    for outside in 0.1, 0.9: click(tab, outside)
    assert times(tab) == before and paused(tab) == [True]


def test_the_keyboard_does_it_all(visit):
    tab = visit.show(html_output(block()))
    slider = tab.get_by_role("slider", name="Position in the sound: Sound A")
    slider.focus()
    for key, seconds in ("ArrowRight", 0.1), ("PageUp", 1.1), ("ArrowLeft", 1.0), ("Home", 0), ("End", SECONDS):
        tab.keyboard.press(key)
        tab.wait_for_timeout(50)
        assert times(tab)[0] == pytest.approx(seconds, abs=0.05), key
    assert float(slider.get_attribute("aria-valuenow")) == pytest.approx(SECONDS, abs=0.05)
    tab.keyboard.press("Home")
    tab.keyboard.press("Space")
    tab.wait_for_function("document.querySelector('audio').currentTime > 0.1")
    tab.keyboard.press("Enter")
    assert paused(tab) == [True]


def test_a_frame_around_the_picture_moves_nothing(visit):
    "Themes put padding and borders around images"
    tab = visit.show(html_output(block(fig=figure(seconds=8))))
    tab.add_style_tag(content=".sound-picture img {padding: 10px 30px; border: 5px solid; margin: 7px; display: block}")
    tab.wait_for_timeout(100)
    area, image = (tab.locator(s).bounding_box() for s in (".sound-axes", ".sound-picture img"))
    left, top, w, h, *_ = json.loads(tab.locator(".sound-picture").get_attribute("data-axes"))[0]
    width, height = image["width"] - 70, image["height"] - 30
    assert [area["x"] - image["x"], area["width"]] == pytest.approx([35 + left*width, w*width], abs=1)
    assert [area["y"] - image["y"], area["height"]] == pytest.approx([15 + top*height, h*height], abs=1)
    click(tab, 0.25)
    assert times(tab)[0] == pytest.approx(2, abs=0.5)


def test_nothing_happens_where_there_is_no_player(visit):
    without = html_output(block())
    without.data = re.sub(r"<figure.*?</figure>", "", without.data)
    tab = visit.show(without, html_output(block()))
    assert tab.locator(".sound-axes").count() == 1


def test_axe_has_no_complaint(visit):
    axe = pytest.importorskip("axe_playwright_python.base").AXE_SCRIPT
    tab = visit.show(html_output(block("A", figure(2, sharex="col")), block("B")))
    seek(tab, 1)
    tab.evaluate(axe)
    assert tab.evaluate("async () => (await axe.run()).violations.map(v => `${v.id}: ${v.nodes[0].html}`)") == []
