"""CONTRIBUTING.md says what a new operation and a new instruction set take: here both are added to a copy and built."""

import json
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pytest
from helpers.native_build import ROOT, build
from helpers.packing import packed_run

nanobind = pytest.importorskip("nanobind")
pytestmark = pytest.mark.slow
DOC = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")

OPERATION = """    "nudge": Operation(
        "trunk",
        {
            "times": Number(1, 9),
            "rounding": Choice(("none", "down", "up")),
            "negate": Flag(),
            "source": Read("n"),
            "result": Write("n"),
            "offset": Tensor(("n",), optional=True),
        },
    ),
"""
PLAIN = """    def nudge(self, op: Op) -> None:
        y = self._get(op["source"]) * np.float32(op["times"])
        y = y + self._tensor(op, "offset") if op.get("offset") else y
        y = {"none": lambda v: v, "down": np.floor, "up": np.ceil}[op["rounding"]](y)
        self._set(op["result"], -y if op["negate"] else y)

"""
BIND = """            case Code::nudge:
                out.offset = vector(op.offset);
                break;
"""
RUN = """        case Code::nudge:
            for (int64_t m = 0; m < count; ++m) {
                const float *source = at(slot_of(m), op.source);
                float *result = at(slot_of(m), op.result);
                for (int64_t i = 0; i < op.result.size; ++i) {
                    float y = source[i] * static_cast<float>(op.times) + (bound.offset ? bound.offset[i] : 0.0f);
                    y = op.rounding == Rounding::down ? floorf(y) : op.rounding == Rounding::up ? ceilf(y) : y;
                    result[i] = op.negate ? -y : y;
                }
            }
            break;
"""
# Where a new operation goes: a file of the documentation's list, the text there, and what comes before it.
NEW_OPERATION = [
    ("src/cpu1/format/operations.py", '    "patch_heads": Operation(', OPERATION),
    ("src/cpu1/runtime/reference.py", "    def add(self, op: Op) -> None:", PLAIN),
    ("native/engine/run/model.h", "    int64_t place = 0;", "    const float *offset = nullptr;\n"),
    ("native/engine/run/model.cpp", "            case Code::silu_mul:", BIND),
    ("native/engine/run/runner.cpp", "        case Code::add:", RUN),
]
NEW_SET = [
    ("native/cmake/instruction_sets.cmake", "set(flags_portable)", "set(flags_dummy)\n"),
    ("native/isa/isa.h", "inline bool runs_portable()", "inline bool runs_dummy() { return true; }\n"),
]
D = 8
PROGRAM = {
    "level": "byte",
    "patch": 4,
    "vocabulary": 256,
    "width": D,
    "registers": {"x": D, "y": D, "s": D},
    "states": {},
    "embed": [{"op": "embed_bytes", "out": ["x", 0, D], "table": "bytes", "start": "first"}],
    "trunk": [
        {"op": "nudge", "source": ["x", 0, D], "result": ["y", 0, D], "times": 3, "rounding": "down", "negate": True},
        {"op": "nudge", "source": ["y", 0, D], "result": ["s", 0, D], "times": 2, "rounding": "up", "negate": False,
         "offset": "offset"},
    ],
    "head": [{"op": "patch_heads", "in": ["s", 0, D], "output": "head"}],
}  # fmt: skip


def section(title: str) -> str:
    return DOC.split(f"\n## {title}\n")[1].split("\n## ")[0]


