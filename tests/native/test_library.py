"""The C library: its interface is the one that was promised, and its program and bindings do what the package does."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from helpers.native_build import ROOT, build, run
from helpers.text import write_text

from cpu1.runtime import archive, engine
from cpu1.runtime.default import default_model
from cpu1.runtime.model import Model

LIBRARY = ROOT / "native" / "library"
HEADER = ROOT / "native" / "engine" / "api" / "cpu1.h"
PROMPT = "Once upon a time"
native_only = pytest.mark.skipif(not engine.available(), reason="installed without the native engine")


@pytest.fixture(scope="module")
def listing() -> ModuleType:
    spec = importlib.util.spec_from_file_location("listing", LIBRARY / "listing.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def exported() -> set[str]:
    return set(re.findall(r"^ +(cpu1_\w+);$", (LIBRARY / "cpu1.map").read_text(), re.MULTILINE))


def test_the_interface_is_the_one_that_was_promised(listing) -> None:
    """Whoever changes it on purpose follows native/library/listing.py."""
    promised = (LIBRARY / "interface.txt").read_text(encoding="utf-8").splitlines()
    assert listing.declarations(HEADER.read_text(encoding="utf-8")) == promised


def test_every_function_has_a_symbol_with_a_version(listing) -> None:
    declared = "\n".join(listing.declarations(HEADER.read_text(encoding="utf-8")))
    assert exported() == set(re.findall(r"^(?!typedef).*?\b(cpu1_\w+)\(", declared, re.MULTILINE))


def test_a_change_would_be_found(listing) -> None:
    code = HEADER.read_text(encoding="utf-8")
    assert listing.declarations(code) != listing.declarations(code.replace("int64_t top_k;", "int top_k;"))
    assert listing.declarations(code) == listing.declarations(code.replace("// How units", "// As units"))


@pytest.fixture(scope="module")
def library(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("library")
    targets = ["cpu1", "cpu1_static", "program"]
    prefix = str(folder / "prefix")
    build(ROOT / "native", folder, targets, CPU1_LIBRARY="ON", CPU1_OPTIMISE="-O1", CMAKE_INSTALL_PREFIX=prefix)
    run("cmake", "--install", folder)
    return folder


@pytest.fixture(scope="module")
def text(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("text")
    write_text(folder)
    path = folder / "short.txt"
    path.write_bytes(next(folder.glob("*.txt")).read_bytes()[:3000])
    return path


def program(library: Path, *words: str | Path, status: int = 0) -> str:
    """What the program writes; to standard error if it shall fail."""
    words = (library / "program" / "cpu1", *words)
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stderr
    return done.stderr if status else done.stdout


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="symbol versions are Linux's")
def test_the_library_exports_the_interface_and_nothing_else(library) -> None:
    words = ["nm", "-D", "--defined-only", library / "library" / "libcpu1.so"]
    names = [line.split()[-1] for line in subprocess.check_output(words, text=True).splitlines()]
    assert set(names) == {f"{name}@@CPU1_1.0" for name in exported()} | {"CPU1_1.0"}


@pytest.mark.slow
@native_only
def test_the_program_writes_what_the_package_writes(library, text, tmp_path) -> None:
    path = default_model()
    model = Model(path)
    for seed in (0, 42, 1 << 40):
        options = ["--seed", str(seed), "--top-p", "0.9", "--max-bytes", "60"]
        printed = program(library, "generate", PROMPT, "-m", path, *options)
        assert printed == model.generate(PROMPT, 60, seed=seed, top_p=0.9) + "\n"
    mean = model.score(text.read_bytes()).mean()
    assert f" {mean:.4f} bits per byte" in program(library, "score", text, "-m", path)
    packed = tmp_path / "packed"
    program(library, "compress", text, "-m", path, "-o", packed)
    assert packed.read_bytes() == archive.compress(text.read_bytes(), model)
    for isa in engine.isas():
        made = archive.compress(text.read_bytes(), Model(path, arithmetic=engine.arithmetic(isa)))
        (tmp_path / f"{isa}.cpu1z").write_bytes(made)
        program(library, "decompress", tmp_path / f"{isa}.cpu1z", "-m", path)
        assert (tmp_path / isa).read_bytes() == text.read_bytes()


@pytest.mark.slow
@native_only
def test_the_program_refuses_in_one_line_and_writes_nothing(library, text, tmp_path) -> None:
    path = default_model()
    packed = tmp_path / "text.cpu1z"
    program(library, "compress", text, "-m", path, "-o", packed, "--frozen")
    whole = packed.read_bytes()
    packed.write_bytes(whole[:40] + bytes([whole[40] ^ 1]) + whole[41:])
    other = tmp_path / "no model"
    other.write_bytes(b"no model")
    refused = {
        "damaged": ["decompress", packed, "-m", path],
        "exists already": ["compress", text, "-m", path, "-o", packed],
        "not an archive": ["decompress", text, "-m", path, "-o", tmp_path / "x"],
        "not a safetensors file": ["score", text, "-m", other],
        "No such file": ["score", text, "-m", tmp_path / "none"],
    }
    for words, command in refused.items():
        said = program(library, *command, status=1)
        assert words in said
        assert said.count("\n") == 1
    assert "--help" in program(library, "generate", "--warmth", "1", status=2)
    assert "--help" in program(library, "generate", "--top-p", "2", status=2)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["no model", "text.cpu1z"]


@pytest.mark.slow
def test_programs_find_the_installed_library(library, tmp_path) -> None:
    """By CMake's package, shared and static, and by pkg-config."""
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.18)\nproject(user LANGUAGES C CXX)\nfind_package(cpu1 1.0 REQUIRED)\n"
        f"foreach(kind cpu1 static)\nadd_executable(by_${{kind}} {ROOT}/examples/embed.c)\n"
        "target_link_libraries(by_${kind} PRIVATE cpu1::${kind})\nendforeach()\n"
    )
    prefix = library / "prefix"
    build(tmp_path, tmp_path / "build", ["by_cpu1", "by_static"], CMAKE_PREFIX_PATH=str(prefix))
    commands = [[tmp_path / "build" / "by_cpu1"], [tmp_path / "build" / "by_static"]]
    if shutil.which("pkg-config"):
        libraries = next(prefix.glob("lib*/**/pkgconfig"))
        words = ["pkg-config", "--cflags", "--libs", "cpu1"]
        environment = {**os.environ, "PKG_CONFIG_PATH": str(libraries)}
        flags = subprocess.check_output(words, env=environment, text=True).split()
        commands.append([tmp_path / "by_pkg_config"])
        run("cc", ROOT / "examples" / "embed.c", *flags, f"-Wl,-rpath,{libraries.parent}", "-o", *commands[-1])
    printed = {subprocess.check_output([*c, default_model(), PROMPT], text=True) for c in commands}
    assert len(printed) == 1
    assert printed.pop().startswith(PROMPT)


