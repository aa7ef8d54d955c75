"""Writes the bill of materials of a release: SPDX 2.3, one file for what users run and one for what developers install.

    make sbom        dist/cpu1-runtime.spdx.json, dist/cpu1-development.spdx.json

Names, versions, licences and dependencies are those of the packages that are installed beside this Python.
"""

import argparse
import hashlib
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import Distribution, distribution
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
KINDS = {"runtime": "", "development": "dev"}  # the extra of each file


def needed(package: Distribution, extras: frozenset[str]) -> Iterator[Requirement]:
    """What a package with these extras depends on, here."""
    for text in package.requires or []:
        requirement = Requirement(text)
        marker = requirement.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *extras)):
            yield requirement


def closure(extra: str) -> tuple[dict[str, Distribution], list[tuple[str, str]]]:
    """All packages that cpu1 with an extra stands on, by name, itself first; and which needs which.

    PackageNotFoundError where one is not installed.
    """
    found: dict[str, Distribution] = {}
    arrows: set[tuple[str, str]] = set()
    done: set[tuple[str, str]] = set()
    todo = [Requirement(f"cpu1[{extra}]" if extra else "cpu1")]
    while todo:
        requirement = todo.pop()
        name = normal(requirement.name)
        found.setdefault(name, distribution(name))
        for wanted in ("", *requirement.extras):
            if (name, wanted) in done:
                continue
            done.add((name, wanted))
            for other in needed(found[name], frozenset({wanted})):
                if normal(other.name) != name:
                    arrows.add((name, normal(other.name)))
                todo.append(other)
    return found, sorted(arrows)


def normal(name: str) -> str:
    """The form of a package's name that is equal for all its spellings."""
    return re.sub(r"[-_.]+", "-", name).lower()


def document(kind: str, created: str) -> dict[str, Any]:
    """The SPDX document of "runtime" or "development"."""
    packages, arrows = closure(KINDS[kind])
    version = packages["cpu1"].version
    body = [_package(name, package) for name, package in packages.items()]
    content = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
    relations = [("SPDXRef-DOCUMENT", "DESCRIBES", _ref("cpu1"))]
    relations += [(_ref(name), "DEPENDS_ON", _ref(other)) for name, other in arrows]
    return {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": f"cpu1-{version}-{kind}",
        "documentNamespace": f"https://spdx.org/spdxdocs/cpu1-{version}-{kind}-{content[:32]}",
        "creationInfo": {"created": created, "creators": ["Tool: cpu1 release/sbom.py"]},
        "packages": body,
        "relationships": [
            {"spdxElementId": one, "relationshipType": kind_, "relatedSpdxElement": other}
            for one, kind_, other in relations
        ],
    }


def _ref(name: str) -> str:
    return "SPDXRef-" + re.sub(r"[^a-zA-Z0-9.-]", "-", name)


def _package(name: str, package: Distribution) -> dict[str, Any]:
    about = package.metadata
    # free text is no licence that a program can read
    licence = about["License-Expression"] if "License-Expression" in about else "NOASSERTION"  # noqa: SIM401 (no `get`)
    return {
        "name": name,
        "SPDXID": _ref(name),
        "versionInfo": package.version,
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": False,
        "licenseConcluded": "NOASSERTION",
        "licenseDeclared": licence,
        "externalRefs": [
            {
                "referenceCategory": "PACKAGE-MANAGER",
                "referenceType": "purl",
                "referenceLocator": f"pkg:pypi/{name}@{package.version}",
            }
        ],
    }


def main() -> None:
    """Writes both files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=ROOT / "dist", help="where to (default: dist/)")
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    created = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    for kind in KINDS:
        path = folder / f"cpu1-{kind}.spdx.json"
        whole = document(kind, created)
        path.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
        print(f"{path}: {len(whole['packages'])} packages")


if __name__ == "__main__":
    main()
