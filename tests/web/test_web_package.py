"""The package for web pages, which `make web` builds: it computes what Python does with the portable kernels."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BUILT = ROOT / "build" / "web"
MODEL = ROOT / "fuzz" / "corpus" / "packed" / "18.cpu1"
DEFAULT = ROOT / "checkpoints" / "default.cpu1"
TEXT = "The sea was calm, and the captain slept. Ünd dann? " * 12

needs_package = pytest.mark.skipif(
    not shutil.which("node") or not (BUILT / "cpu1-relaxed.wasm").exists(), reason="needs Node.js and `make web`"
)

PAGE = """
import { readFileSync, writeFileSync } from "node:fs";
const { load } = await import(process.argv[2]);
const [text, archive, out] = process.argv.slice(4);
const model = await load(new Uint8Array(readFileSync(process.argv[3])));
const { bits } = await model.score(text);
writeFileSync(out, await model.compress(text));
console.log(JSON.stringify({
  bits: Array.from(bits, (each) => each.toString()),
  written: await model.generate(text, { maxBytes: 80, seed: 5, temperature: 0.9, topK: 40, topP: 0.95, minP: 0.01 }),
  learned: await model.generate(text, { maxBytes: 40, seed: 6, learn: true }),
  back: new TextDecoder().decode(await model.decompress(new Uint8Array(readFileSync(archive)))),
}));
"""
PYTHON = """
import json, sys
import cpu1
from cpu1.runtime.archive import compress, decompress
from pathlib import Path
path, text, made, out = sys.argv[1:]
model = cpu1.load(path)
if Path(made).exists():
    print(json.dumps({"back": decompress(Path(made).read_bytes(), path).decode()}))
else:
    Path(out).write_bytes(compress(text.encode(), model))
    learner = cpu1.load(path, learn=True)
    print(json.dumps({
        "bits": [repr(float(each)) for each in model.score(text)],
        "written": model.generate(text, max_bytes=80, seed=5, temperature=0.9, top_k=40, top_p=0.95, min_p=0.01),
        "learned": learner.generate(text, max_bytes=40, seed=6),
    }))
"""


def in_python(model: Path, *words: str | Path) -> dict[str, object]:
    command = [sys.executable, "-c", PYTHON, model, TEXT, *words]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "CPU1_ISA": "portable"}
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def in_node(script: Path, *words: str | Path) -> dict[str, object]:
    script.write_text(PAGE)
    command = ["node", script, (BUILT / "index.js").as_uri(), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@needs_package
@pytest.mark.parametrize("model", [MODEL, DEFAULT], ids=["small", "bundled"])
def test_python_and_javascript_compute_the_same(model, tmp_path):
    ours, theirs = tmp_path / "ours.cpz", tmp_path / "theirs.cpz"
    expected = in_python(model, tmp_path / "none", ours)
    found = in_node(tmp_path / "page.mjs", model, TEXT, ours, theirs)
    assert found.pop("back") == TEXT
    assert [float(each) for each in found.pop("bits")] == [float(each) for each in expected.pop("bits")]
    assert found == expected
    assert in_python(model, theirs, tmp_path / "unused") == {"back": TEXT}
    assert ours.read_bytes() == theirs.read_bytes()


@needs_package
def test_the_tests_in_javascript():
    command = ["node", "--test", *sorted((ROOT / "web" / "test").glob("*.test.js"))]
    environment = {**os.environ, "CPU1_WEB": str(BUILT), "CPU1_MODEL": str(MODEL)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=300)
    assert done.returncode == 0, done.stdout[-4000:]


def test_the_types_name_what_there_is():
    code, types = (ROOT / "web" / "index.js").read_text(), (ROOT / "web" / "index.d.ts").read_text()
    exported = set(re.findall(r"^export (?:async )?(?:function|class) (\w+)|^export \{ (\w+) \}", code, re.MULTILINE))
    declared = set(re.findall(r"^export (?:function|class) (\w+)", types, re.MULTILINE))
    assert {a or b for a, b in exported} == declared
    methods = set(
        re.findall(r"^  (?:async )?\*?([a-z]\w*)\(.*\) \{$", code.partition("export class Model")[2], re.MULTILINE)
    )
    promised = set(re.findall(r"^  ([a-z]\w*)\(", types.partition("export class Model")[2], re.MULTILINE))
    assert methods - {"constructor"} == promised - {"constructor"}


def test_the_package_lists_its_files():
    package = json.loads((ROOT / "web" / "package.json").read_text())
    made = {"cpu1.wasm", "cpu1-relaxed.wasm"}
    assert {name for name in package["files"] if not (ROOT / "web" / name).exists()} == made
    version = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert version
    assert package["version"] == version[1]
