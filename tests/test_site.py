"""The built book in a real browser: every page, at laptop and phone width, in both colour themes.

BOOK_HTML names the folder of the built site; without it, `_build/quick/html` is taken, or all is skipped if there is none.
"""
import functools
import http.server
import os
import re
import threading
import tomllib
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

import pytest

from visits import Visit, fail_if

ROOT = Path(__file__).resolve().parents[1]
SITE = Path(os.environ.get("BOOK_HTML", ROOT / "_build/quick/html")).resolve()
WIDTHS = (1400, 400)
MAX_CHAPTER_BYTES = 3_000_000

# axe rules that are not applied, each as (rule, selector, reason); empty is the aim.
AXE_EXCEPTIONS = []

PAGES = sorted(p.relative_to(SITE).as_posix() for p in SITE.rglob("*.html")
               if p.relative_to(SITE).parts[0] != "_static") if (SITE / "index.html").exists() else []
CHAPTERS = [p for p in PAGES if p.startswith("nbs/")]
if not PAGES and "BOOK_HTML" in os.environ:
    raise FileNotFoundError(f"BOOK_HTML names {SITE}, which holds no built book")
if not PAGES:
    pytest.skip(f"no built book at {SITE}: run `make test`, or `make book` with BOOK_HTML=_build/html", allow_module_level=True)


# ---- what can be read from the files -----------------------------------------------------------------------------

class Page(HTMLParser):
    "Anchors, links and files of one page"

    def __init__(self, name):
        super().__init__()
        self.ids, self.links, self.files, self.prev, self.next = set(), [], [], None, None
        self.feed((SITE / name).read_text(encoding="utf8"))

    def handle_starttag(self, tag, attrs):
        a = dict(attrs)
        self.ids |= {a[k] for k in ("id", "name") if a.get(k)}
        if tag == "a" and a.get("href"):
            self.links.append(a["href"])
            classes = (a.get("class") or "").split()
            if "left-prev" in classes:
                self.prev = a["href"]
            if "right-next" in classes:
                self.next = a["href"]
        if tag == "meta" and (a.get("http-equiv") or "").lower() == "refresh":
            self.links.append(a["content"].split("url=", 1)[1])
        for key in ("src", "href"):
            if a.get(key) and (tag in ("img", "script", "audio", "source") or tag == "link"
                               and (a.get("rel") or "") in ("stylesheet", "icon", "preload")):
                self.files.append(a[key])


@functools.lru_cache(None)
def parsed(name):
    return Page(name)


def target(page, link):
    "The file and the anchor inside the site that a link of a page leads to, or None for one that leads outside"
    if urlsplit(link).scheme:
        return None
    parts = urlsplit(urljoin("/" + page, link))
    return unquote(parts.path).lstrip("/"), unquote(parts.fragment)


def repository():
    with open(ROOT / "pyproject.toml", "rb") as f:
        return tomllib.load(f)["project"]["urls"]["Repository"].rstrip("/")


@pytest.mark.parametrize("page", PAGES)
def test_links_resolve(page):
    problems = []
    for link in parsed(page).links + parsed(page).files:
        if not (found := target(page, link)):
            continue
        file, anchor = found
        if not (SITE / file).is_file():
            problems.append(f"{link}: no file {file}")
        elif anchor and file.endswith(".html") and anchor not in parsed(file).ids:
            problems.append(f"{link}: no anchor {anchor} in {file}")
    fail_if(problems, f"links of {page}")


def test_previous_and_next_lead_around():
    "From the start page, `next` passes every page of the table of contents once, and `previous` leads back"
    start = target("index.html", parsed("index.html").links[0])[0]
    way = [start]
    while link := parsed(way[-1]).next:
        following = target(way[-1], link)[0]
        assert following not in way, f"next of {way[-1]} leads back to {following}"
        back = parsed(following).prev
        assert back and target(following, back)[0] == way[-1], \
            f"previous of {following} is {back}, not {way[-1]}"
        way.append(following)
    content = {p for p in PAGES if p.startswith(("book/", "nbs/"))}
    fail_if([f"{p} cannot be reached" for p in sorted(content - set(way))], f"next links from {start}")


