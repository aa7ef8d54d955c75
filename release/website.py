"""Builds the website into build/site/: python release/website.py

Its pages are the project's own Markdown as it is: README.md, docs/index.md, and what can be reached from them by links,
at the same paths, so that every link leads to the same place as in the repository. To these it adds notebooks as pages,
the docstrings of the public API, and the playground where `make web` has built it. The navigation is that of
docs/index.md. zensical turns all of it into HTML; settings are in release/website.toml.

Exit status 1: zensical warns, or a link of the built pages leads nowhere.
"""

import argparse
import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

from serve import serve
from website_links import broken
from website_notebook import markdown

ROOT = Path(__file__).resolve().parents[1]
BUILD, PLAYGROUND = ROOT / "build", ROOT / "build" / "web"
STARTS = ("README.md", "docs/index.md", "CHANGELOG.md", "SECURITY.md")
MORE = {"The project": ["CONTRIBUTING.md", "CHANGELOG.md", "LOG.md", "SECURITY.md"]}
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
CODE_IN_TABLE = re.compile(r"^\|.*`.*$", re.MULTILINE)
LINK = re.compile(r"\]\((?![a-z]+:|#)([^()\s#]+)")
Navigation = list[Any]  # of paths, and of dictionaries from a title to a path or a Navigation


def collect(pages: Path) -> None:
    """Copies what can be reached from STARTS by links, to the same paths in `pages`."""
    todo, done = [*STARTS], set[str]()
    while todo:
        name = todo.pop()
        if name in done:
            continue
        done.add(name)
        source = ROOT / name
        target = pages / page_of(source, name)
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.suffix != ".md":
            shutil.copy(source, target)
            continue
        text = text_of(source)
        folder = source if source.is_dir() else source.parent
        for link in LINK.findall(FENCE.sub("", text)):
            if not (folder / link).exists():
                sys.exit(f"{name}: the link {link} leads nowhere")
            todo.append((folder / link).resolve().relative_to(ROOT).as_posix())
        target.write_text(relinked(text, folder), encoding="utf-8")


def text_of(source: Path) -> str:
    """A page's Markdown, as Python-Markdown reads it: in code in tables it takes a backslash before | as it is."""
    if source.is_dir():
        return listing(source)
    text = markdown(source) if source.suffix == ".ipynb" else source.read_text(encoding="utf-8")
    return CODE_IN_TABLE.sub(lambda row: re.sub(r"`[^`]+`", lambda code: code[0].replace(r"\|", "|"), row[0]), text)


def page_of(source: Path, link: str) -> str:
    """The link to a page's Markdown, where the repository links a folder or a notebook."""
    return f"{link.rstrip('/')}/index.md" if source.is_dir() else re.sub(r"\.ipynb$", ".md", link)


def relinked(text: str, folder: Path) -> str:
    """A text whose links to folders and notebooks lead to their pages."""
    return LINK.sub(lambda found: found[0].replace(found[1], page_of(folder / found[1], found[1])), text)


def listing(folder: Path) -> str:
    """A page with what is in a folder; pages are linked."""
    names = sorted(path.name + "/" * path.is_dir() for path in folder.iterdir() if path.name[0] not in "._")
    items = [f"- [{name}]({name})" if name.endswith((".md", ".ipynb")) else f"- `{name}`" for name in names]
    return f"# {folder.relative_to(ROOT)}/\n\n" + "\n".join(items) + "\n"


def reference(pages: Path, names: dict[str, list[str]]) -> Navigation:
    """Writes the pages of docstrings: of each, a title and the names in the package."""
    (pages / "api").mkdir()
    for title, shown in names.items():
        text = f"# {title}\n\n" + "\n".join(f"::: {name}\n" for name in shown)
        (pages / "api" / f"{title.lower()}.md").write_text(text, encoding="utf-8")
    return [f"api/{title.lower()}.md" for title in names]


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


def settings(pages: Path) -> dict[str, Any]:
    """Those of website.toml, with the navigation. Writes the pages of docstrings, and copies the playground."""
    read = tomllib.loads((ROOT / "release" / "website.toml").read_text(encoding="utf-8"))
    places: Navigation = [{"CPU-1": "README.md"}, *navigation(), {"Python API": reference(pages, read["pages"])}]
    places += [{title: list(names)} for title, names in MORE.items()]
    if (PLAYGROUND / "cpu1.wasm").exists():
        shutil.copytree(PLAYGROUND, pages / "playground", ignore=shutil.ignore_patterns("README.md"))
        shutil.copy(PLAYGROUND / "playground.html", pages / "playground" / "index.html")
        places.insert(1, {"Playground": "playground/index.html"})
    else:
        print("no playground: `make web` builds it", flush=True)
    project = read["project"]
    project["plugins"]["mkdocstrings"]["handlers"]["python"]["paths"] = [str(ROOT / "src")]
    return {**project, "docs_dir": pages.name, "site_dir": "site", "nav": places}


def build(folder: Path) -> Path:
    """Writes the site into a folder's `site`, from pages beside it; ends with the reasons if something is wrong."""
    pages, site, config = folder / "pages", folder / "site", folder / "website.yml"
    for old in (pages, site):
        shutil.rmtree(old, ignore_errors=True)
    collect(pages)
    config.write_text(json.dumps(settings(pages), indent=1), encoding="utf-8")  # JSON is YAML, too
    words = [sys.executable, "-m", "zensical", "build", "--clean", "--strict", "-f", str(config)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{done.stdout}{done.stderr.partition('Traceback')[0]}zensical refuses these pages")
    if wrong := broken(site):
        sys.exit("\n".join(wrong))
    print(f"{site}: {len(list(site.rglob('*.html')))} pages; every link leads somewhere", flush=True)
    return site


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--serve", type=int, nargs="?", const=8000, metavar="PORT", help="show the site (8000)")
    parser.add_argument("--to", type=Path, default=BUILD, metavar="FOLDER", help="where site/ goes (build)")
    args = parser.parse_args()
    site = build(args.to.resolve())
    if args.serve:
        serve(site, args.serve)


if __name__ == "__main__":
    main()