@pytest.mark.slow
@native_only
def test_bindings_write_what_the_package_writes(library, tmp_path) -> None:
    """examples/rust and examples/node, each where its tools are installed."""
    if sys.platform != "linux":
        pytest.skip("the commands are Linux's")
    model = default_model()
    commands = []
    shared = library / "library"
    if shutil.which("cargo"):
        manifest = ROOT / "examples" / "rust" / "Cargo.toml"
        words = ["cargo", "build", "--quiet", "--offline", "--locked", "--manifest-path", manifest]
        environment = {**os.environ, "CPU1_LIB": str(shared), "CARGO_TARGET_DIR": str(tmp_path / "rust")}
        subprocess.run(words, env=environment, check=True)
        commands.append([tmp_path / "rust" / "debug" / "cpu1-example"])
    headers = Path("/usr/include/node")
    if shutil.which("node") and headers.exists():
        node, binding = ROOT / "examples" / "node", tmp_path / "cpu1.node"
        flags = ["-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", f"-I{headers}", f"-I{HEADER.parent}"]
        run("cc", *flags, node / "cpu1.c", f"-L{shared}", f"-Wl,-rpath,{shared}", "-lcpu1", "-o", binding)
        commands.append(["node", node / "main.js", binding])
    if not commands:
        pytest.skip("no cargo, and no Node.js with its headers")
    expected = PROMPT + Model(model).generate(PROMPT, 120, temperature=0.6, seed=42) + "\n"
    for command in commands:
        assert subprocess.check_output([*command, model, PROMPT], text=True) == expected
        failed = subprocess.run([*command, tmp_path / "none", PROMPT], capture_output=True, text=True, check=False)
        assert failed.returncode != 0
        assert "No such file" in failed.stderr