@pytest.mark.parametrize("page", CHAPTERS)
def test_chapter_is_small_enough(page):
    files = {target(page, f)[0] for f in parsed(page).files if target(page, f)}
    images = {f: (SITE / f).stat().st_size for f in files if f.startswith("_images/")}
    size = (SITE / page).stat().st_size
    total = size + sum(images.values())
    largest = sorted(images.items(), key=lambda i: -i[1])[:3]
    assert total <= MAX_CHAPTER_BYTES, \
        f"{page}: {total:,} bytes, {size:,} of them the page with its sounds; largest images {largest}"


@pytest.mark.parametrize("page", CHAPTERS)
def test_chapter_opens_in_colab_and_can_be_edited(page):
    "The addresses are those of pyproject.toml and of a notebook that exists"
    source = page.replace(".html", ".ipynb")
    assert (ROOT / source).exists(), f"{page} has no source {source}"
    repo = repository()
    owner = repo.removeprefix("https://github.com/")
    wanted = [f"https://colab.research.google.com/github/{owner}/blob/main/{source}",
              f"{repo}/edit/main/{source}", repo]
    fail_if([f"no link to {w}" for w in wanted if w not in parsed(page).links], page)


def test_every_page_links_to_the_repository():
    repo = repository()
    outside = {(p, x) for p in PAGES for x in parsed(p).links if "github.com" in x
               and re.search(r"/(edit|blob|issues)/", x) and "colab" not in x and not x.startswith(repo + "/")}
    fail_if([f"{p}: {x}" for p, x in sorted(outside)], "links into another repository")
    fail_if([p for p in PAGES if p.startswith(("book/", "nbs/")) and repo not in parsed(p).links],
            "pages without the repository's button")


def test_sitemap_lists_every_page():
    text = (SITE / "sitemap.xml").read_text(encoding="utf8")
    listed = re.findall(r"<loc>(.*?)</loc>", text)
    fail_if([f"{p} is missing" for p in PAGES if p.startswith(("book/", "nbs/"))
             and not any(x.startswith("https://") and x.endswith("/" + p) for x in listed)], "sitemap.xml")


# ---- what only a browser can tell ---------------------------------------------------------------------------------

class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, address):
        "A browser that leaves a page drops its connections: nothing to report"


