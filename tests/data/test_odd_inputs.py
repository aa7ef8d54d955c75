"""Inputs as people have them: links, several compressions with padding or damage, files that are no text."""

import bz2
import gzip
import lzma
import os
from pathlib import Path

import pytest
import zstandard

from cpu1.data.sources import documents
from cpu1.errors import UserError

TEXT = b"".join(b"A line of text, number %d.\n" % i for i in range(2000))


def read(source: Path | str, field: str = "text") -> list[bytes]:
    return list(documents(str(source), field))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A folder `in` with a file, beside a folder `out` with two."""
    for name in ("in/a.txt", "out/b.txt", "out/deep/c.txt"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(path.stem.encode())
    return tmp_path


@pytest.mark.parametrize("pattern", ["", "/**", "/**/*.txt", "/**/*"])
def test_a_linked_folder_is_read_once(tree: Path, pattern: str) -> None:
    (tree / "in/link").symlink_to("../out")
    (tree / "in/second").symlink_to(tree / "out")
    (tree / "in/part").symlink_to("../out/deep")
    (tree / "in/file.txt").symlink_to("a.txt")
    (tree / "out/back").symlink_to("../in")
    (tree / "out/deep/up").symlink_to("..")
    assert sorted(read(f"{tree / 'in'}{pattern}")) == [b"a", b"b", b"c"]


def test_a_folder_of_links_alone_is_read(tree: Path) -> None:
    (tree / "links").mkdir()
    (tree / "links/one").symlink_to("../out/deep")
    (tree / "links/two.txt").symlink_to("../in/a.txt")
    assert sorted(read(tree / "links")) == [b"a", b"c"]


@pytest.mark.parametrize(("target", "words"), [("nowhere", "links to nothing"), ("..", "a folder around it")])
def test_links_that_are_not_followed_are_named(tree: Path, target: str, words: str) -> None:
    (tree / "in/link").symlink_to(target)
    with pytest.warns(UserWarning, match=f"{words} are passed over: .*link"):
        assert read(tree / "in") == [b"a"]


@pytest.mark.parametrize("pattern", ["in/*.txt", "*/a.txt", "**/a.txt", "i?/[ab].txt", "**/in/**/a.txt"])
def test_globs(tree: Path, pattern: str) -> None:
    assert read(tree / pattern) == [b"a"]


PACKERS = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".lzma": lambda data: lzma.compress(data, lzma.FORMAT_ALONE),
    ".zst": zstandard.compress,
}


@pytest.mark.parametrize("suffix", PACKERS)
def test_every_compression_whole_padded_and_in_several_frames(tmp_path: Path, suffix: str) -> None:
    packed, path = PACKERS[suffix](TEXT), tmp_path / f"text.txt{suffix}"
    for content, wanted in ((packed, TEXT), (packed + bytes(512), TEXT), (packed + packed, TEXT + TEXT)):
        path.write_bytes(content)
        assert b"".join(read(path)) == wanted


@pytest.mark.parametrize("suffix", PACKERS)
@pytest.mark.parametrize(("damage", "words"), [("cut", "no end"), ("more", "other bytes"), ("other", "damaged")])
def test_damaged_files_are_refused_in_words(tmp_path: Path, suffix: str, damage: str, words: str) -> None:
    packed, path = PACKERS[suffix](TEXT), tmp_path / f"text.txt{suffix}"
    contents = {"cut": packed[: len(packed) // 2], "more": packed + b"more bytes" * 9, "other": TEXT}
    path.write_bytes(contents[damage])
    with pytest.raises(UserError, match=rf"text\.txt\{suffix}: damaged.*{words if damage != 'other' else ''}"):
        read(path)


@pytest.mark.parametrize("log", [20, 28, 31])
def test_zstd_with_long_windows(tmp_path: Path, log: int) -> None:
    parameters = zstandard.ZstdCompressionParameters.from_level(3, window_log=log, enable_ldm=True)
    packer = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    (tmp_path / "long.zst").write_bytes(packer.compress(TEXT) + packer.flush())
    assert b"".join(read(tmp_path / "long.zst")) == TEXT


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("z.zip", b"PK\3\4...", "without unpacking"),
        ("t.tar.gz", gzip.compress(b"ustar", mtime=0), "without unpacking"),
        ("p.PDF", b"%PDF", "without unpacking"),
        ("one.json", b'["a"]', "plain text"),
        ("utf16.txt", "text".encode("utf-16"), "looks binary"),
    ],
)
def test_what_is_probably_no_text_is_read_with_a_note(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.warns(UserWarning, match=words):
        assert read(tmp_path / name)


def test_a_field_of_plain_text_is_noted(tmp_path: Path) -> None:
    (tmp_path / "plain.txt").write_bytes(TEXT)
    (tmp_path / "rows.jsonl").write_text('{"body": "x"}\n')
    with pytest.warns(UserWarning, match="no field 'body'"):
        assert b"".join(read(tmp_path / "plain.txt", "body")) == TEXT
    assert read(tmp_path / "rows.jsonl", "body") == [b"x"]


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    for name in (b"\xff.txt", b"\xe9t\xe9.txt.gz"):
        path = os.path.join(os.fsencode(tmp_path), name)
        with open(path, "wb") as file:
            file.write(gzip.compress(b"x") if name.endswith(b".gz") else b"x")
    assert read(tmp_path) == [b"x", b"x"]
