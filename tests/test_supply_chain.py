"""What the package depends on, which formats it reads, and that it asks for no network. See docs/reliability.md."""

import ast
import importlib
import importlib.metadata
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from cpu1.runtime import engine

ROOT = Path(__file__).parents[1]
CODE = sorted(
    path for folder in ("src", "bench", "release", "native", "docs", "fuzz") for path in (ROOT / folder).rglob("*.py")
)
# What can run code that a file brings along.
MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "yaml", "torch.serialization"}
CALLS = {"eval", "exec", "compile", "torch.load", "torch.save", "torch.jit.load", "yaml.load", "np.load", "numpy.load"}


def dotted(node: ast.expr) -> str:
    """The name of what is called, like np.load."""
    return f"{dotted(node.value)}.{node.attr}" if isinstance(node, ast.Attribute) else getattr(node, "id", "")


@pytest.mark.parametrize("path", CODE, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_read_from_a_file_can_run(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            assert not MODULES & {part for alias in node.names for part in (alias.name, alias.name.partition(".")[0])}
        elif isinstance(node, ast.ImportFrom):
            assert (node.module or "") not in MODULES
        elif isinstance(node, ast.Call):
            assert dotted(node.func) not in CALLS, f"line {node.lineno}"
            assert not any(keyword.arg == "allow_pickle" for keyword in node.keywords), f"line {node.lineno}"


def test_such_calls_would_be_found():
    calls = [node for node in ast.walk(ast.parse("np.load('x'); torch.load('y')")) if isinstance(node, ast.Call)]
    assert {dotted(call.func) for call in calls} <= CALLS


def test_users_need_two_packages():
    needed = [Requirement(text) for text in importlib.metadata.requires("cpu1") or []]
    assert {r.name for r in needed if r.marker is None or r.marker.evaluate({"extra": ""})} == {"numpy", "safetensors"}


# Python tells a hook of every socket, whichever library asks for it.
OFFLINE = f"""
import importlib, pkgutil, sys, warnings
from pathlib import Path

warnings.simplefilter("ignore")
asked = []

def hook(event, arguments):
    if event == "socket.bind" and arguments[1][:2] == ("::1", 0):
        return  # urllib3, at its import: whether this machine has IPv6
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.bind", "socket.sendto"):
        asked.append(event)
        raise OSError(event + " is forbidden here")

sys.addaudithook(hook)
import cpu1
for module in pkgutil.walk_packages(cpu1.__path__, "cpu1."):
    if not module.name.endswith("__main__") and not module.name.startswith("cpu1.ops.gpu"):
        try:
            importlib.import_module(module.name)
        except ImportError as error:  # of an extra that is not installed
            print(module.name, error, file=sys.stderr)
folder = Path(sys.argv[1])
model = cpu1.load({str(ROOT / "fuzz" / "corpus" / "packed" / "18.cpu1")!r})
model.generate("a", max_bytes=20)
model.score(b"no network")

from cpu1.cli import main

def cpu1_(*words):
    try:
        code = main([str(word) for word in words])
    except SystemExit as end:
        code = end.code
    assert not code, (words, code)

text = folder / "text.txt"
text.write_text("\\n\\n".join(f"Line {{i}} of {{i * i}} and {{i ** 3 % 977}}." for i in range(900)))
cpu1_("compress", text, "-m", model.path, "-o", folder / "text.cpz")
cpu1_("decompress", folder / "text.cpz", "-m", model.path, "-o", folder / "again.txt")
assert (folder / "again.txt").read_text() == text.read_text()
cpu1_("train", "04", "--scale", "demo", "--data", text, "--bytes", "8k", "--eval-bytes", "1k", "--threads", 1,
      "--device", "cpu", "-o", folder / "run", "--set", "batch=2", "--set", "window=128")
assert not asked, asked
print("offline")
"""


@pytest.mark.slow
@pytest.mark.skipif(not engine.available(), reason="slow without the native engine")
def test_no_network_is_asked_for(tmp_path):
    """Every module is imported, and a model generates, scores, compresses and is trained."""
    words = [sys.executable, "-c", OFFLINE, str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=400, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    assert done.stdout.endswith("offline\n")


@pytest.mark.skipif(not engine.available(), reason="installed without the native engine")
@pytest.mark.parametrize("name", ["_engine", "_train"])
def test_native_code_has_no_sockets(name):
    module = importlib.import_module(f"cpu1.{name}")
    names = Path(module.__file__).read_bytes().split(b"\0")
    assert not {b"socket", b"connect", b"getaddrinfo", b"sendto"} & set(names)


def test_the_bill_of_materials_has_what_is_needed(tmp_path):
    subprocess.run([sys.executable, ROOT / "release" / "sbom.py", tmp_path], check=True, capture_output=True)
    runtime, dev = (
        json.loads((tmp_path / f"cpu1-{kind}.spdx.json").read_text()) for kind in ("runtime", "development")
    )
    assert {package["name"] for package in runtime["packages"]} == {"cpu1", "numpy", "safetensors"}
    assert {"torch", "pytest", "ruff"} < {package["name"] for package in dev["packages"]}
    known = {package["SPDXID"] for package in dev["packages"]} | {"SPDXRef-DOCUMENT"}
    for relation in dev["relationships"]:
        assert {relation["spdxElementId"], relation["relatedSpdxElement"]} <= known


def test_development_can_install_by_hashes():
    """requirements-dev.txt has each version of constraints.txt but torch's, with hashes; `make lock` writes it."""
    pins = {line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and not line.startswith("#")}
    entries = (ROOT / "requirements-dev.txt").read_text().replace(" \\\n", " ").splitlines()
    found = {entry.split()[0]: entry.split()[1:] for entry in entries if not entry.startswith("#")}
    assert set(found) == {pin for pin in pins if not pin.startswith("torch==")}
    for pin, hashes in found.items():
        assert hashes, pin
        assert all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", each) for each in hashes), pin
    needed = {Requirement(text).name for text in importlib.metadata.requires("cpu1") or [] if "'lab'" in text}
    assert {name for name in needed if name != "torch"} <= {pin.partition("==")[0] for pin in found}
