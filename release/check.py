"""What a release needs, checked as far as a program can: make release-check

    1. the version is the same everywhere, and CHANGELOG.md has a heading for it with a date
    2. everything is committed; generated pages and requirements-dev.txt are as their sources have them
    3. dist/ holds the wheels of all systems and both bills of materials (make wheels, make sbom), build/web the package
       for web pages (make web)

What remains is for a person: the tests on a quiet machine (`make test-all`), an hour of fuzzers (`make fuzz`), the
wheels in clean environments (`make wheels-test`), `make audit`, the tag v<version>. Exit status 1: it is not ready.
"""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from lock import LEFT_OUT
from wheels import SYSTEMS

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    missing = list(faults(ROOT))
    for each in missing:
        print(f"- {each}")
    print(f"{len(missing)} things are missing" if missing else f"version {version_of(ROOT)} may be released")
    sys.exit(bool(missing))


def faults(root: Path) -> Iterator[str]:
    """What is missing, a line each."""
    yield from versions(root)
    yield from sources(root)
    yield from built(root)


def version_of(root: Path) -> str:
    """The version that pyproject.toml has."""
    found = re.search(r'^version = "(.+)"', (root / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    return found[1] if found else ""


def versions(root: Path) -> Iterator[str]:
    """Places with another version, and a changelog without its heading."""
    version = version_of(root)
    package = json.loads((root / "web" / "package.json").read_text(encoding="utf-8"))["version"]
    citation = re.search(r"^version: (.+)$", (root / "CITATION.cff").read_text(encoding="utf-8"), re.MULTILINE)
    for name, found in {"web/package.json": package, "CITATION.cff": citation[1] if citation else ""}.items():
        if found != version:
            yield f"{name}: version {found}; pyproject.toml has {version}"
    heading = rf"^## {re.escape(version)} \(\d{{4}}-\d\d-\d\d\)$"
    changes = (root / "CHANGELOG.md").read_text(encoding="utf-8")
    if not re.search(heading, changes, re.MULTILINE):
        yield f"CHANGELOG.md: no heading `## {version} (YEAR-MONTH-DAY)`"
    if "## Unreleased" in changes:
        yield "CHANGELOG.md: has changes that are not released"


def sources(root: Path) -> Iterator[str]:
    """What is not committed, and pages and locks that are behind their sources."""
    status = subprocess.run(["git", "status", "--short"], cwd=root, capture_output=True, text=True, check=False)
    if status.returncode or status.stdout:
        yield f"{len(status.stdout.splitlines())} files are not committed"
    check = [sys.executable, "docs/update.py", "--check"]
    if subprocess.run(check, cwd=root, capture_output=True, check=False).returncode:
        yield "docs: generated parts are behind their sources (make docs)"
    pins = lines(root / "constraints.txt")
    locked = {line.split()[0] for line in lines(root / "requirements-dev.txt") if "==" in line}
    if {pin for pin in pins if pin.partition("==")[0] not in LEFT_OUT} != locked:
        yield "requirements-dev.txt: other versions than constraints.txt (make lock)"


def lines(path: Path) -> list[str]:
    """The lines of a file that are no comments."""
    return [line for line in path.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]


def built(root: Path) -> Iterator[str]:
    """What is not built, or of another version."""
    version = version_of(root)
    for tag in SYSTEMS.values():
        for python in ("cp311-cp311", "cp312-abi3"):
            if not any((root / "dist").glob(f"cpu1-{version}-{python}-*{tag}*.whl")):
                yield f"dist: no wheel {python} for {tag} (make wheels)"
    for kind in ("runtime", "development"):
        if not (root / "dist" / f"cpu1-{kind}.spdx.json").exists():
            yield f"dist: no bill of materials for {kind} (make sbom)"
    for name in ("cpu1.wasm", "cpu1-relaxed.wasm"):
        if not (root / "build" / "web" / name).exists():
            yield f"build/web: no {name} (make web)"


if __name__ == "__main__":
    main()
