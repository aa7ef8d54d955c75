"""The page at /: alone in its file, and used by keyboard in a browser."""

import re
import shutil

import pytest
from helpers.serving import served

from cpu1.server import playground

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def test_the_page_loads_nothing_else(server):
    found = server.ask("GET", "/")
    text = found.body.decode()
    assert not re.findall(r"""(?:src|href|action)\s*=|@import|url\(|https?://|\son\w+\s*=|\sstyle\s*=\s*["']""", text)
    policy = dict(part.split(" ", 1) for part in found.headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["connect-src"] == "'self'"
    for kind in ("script-src", "style-src"):
        assert re.fullmatch(r"'sha256-[\w+/=]{44}'", policy[kind])
    assert "unsafe" not in found.headers["content-security-policy"]


def test_the_page_is_in_the_package():
    assert playground.FILE.is_file()


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    if BROWSER is None:
        pytest.skip("needs Chromium")
    with playwright.sync_playwright() as started:
        found = started.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield found
        found.close()


def wait(page, place, text):
    """Until a place of the page has this text. The page's policy forbids the strings of code that others run in it."""
    from playwright.sync_api import expect

    expect(page.locator(place)).to_contain_text(text, timeout=60_000)


@pytest.fixture
def page(browser):
    found = browser.new_page()
    found.problems = []
    found.on("pageerror", lambda error: found.problems.append(str(error)))
    found.on("console", lambda line: found.problems.append(line.text) if line.type == "error" else None)
    found.on("request", lambda request: found.asked.append(request.url))
    found.asked = []
    yield found
    found.close()


@pytest.mark.slow
def test_a_person_writes_with_the_keyboard_alone(server, page):
    page.goto(f"http://127.0.0.1:{server.port}/")
    page.wait_for_selector("#bars button")
    assert page.locator("#model").inner_text() == "cpu1"
    assert not page.locator("#key").is_visible()
    assert page.evaluate("document.activeElement.id") == "prompt"
    page.keyboard.press("Control+A")
    page.keyboard.type("Où est")
    page.keyboard.press("Control+Enter")
    wait(page, "#status", " bytes in ")
    samples = page.locator(".sample")
    assert samples.count() == 3
    texts = samples.locator(".text").all_inner_texts()
    assert len(set(texts)) == 3
    wanted = server.post("/v1/completions", prompt="Où est", max_tokens=200, temperature=0.8, seed=0, n=3)
    shown = [page.evaluate("number => document.querySelectorAll('.text')[number].textContent", n) for n in range(3)]
    assert [text.replace("∎", "") for text in shown] == [choice["text"] for choice in wanted["choices"]]
    assert len(set(page.locator(".text span").evaluate_all("all => all.map(each => each.style.background)"))) > 3

    samples.locator(".text").first.focus()
    assert page.locator("[aria-selected=true]").count() == 1
    for key in ("ArrowRight", "ArrowRight", "End", "Home", "ArrowRight"):
        page.keyboard.press(key)
    assert "had" in page.locator("#next-title").inner_text()
    assert page.locator("#bars button").count() == 5
    page.keyboard.press("Enter")
    assert page.locator("#prompt").input_value() == "Où est" + wanted["choices"][0]["text"][:1]
    wait(page, "#next-title", re.compile("^What may come next$"))
    page.locator("#bars button:enabled").first.focus()
    letter = page.locator("#bars button:enabled").first.inner_text().replace("␣", " ").replace("↵", "\n")
    page.keyboard.press("Enter")
    assert page.locator("#prompt").input_value().endswith(letter)
    assert not page.problems
    assert {url.split("/")[2] for url in page.asked} == {f"127.0.0.1:{server.port}"}


@pytest.mark.slow
def test_escape_stops_and_frees_the_texts(server, page):
    page.goto(f"http://127.0.0.1:{server.port}/")
    page.wait_for_selector("#bars button")
    page.locator("#bytes").fill("4000")
    page.keyboard.press("Control+Enter")
    server.until("cpu1_streams", 3)
    page.keyboard.press("Escape")
    wait(page, "#status", "stopped")
    server.until("cpu1_streams", 0)


@pytest.mark.slow
def test_errors_are_shown(server, page):
    page.goto(f"http://127.0.0.1:{server.port}/")
    page.wait_for_selector("#bars button")
    page.locator("#temperature").evaluate("each => { each.removeAttribute('max'); each.value = '9'; }")
    page.locator("#write").click()
    wait(page, "#status", "temperature is 9")


@pytest.mark.slow
def test_a_key_is_asked_for(page):
    with served(CPU1_API_KEY="the-key") as server:
        page.goto(f"http://127.0.0.1:{server.port}/")
        page.locator("#key").wait_for(state="visible")
        page.locator("#key").fill("the-key")
        page.locator("#bytes").fill("20")
        page.locator("#write").click()
        wait(page, "#status", " bytes in ")
