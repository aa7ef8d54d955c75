"""The playground in a real browser: it writes, colours and compresses."""

import functools
import http.server
import shutil
import threading
from pathlib import Path

import pytest

BUILT = Path(__file__).parents[2] / "build" / "web"
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not BROWSER or not (BUILT / "playground.js").exists(), reason="needs Chromium and `make web`"),
]


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *words):
        pass


@pytest.fixture(scope="module")
def page():
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=BUILT))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        opened = browser.new_page()
        wrong: list[str] = []
        opened.on("pageerror", lambda error: wrong.append(str(error)))
        opened.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
        opened.goto(f"http://127.0.0.1:{server.server_address[1]}/playground.html")
        opened.wait_for_selector("#write:not([disabled])", timeout=120_000)
        yield opened
        assert not wrong
        browser.close()
    server.shutdown()


def test_it_writes_the_same_text_for_the_same_seed(page):
    texts = []
    for _ in range(2):
        page.fill("#seed", "3")
        page.click("#write")
        page.wait_for_selector("#stop[disabled]", timeout=120_000, state="attached")
        texts.append(page.inner_text("#written"))
    assert texts[0] == texts[1]
    assert texts[0].startswith("The captain looked at the sea and")
    assert len(texts[0]) > 100
    assert "KB a second" in page.inner_text("#speed")


def test_it_colours_what_surprises(page):
    page.fill("#text", "The cat sat on the mat. The cat sat on the mat. The cqt sat.")
    page.click("#read")
    page.wait_for_selector("#coloured span")
    bits = [float(each.get_attribute("title").split()[0]) for each in page.query_selector_all("#coloured span")]
    letters = [each.inner_text() for each in page.query_selector_all("#coloured span")]
    assert letters[bits.index(max(bits[1:]))] == "q"
    assert "bits for 60 bytes" in page.inner_text("#total")


def test_it_compresses(page):
    page.fill("#text", "It was the best of times, it was the worst of times, it was the age of wisdom.")
    page.click("#pack")
    page.wait_for_selector("#sizes tbody tr")
    sizes = {row[0]: int(row[1]) for row in (line.split("\t") for line in page.inner_text("#sizes tbody").split("\n"))}
    assert sizes["CPU-1"] < sizes["gzip"] < 100
    assert page.get_attribute("#archive", "href").startswith("blob:")
