"""What `make release-check` finds, in a copy of the files that it reads."""

import importlib.util
import shutil
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = ("pyproject.toml", "CHANGELOG.md", "CITATION.cff", "web/package.json")


@pytest.fixture(scope="module")
def check():
    """release/check.py, which is a script beside others."""
    sys.path.insert(0, str(ROOT / "release"))
    try:
        spec = importlib.util.spec_from_file_location("release_check", ROOT / "release" / "check.py")
        assert spec
        assert spec.loader
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        yield module
    finally:
        sys.path.remove(str(ROOT / "release"))


@pytest.fixture
def copy(tmp_path):
    for name in FILES:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def test_the_version_is_the_same_everywhere(check):
    assert not [fault for fault in check.versions(ROOT) if "CHANGELOG" not in fault]


def test_a_changelog_without_the_version_is_found(check, copy):
    version = check.version_of(copy)
    (copy / "CHANGELOG.md").write_text(f"# Changelog\n\n## {version} (2026-11-27)\n")
    assert list(check.versions(copy)) == []
    (copy / "CHANGELOG.md").write_text(f"# Changelog\n\n## Unreleased\n\n## {version} (2026-11-27)\n")
    assert list(check.versions(copy)) == ["CHANGELOG.md: has changes that are not released"]
    (copy / "CHANGELOG.md").write_text(f"# Changelog\n\n## {version}\n")
    assert len(list(check.versions(copy))) == 1


@pytest.mark.parametrize("name", ["web/package.json", "CITATION.cff"])
def test_another_version_is_found(check, copy, name):
    version = check.version_of(copy)
    (copy / name).write_text((copy / name).read_text().replace(version, "9.9.9"))
    assert f"{name}: version 9.9.9; pyproject.toml has {version}" in list(check.versions(copy))


def test_wheels_that_are_there_are_not_missing(check, copy):
    before = list(check.built(copy))
    (copy / "dist").mkdir()
    version, tag = check.version_of(copy), "manylinux_2_17_x86_64.manylinux2014_x86_64"
    (copy / "dist" / f"cpu1-{version}-cp312-abi3-{tag}.whl").touch()
    (copy / "dist" / f"cpu1-{version}0-cp311-cp311-{tag}.whl").touch()
    assert [fault for fault in before if fault not in check.built(copy)] == [
        "dist: no wheel cp312-abi3 for manylinux_2_17_x86_64 (make wheels)"
    ]
