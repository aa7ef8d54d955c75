"""Odd Parquet files: every column of text gives its bytes, every other one is refused in one line."""

import datetime
import gzip
import os
from pathlib import Path
from typing import Any

import pytest

from cpu1.data.formats import file_documents
from cpu1.errors import UserError

pa = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")


def documents(path: Path, field: str = "text", **columns: Any) -> list[bytes]:
    if columns:
        parquet.write_table(pa.table(columns), str(path))
    return list(file_documents(path, field))


def utf8(*texts: bytes, large: bool = False) -> Any:
    """An array that says it is text, of any bytes: as programs write that do not look."""
    width, kind = (8, pa.large_string()) if large else (4, pa.string())
    ends = [0, *(sum(map(len, texts[: i + 1])) for i in range(len(texts)))]
    offsets = b"".join(end.to_bytes(width, "little") for end in ends)
    return pa.Array.from_buffers(kind, len(texts), [None, pa.py_buffer(offsets), pa.py_buffer(b"".join(texts))])


TEXTS = {
    "string": (lambda: pa.array(["a", None, "", "é"]), [b"a", "é".encode()]),
    "large string": (lambda: pa.array(["a", None], pa.large_string()), [b"a"]),
    "binary": (lambda: pa.array([b"\xff\0", None, b""]), [b"\xff\0"]),
    "large binary": (lambda: pa.array([b"\xff", None], pa.large_binary()), [b"\xff"]),
    "fixed size": (lambda: pa.array([b"abcd", None], pa.binary(4)), [b"abcd"]),
    "dictionary": (lambda: pa.array(["a", "b", "a", None]).dictionary_encode(), [b"a", b"b", b"a"]),
    "nulls": (lambda: pa.nulls(3), []),
    "nulls of text": (lambda: pa.array([None], pa.string()), []),
    "no rows": (lambda: pa.array([], pa.string()), []),
    "not UTF-8": (lambda: utf8(b"\xff\xfe", b"a"), [b"\xff\xfe", b"a"]),
    "not UTF-8, large": (lambda: utf8(b"\xc3", b"\xed\xa0\xbd", large=True), [b"\xc3", b"\xed\xa0\xbd"]),
}


@pytest.mark.parametrize("kind", TEXTS)
def test_columns_of_text(tmp_path: Path, kind: str) -> None:
    make, expected = TEXTS[kind]
    assert documents(tmp_path / "t.parquet", text=make()) == expected


OTHERS = {
    "int64": lambda: pa.array([1]),
    "double": lambda: pa.array([1.5]),
    "bool": lambda: pa.array([True]),
    "timestamp": lambda: pa.array([1], pa.timestamp("us", tz="Mars/Base")),
    "date32": lambda: pa.array([2**30], pa.date32()),
    "time": lambda: pa.array([datetime.time(1)]),
    "list": lambda: pa.array([["a"], None]),
    "struct": lambda: pa.array([{"text": "a"}, None]),
    "map": lambda: pa.array([[("a", "b")]], pa.map_(pa.string(), pa.string())),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_other_columns_are_refused_by_name_and_type(tmp_path: Path, kind: str) -> None:
    with pytest.raises(UserError, match=rf"t.parquet: column 'text' holds {kind}.*, not text$"):
        documents(tmp_path / "t.parquet", text=OTHERS[kind]())


def test_odd_names_of_columns(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    inner = pa.array([{"text": "inner"}])
    assert documents(path, "a.b", **{"a.b": pa.array(["x"]), "a": inner}) == [b"x"]
    assert documents(path, a=inner, text=pa.array(["outer"])) == [b"outer"]
    with pytest.raises(UserError, match=r"there are: one two, c$"):
        documents(path, **{"one\ntwo": pa.array(["x"]), "c": pa.array(["x"])})
    with pytest.raises(UserError, match=r"c19, \.\.\.$"):
        documents(path, **{f"c{i}": pa.array([1]) for i in range(1000)})
    parquet.write_table(pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["text", "text"]), str(path))
    with pytest.raises(UserError, match="2 columns 'text'"):
        documents(path)


def test_any_name_of_a_file(tmp_path: Path) -> None:
    documents(tmp_path / "t.parquet", text=pa.array(["a"]))
    for name in (b"\xff.parquet", b"\xe4\x80.PARQUET", b"a\nb.parquet"):
        path = tmp_path / os.fsdecode(name)
        os.link(tmp_path / "t.parquet", path)
        assert documents(path) == [b"a"]


def test_damage_is_told_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    documents(path, text=pa.array(["a"] * 9))
    whole = path.read_bytes()
    for damaged in (b"", whole[:50], whole[:-9], whole[:4] + bytes(40) + whole[44:], b"PAR1" + b"\xff" * 99 + b"PAR1"):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match="damaged or not Parquet") as raised:
            documents(path)
        assert "\n" not in str(raised.value)
    (tmp_path / "t.parquet.gz").write_bytes(gzip.compress(whole))
    with pytest.raises(UserError, match="unpack this file first"):
        documents(tmp_path / "t.parquet.gz")
