"""Writes requirements-dev.txt: each version of constraints.txt with the hashes of its files on PyPI.

    python release/lock.py && pip install --require-hashes --requirement requirements-dev.txt

With --require-hashes, pip refuses a file that is not one of these. Files for Pythons that cpu1 does not run on are left
out, and torch is. Exit status 1: PyPI does not answer, or has no file of a version.
"""

import json
import re
import sys
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import InvalidSdistFilename, InvalidWheelFilename, parse_sdist_filename, parse_wheel_filename
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
PINS, LOCK = ROOT / "constraints.txt", ROOT / "requirements-dev.txt"
# PEP 691: the list of a project's files as JSON
INDEX, FORM = "https://pypi.org/simple/", {"Accept": "application/vnd.pypi.simple.v1+json"}
OLDEST = 311  # as in cp311
# Development uses the build without CUDA, a tenth as large, which is not on PyPI but on PyTorch's own index.
LEFT_OUT = {"torch"}
HEAD = """\
# Made by `make lock` from constraints.txt; pip install --require-hashes --requirement requirements-dev.txt
# installs what development needs, but for torch: its build without CUDA is not on PyPI. Install it first or afterwards.
"""


def main() -> None:
    pins = [line for line in PINS.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    pins = [pin for pin in pins if Requirement(pin).name not in LEFT_OUT]
    try:
        with ThreadPoolExecutor(8) as threads:
            entries = list(threads.map(entry, pins))
    except (OSError, ValueError) as error:
        sys.exit(f"lock: {error}")
    LOCK.write_text(HEAD + "".join(entries), encoding="utf-8")
    print(f"{LOCK.name}: {len(entries)} packages, {sum(text.count('--hash') for text in entries)} hashes")


def entry(pin: str) -> str:
    """The lines of one pin, like name==1.0; ValueError where PyPI has no file of it."""
    requirement = Requirement(pin)
    version = Version(next(iter(requirement.specifier)).version)
    name = re.sub(r"[-_.]+", "-", requirement.name).lower()
    asked = urllib.request.Request(f"{INDEX}{name}/", headers=FORM)
    with urllib.request.urlopen(asked, timeout=60) as answer:
        files = json.load(answer)["files"]
    hashes = sorted({file["hashes"]["sha256"] for file in files if fits(file, version)})
    if not hashes:
        raise ValueError(f"PyPI has no file of {pin}")
    return " \\\n".join([pin, *(f"    --hash=sha256:{each}" for each in hashes)]) + "\n"


def fits(file: dict[str, Any], version: Version) -> bool:
    """Whether a file is of this version, and for a Python that cpu1 runs on."""
    name = file["filename"]
    try:
        if not name.endswith(".whl"):
            return parse_sdist_filename(name)[1] == version
        _, found, _, tags = parse_wheel_filename(name)
    except (InvalidSdistFilename, InvalidWheelFilename):  # of the time before these names had rules
        return False
    return found == version and any(runs(tag.interpreter, tag.abi) for tag in tags)


def runs(interpreter: str, abi: str) -> bool:
    """Whether a wheel's tag, like cp311 and cp311 or cp38 and abi3, is for CPython from OLDEST on."""
    number = int(re.sub(r"\D", "", interpreter) or 0)
    return interpreter.startswith("py3") or (interpreter.startswith("cp3") and (abi == "abi3" or number >= OLDEST))


if __name__ == "__main__":
    main()