class Handler(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path == "/favicon.ico":  # asked for by the browser on index.html, a bare redirect
            self.send_response(204)
            self.end_headers()
        else:
            super().do_GET()

    def log_message(self, *args):
        pass


@pytest.fixture(scope="session")
def address():
    with Server(("127.0.0.1", 0), functools.partial(Handler, directory=str(SITE))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture(scope="session")
def axe():
    return pytest.importorskip("axe_playwright_python.base", reason="axe-playwright-python is not installed").AXE_SCRIPT


@pytest.fixture(scope="session")
def contexts(browser):
    "One context for each width, kept for all pages"
    made = {w: browser.new_context(viewport={"width": w, "height": 900}, color_scheme="light",
                                   reduced_motion="reduce") for w in WIDTHS}
    yield made
    for c in made.values():
        c.close()


@pytest.fixture
def visit(browser, address):
    "A tab of its own, with nothing remembered"
    context = browser.new_context(viewport={"width": 1400, "height": 900}, color_scheme="light")
    yield Visit(context.new_page(), address)
    context.close()


OVERFLOW = """() => {
  const root = document.documentElement, wide = [];
  if (root.scrollWidth > root.clientWidth) for (const e of document.body.querySelectorAll('*')) {
    const r = e.getBoundingClientRect();
    let p = e.parentElement, clipped = false;
    for (; p && p !== document.body; p = p.parentElement)
      if (getComputedStyle(p).overflowX !== 'visible') clipped = true;
    if (!clipped && r.width && r.right > root.clientWidth + 1)
      wide.push(`${e.tagName.toLowerCase()}.${e.className} reaches ${Math.round(r.right)} px`);
  }
  return [root.scrollWidth, root.clientWidth, wide.slice(0, 8)];
}"""
IMAGES = """async () => {
  const bad = [];
  for (const i of document.images) {
    i.loading = 'eager';
    const name = (i.getAttribute('src') || '').slice(0, 80);
    if (!(i.getAttribute('alt') || '').trim()) bad.push(`image without alt text: ${name}`);
    try { await i.decode(); } catch { if (!i.naturalWidth) bad.push(`image that does not load: ${name}`); }
  }
  return bad;
}"""
PLAYERS = """async () => {
  const known = a => a.readyState >= 1 || a.error ? null : new Promise(done => {
    for (const e of ['loadedmetadata', 'error']) a.addEventListener(e, done, {once: true});
    setTimeout(done, 10000);
  });
  const bad = [];
  for (const a of document.querySelectorAll('audio, video')) {
    await known(a);
    const label = a.getAttribute('aria-label') || '(no label)';
    if (!(Number.isFinite(a.duration) && a.duration > 0))
      bad.push(`player ${label}: duration ${a.duration}${a.error ? ', ' + a.error.message : ''}`);
    if (!a.getAttribute('aria-label')) bad.push(`player without a label: ${a.outerHTML.slice(0, 80)}`);
    if (!a.controls) bad.push(`player ${label}: no controls`);
  }
  return bad;
}"""
THEME = "t => { document.documentElement.dataset.theme = t; document.documentElement.dataset.mode = t; }"

CONTRAST = "color-contrast"
AXE_RUNS = {1400: [("light", {}), ("dark", {"runOnly": [CONTRAST]})],
            400: [("dark", {"rules": {CONTRAST: {"enabled": False}}})]}


def axe_problems(tab, script, theme, rules):
    "What axe calls serious or critical; only contrast depends on the theme, and it does not depend on the width"
    tab.evaluate(THEME, theme)
    if not tab.evaluate("() => typeof axe !== 'undefined'"):
        tab.evaluate(script)
    # preload would have axe fetch style sheets a second time, by addresses that are not theirs
    found = tab.evaluate("rules => axe.run({resultTypes: ['violations'], preload: false, ...rules})", rules)["violations"]
    allowed = {(rule, selector) for rule, selector, _ in AXE_EXCEPTIONS}
    for v in found:
        for node in v["nodes"] if v["impact"] in ("serious", "critical") else ():
            selector = " ".join(map(str, node["target"]))
            if (v["id"], selector) not in allowed:
                why = [c["message"] for c in node["any"] + node["all"] + node["none"]]
                yield f"axe {v['id']} ({v['impact']}, {theme}): {selector}: {'; '.join(why)[:200]}"


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("page", PAGES)
def test_page(page, width, contexts, address, axe):
    tab = contexts[width].new_page()
    visit = Visit(tab, address)
    visit.go(page)
    if page == "index.html":
        tab.wait_for_url(re.compile(r"/nbs/00_start"))
    scroll, client, wide = tab.evaluate(OVERFLOW)
    if scroll > client:
        visit.problems.append(f"{scroll} px wide on a screen of {client} px: {wide}")
    visit.problems += tab.evaluate(IMAGES) + tab.evaluate(PLAYERS)
    for theme, rules in AXE_RUNS[width]:
        visit.problems += axe_problems(tab, axe, theme, rules)
    tab.close()
    fail_if(visit.problems, f"{page} at {width} px")


def test_search_finds_a_word(visit):
    "From the search box of the start page to a list of pages"
    tab = visit.go("nbs/00_start.html")
    tab.keyboard.press("Control+k")
    box = tab.locator("#pst-search-dialog input[type=search]")
    box.wait_for(state="visible", timeout=5000)
    box.fill("spectrogram")
    box.press("Enter")
    tab.wait_for_url(re.compile(r"/search\.html\?q=spectrogram"))
    results = tab.locator("#search-results li a")
    results.first.wait_for(timeout=10000)
    links = [results.nth(i).get_attribute("href") for i in range(results.count())]
    assert any("nbs/" in x or "glossary" in x for x in links), f"search found only {links}"
    fail_if(visit.problems, "search")


def test_a_player_plays(visit):
    page = next((p for p in CHAPTERS if "<audio" in (SITE / p).read_text(encoding="utf8")), None)
    assert page, "no chapter has a player"
    tab = visit.go(page)
    times = tab.evaluate("""async () => {
        const a = document.querySelector('audio'), wait = ms => new Promise(r => setTimeout(r, ms));
        await a.play();
        const before = a.currentTime;
        for (let i = 0; i < 50 && a.currentTime <= before; i++) await wait(100);
        return [before, a.currentTime];
    }""")
    assert times[1] > times[0], f"the first player of {page} stands still at {times}"
    fail_if(visit.problems, page)


@pytest.mark.parametrize("page", ["nbs/00_start.html", "nbs/11_on_the_fly.html"])
def test_a_cursor_follows_the_sound(visit, page):
    "In the page as the book has it; the rest of what the cursor does is in test_players.py"
    tab = visit.go(page)
    part = tab.evaluate("""async () => {
        const picture = document.querySelector('.sound-picture'), audio = picture.nextElementSibling.querySelector('audio')
        const area = picture.querySelector('.sound-axes'), line = area.firstChild
        if (!(audio.duration > 0)) await new Promise(r => audio.addEventListener('loadedmetadata', r, {once: true}))
        audio.currentTime = audio.duration/2
        await new Promise(r => audio.addEventListener('seeked', () => requestAnimationFrame(r), {once: true}))
        const [a, b] = [area, line].map(e => e.getBoundingClientRect())
        return (b.left + b.width/2 - a.left)/a.width }""")
    assert abs(part - 0.5) < 0.02, f"half of the sound is at {part:.2f} of the picture"
    fail_if(visit.problems, page)


@pytest.mark.parametrize("width", WIDTHS)
def test_theme_button_turns_the_page_dark(visit, width):
    tab = visit.tab
    tab.set_viewport_size({"width": width, "height": 900})
    visit.go("nbs/00_start.html")
    seen = {}
    for _ in range(4):
        tab.locator(".theme-switch-button:visible").first.click()
        theme = tab.evaluate("document.documentElement.dataset.theme")
        seen[theme] = tab.evaluate("getComputedStyle(document.body).backgroundColor")
        if theme == "dark":
            break
    rgb = [int(x) for x in re.findall(r"\d+", seen.get("dark", "255, 255, 255"))[:3]]
    assert sum(rgb) < 150, f"no dark background after four clicks: {seen}"
    visit.go("book/glossary.html")
    assert tab.evaluate("document.documentElement.dataset.theme") == "dark", "the next page forgot the dark theme"
    fail_if(visit.problems, "theme button")


def test_next_button_works(visit):
    tab = visit.go("nbs/00_start.html")
    tab.locator("a.right-next").click()
    tab.wait_for_url(re.compile(r"/nbs/01_"))
    tab.locator("a.left-prev").click()
    tab.wait_for_url(re.compile(r"/nbs/00_start"))
    fail_if(visit.problems, "previous and next")


def test_phone_menu_opens(visit):
    "At phone width the table of contents is behind a button"
    tab = visit.tab
    tab.set_viewport_size({"width": 400, "height": 900})
    visit.go("nbs/00_start.html")
    link = tab.locator("nav.bd-docs-nav a:visible")
    assert link.count() == 0, "the menu covers the page from the start"
    tab.locator("button.primary-toggle:visible").first.click()
    link.first.wait_for(state="visible", timeout=3000)
    fail_if(visit.problems, "phone menu")


@pytest.mark.parametrize("width", WIDTHS)
def test_a_confusion_opens_its_players_from_the_keyboard(visit, axe, width):
    tab = visit.tab
    tab.emulate_media(reduced_motion="reduce")  # axe would see colours half way from one theme to the other
    tab.set_viewport_size({"width": width, "height": 900})
    visit.go("nbs/13_errors.html")
    tab.locator(".confusion td button").first.focus()
    tab.keyboard.press("Enter")
    box = tab.locator(".confusion [popover]:popover-open")
    box.wait_for(state="visible", timeout=3000)
    assert box.locator("audio").first.is_visible()
    for theme in "light", "dark":
        visit.problems += axe_problems(tab, axe, theme, {})
    tab.keyboard.press("Tab")
    assert box.evaluate("box => box.contains(document.activeElement)"), "the next Tab leads past the players"
    tab.keyboard.press("Escape")
    box.wait_for(state="hidden", timeout=3000)
    assert tab.evaluate("document.activeElement.matches('.confusion td button')"), "the keyboard has lost its place"
    fail_if(visit.problems, f"confusion matrix at {width} px")
