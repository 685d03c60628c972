"Open pages in a browser, and say what was wrong with them"
import pytest


def fail_if(problems, what):
    "One message with everything that is wrong"
    if problems := list(dict.fromkeys(problems)):
        pytest.fail(f"{what}: {len(problems)} wrong\n  " + "\n  ".join(problems), pytrace=False)


class Visit:
    "An open page and what went wrong while it was open"

    def __init__(self, tab, address):
        self.tab, self.address, self.problems = tab, address, []
        tab.on("request", self.request)
        tab.on("response", lambda r: r.status >= 400 and self.problems.append(f"{r.status} for {r.url}"))
        tab.on("requestfailed", lambda r: r.failure == "net::ERR_ABORTED" or
               self.problems.append(f"request failed: {r.url[:100]}: {r.failure}"))
        tab.on("console", lambda m: m.type == "error" and self.problems.append(f"console error: {m.text}"))
        tab.on("pageerror", lambda e: self.problems.append(f"page error: {e}"))

    def request(self, r):
        if not r.url.startswith((self.address, "data:", "blob:")):
            self.problems.append(f"outside request: {r.url}")

    def go(self, page):
        self.tab.goto(self.address + page, wait_until="load")
        self.tab.wait_for_timeout(50)
        return self.tab