def before(copy: Path, path: str, place: str, text: str) -> None:
    """Puts text before a place of a file of the copy."""
    whole = (copy / path).read_text(encoding="utf-8")
    assert whole.count(place) == 1, f"{path}: {place}"
    (copy / path).write_text(whole.replace(place, text + place), encoding="utf-8")


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project with an operation `nudge` and an instruction set `dummy`, its engine built and put in place."""
    copy = tmp_path_factory.mktemp("extended")
    shutil.copytree(ROOT / "src", copy / "src", ignore=shutil.ignore_patterns("__pycache__", "*.so"))
    shutil.copytree(ROOT / "native", copy / "native")
    shutil.copy(ROOT / "CMakeLists.txt", copy)
    for path, place, text in NEW_OPERATION + NEW_SET:
        before(copy, path, place, text)
    sets = copy / NEW_SET[0][0]
    sets.write_text(re.sub(r"(set\(instruction_sets .*?)portable\)", r"\1dummy portable)", sets.read_text()))
    kernels = copy / "native" / "engine" / "kernels"
    portable = (kernels / "kernels_portable.cpp").read_text()
    (kernels / "kernels_dummy.cpp").write_text(
        portable.replace("cpu1_kernels_portable", "cpu1_kernels_dummy").replace('"portable"', '"dummy"')
    )
    options = {"CPU1_SETS": "dummy;portable", "CPU1_OPTIMISE": "-O1", "Python_EXECUTABLE": sys.executable}
    build(copy, copy / "build", ["_engine"], nanobind_DIR=nanobind.cmake_dir(), **options)
    (module,) = (copy / "build").rglob("_engine*.so")
    shutil.copy(module, copy / "src" / "cpu1")
    return copy


def run(copy: Path, code: str, *words: str | Path) -> str:
    """What a program prints with the package of the copy; -S leaves out the editable install."""
    packages = sysconfig.get_paths()["purelib"]
    done = subprocess.run(
        [sys.executable, "-S", "-c", f"import sys; sys.path[:0] = {[str(copy / 'src'), packages]}\n{code}", *words],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_the_documentation_lists_the_files() -> None:
    for title, edits in (("A new operation", NEW_OPERATION), ("A new instruction set", NEW_SET)):
        for path, *_ in edits:
            assert f"`{path}`" in section(title), f"{title}: {path}"
        for path in re.findall(r"`((?:src|native|docs|tests)/[\w/.]+)`", section(title)):
            assert (ROOT / path.replace("dummy", "portable")).exists(), f"{title}: {path}"


def test_a_new_instruction_set_gives_the_same_bits(copy: Path, tmp_path: Path) -> None:
    code = """
import json, os
from cpu1.runtime import engine
from cpu1.runtime.model import Model
found = {"isas": engine.isas(), "arithmetic": engine.arithmetic("dummy")}
for isa in ("dummy", "portable"):
    os.environ["CPU1_ISA"] = isa
    model = Model(sys.argv[1])
    session = model.units()
    session.advance(model.encode(b"some text"))
    found[isa] = [model.generate("some text", 60, seed=5), session.state.hex(), session.next_logits().tobytes().hex()]
print(json.dumps(found))
"""
    found = json.loads(run(copy, code, packed_run("10", tmp_path, "int8").path))
    assert found["isas"] == ["dummy", "portable"]
    assert found["arithmetic"] == "plain"
    assert found["dummy"] == found["portable"]


def test_a_new_operation_computes_what_the_reference_does(copy: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    shapes = {"bytes": (256, D // 4), "first": (D,), "offset": (D,), "head": (4 * 256, D)}
    tensors = {name: rng.integers(-64, 65, shape).astype(np.float32) / 4 for name, shape in shapes.items()}
    np.savez(tmp_path / "tensors.npz", **tensors)
    code = """
import json
import numpy as np
from cpu1.format.packed import open_packed, pack
from cpu1.format.program import Program
from cpu1.runtime.engine import NativeFile, operations
from cpu1.runtime.plain import PlainStream
from cpu1.runtime.reference import Reference
from cpu1.runtime.streams import NativeStream
program, folder = Program.from_json(json.loads(sys.argv[1])), sys.argv[2]
pack(program, dict(np.load(folder + "/tensors.npz")), folder + "/model.cpu1", "fp32", recipe={})
sessions = NativeStream(NativeFile(folder + "/model.cpu1")), PlainStream(Reference(open_packed(folder + "/model.cpu1")))
rows = []
for session in sessions:
    session.advance(np.frombuffer(b"any eight bytes", np.uint8).astype(np.uint32))
    rows.append(session.next_logits())
try:
    NativeFile(open(folder + "/model.cpu1", "rb").read().replace(b"down", b"dawn"))
    refusal = ""
except ValueError as error:
    refusal = str(error)
print(json.dumps({"known": "nudge" in operations(), "engine": rows[0].tolist(), "plain": rows[1].tolist(),
                  "refusal": refusal}))
"""
    found = json.loads(run(copy, code, json.dumps(PROGRAM), tmp_path))
    assert found["known"]
    assert len(set(found["engine"])) > 100
    assert found["engine"] == found["plain"]
    assert "rounding is 'dawn'; it must be one of none, down, up" in found["refusal"]
