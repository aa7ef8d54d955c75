"""Builds the website into build/site/: python release/website.py

Its pages are the project's own Markdown as it is: README.md, docs/index.md, and what can be reached from them by links,
at the same paths, so that every link leads to the same place as in the repository. Beside them are notebooks as pages,
the docstrings of the public API, and the playground where `make web` has built it. The navigation is that of
docs/index.md. zensical turns all of it into HTML; settings are in release/website.toml.

Exit status 1: zensical warns, or a link of the built pages leads nowhere.
"""

import argparse
import functools
import http.server
import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

from website_links import broken
from website_notebook import markdown

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "build"
PAGES, SITE, SETTINGS = BUILD / "pages", BUILD / "site", BUILD / "website.yml"
STARTS = ("README.md", "docs/index.md", "CHANGELOG.md", "SECURITY.md")
MORE = {"The project": ["CONTRIBUTING.md", "CHANGELOG.md", "LOG.md", "SECURITY.md"]}
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?![a-z]+:|#)([^()\s#]+)")
Navigation = list[Any]  # of paths, and of dictionaries from a title to a path or a Navigation


def collect() -> list[str]:
    """Copies what can be reached from STARTS by links; returns the paths in the repository."""
    todo, done = [*STARTS], set[str]()
    while todo:
        name = todo.pop()
        if name in done:
            continue
        done.add(name)
        source, target = ROOT / name, PAGES / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            text = listing(source)
        elif source.suffix == ".ipynb":
            text = markdown(source, target)
        elif source.suffix == ".md":
            text = source.read_text(encoding="utf-8")
        else:
            shutil.copy(source, target)
            continue
        for link in LINK.findall(FENCE.sub("", text)):
            path = (source if source.is_dir() else source.parent) / link
            if not path.exists():
                sys.exit(f"{name}: the link {link} leads nowhere")
            todo.append(path.resolve().relative_to(ROOT).as_posix())
        page = target / "index.md" if source.is_dir() else target.with_suffix(".md")
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(LINK.sub(lambda found: found[0].replace(found[1], page_of(source, found[1])), text))
    return sorted(done)


def page_of(source: Path, link: str) -> str:
    """The link to a page's Markdown, where the repository links a folder or a notebook."""
    path = (source if source.is_dir() else source.parent) / link
    if path.is_dir():
        return f"{link.rstrip('/')}/index.md"
    return re.sub(r"\.ipynb$", ".md", link)


def listing(folder: Path) -> str:
    """A page with what is in a folder; pages are linked."""
    names = sorted(path.name + "/" * path.is_dir() for path in folder.iterdir() if path.name[0] not in "._")
    items = [f"- [{name}]({name})" if name.endswith((".md", ".ipynb")) else f"- `{name}`" for name in names]
    return f"# {folder.relative_to(ROOT)}/\n\n" + "\n".join(items) + "\n"


def reference(pages: dict[str, list[str]]) -> Navigation:
    """Writes the pages of docstrings."""
    for page, names in pages.items():
        path = PAGES / "api" / f"{page}.md"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"# {page}\n\n" + "\n".join(f"::: {name}\n" for name in names))
    return [f"api/{page}.md" for page in pages]


def navigation() -> Navigation:
    """The headings of docs/index.md, and the pages that each of them lists; headings of the third level are inside."""
    found: Navigation = [{"Documentation": "docs/index.md"}]
    inside = found
    for line in (ROOT / "docs" / "index.md").read_text(encoding="utf-8").splitlines():
        if heading := re.match(r"##(#?) (.*)", line):
            outside = found if not heading[1] else next(iter(found[-1].values()))
            inside = []
            outside.append({heading[2]: inside})
        for link in LINK.findall(line) if inside is not found else ():
            path = (ROOT / "docs" / link).resolve().relative_to(ROOT)
            inside.append(path.with_suffix(".md").as_posix())
    return found


def settings() -> dict[str, Any]:
    """Those of website.toml, with the navigation. Writes the pages of docstrings."""
    read = tomllib.loads((ROOT / "release" / "website.toml").read_text(encoding="utf-8"))
    places: Navigation = [{"CPU-1": "README.md"}, *navigation(), {"Python API": reference(read["pages"])}]
    places += [{title: list(pages)} for title, pages in MORE.items()]
    if (BUILD / "web" / "cpu1.wasm").exists():
        shutil.copytree(BUILD / "web", PAGES / "playground")
        shutil.copy(PAGES / "playground" / "playground.html", PAGES / "playground" / "index.html")
        places.insert(1, {"Playground": "playground/index.html"})
    else:
        print("no playground: `make web` builds it", flush=True)
    return {**read["project"], "nav": places}


def build() -> None:
    """Writes the site; ends with the reasons if something of it is wrong."""
    for folder in (PAGES, SITE):
        shutil.rmtree(folder, ignore_errors=True)
    collect()
    SETTINGS.write_text(json.dumps(settings(), indent=1))  # JSON is YAML, too
    words = [sys.executable, "-m", "zensical", "build", "--clean", "--strict", "-f", SETTINGS]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{done.stdout}{done.stderr.partition('Traceback')[0]}zensical refuses these pages")
    if wrong := broken(SITE):
        sys.exit("\n".join(wrong))
    print(f"{SITE.relative_to(ROOT)}: {len(list(SITE.rglob('*.html')))} pages; every link leads somewhere", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--serve", type=int, nargs="?", const=8000, metavar="PORT", help="show the site (8000)")
    args = parser.parse_args()
    build()
    if args.serve:
        handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=SITE)
        print(f"http://127.0.0.1:{args.serve}/", flush=True)
        http.server.ThreadingHTTPServer(("127.0.0.1", args.serve), handler).serve_forever()


if __name__ == "__main__":
    main()
