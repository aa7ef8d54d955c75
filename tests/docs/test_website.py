"""The website: it builds without a warning, all its links lead somewhere, and the check of links finds a broken one."""

import importlib.util
import re
import subprocess
import sys
from collections import Counter

import pytest
from helpers.pages import DOCS, README, ROOT, name, read
from website_links import broken

needs_extra = pytest.mark.skipif(
    not all(importlib.util.find_spec(module) for module in ("zensical", "mkdocstrings_handlers")),
    reason="needs zensical and mkdocstrings: pip install -e '.[site]'",
)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("website")
    words = [sys.executable, "release/website.py", "--to", str(folder)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "site"


@needs_extra
def test_every_page_of_the_docs_is_on_it(site):
    for page in DOCS:
        built = site / name(page).removesuffix(".md").removesuffix("index") / "index.html"
        title = re.sub(r"[`*]", "", read(page).partition("# ")[2].partition("\n")[0])
        assert title.partition("&")[0] in built.read_text(encoding="utf-8"), name(page)


@needs_extra
def test_pages_mean_there_what_they_mean_on_github(site):
    """Markdown has dialects: as many lists, tables, blocks of code and emphasised words as by CommonMark."""
    render = pytest.importorskip("markdown_it").MarkdownIt().enable("table").render
    for page in [README, ROOT / "CONTRIBUTING.md", *DOCS]:
        path = site / re.sub(r"(index|README)?\.md$", "", name(page)) / "index.html"
        article = re.search(r"<article.*?</article>", path.read_text(encoding="utf-8"), re.DOTALL)
        built = re.sub(r"<(nav|aside).*?</\1>", "", article[0], flags=re.DOTALL)
        assert tags(built) == tags(render(read(page))), name(page)
        assert r"\|" not in re.sub("<pre>.*?</pre>", "", built, flags=re.DOTALL), name(page)


def tags(html: str) -> Counter[str]:
    return Counter(re.findall(r"<(li|tr|td|th|pre|em|strong|img|h\d)\b", html))


@needs_extra
def test_docstrings_have_pages_that_link_each_other(site):
    page = (site / "api" / "models" / "index.html").read_text(encoding="utf-8")
    assert 'id="cpu1.runtime.session.Session.fork"' in page
    assert re.search(r'href="[^"]*#cpu1\.runtime\.units\.Completion"', page)


@needs_extra
def test_it_has_a_search_and_the_notebook(site):
    assert "next_bytes" in (site / "search.json").read_text(encoding="utf-8")
    assert "data:image/png;base64," in (site / "examples" / "ablation" / "index.html").read_text(encoding="utf-8")


@needs_extra
def test_pages_ask_no_other_host(site):
    for path in site.rglob("*.html"):
        loaded = (
            r'<(?:script|img|iframe)[^>]* src="https?:|<link[^>]* rel="(?:stylesheet|preconnect)"[^>]* href="https?:'
        )
        assert not re.search(loaded, path.read_text(encoding="utf-8")), path


def test_a_broken_link_would_be_found(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "index.html").write_text(
        '<h2 id="one">One</h2><a href="a/#two">a</a> <a href="#one">x</a> <img src="b.png">'
    )
    (tmp_path / "a" / "index.html").write_text('<a href="../#one">fine</a> <a href="../#three">not</a>')
    assert broken(tmp_path) == [
        "a/index.html: the link ../#three leads nowhere",
        "index.html: the link a/#two leads nowhere",
        "index.html: the link b.png leads nowhere",
    ]
