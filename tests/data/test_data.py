"""Documents from every kind of source, their splits and cache, and the order of training."""

import gzip
import io
import json
import lzma
import os
import re
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from cpu1.data import formats, paths, stdlib
from cpu1.data.corpus import Corpus, describe, prepare
from cpu1.data.order import Windows
from cpu1.data.sources import documents
from cpu1.data.split import SPLITS
from cpu1.errors import UserError

TEXT = b"caf\xe9 \xff\xfe not UTF-8\n\f\nsecond\n"
PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".xz": lzma.compress,
    ".zst": zstandard.ZstdCompressor().compress,
}


def lines(count: int, salt: str = "") -> bytes:
    return b"".join(f"{salt} line {i} of the text\n".encode() for i in range(count))


def stdin(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A hundred different documents of 100 bytes and more, some the same."""
    top = tmp_path / "texts"
    top.mkdir()
    for i in range(100):
        (top / f"{i:03}.txt").write_bytes(f"document {i % 90} ".encode() * (8 + i % 5))
    return top


class TestSources:
    @pytest.mark.parametrize("suffix", PACKERS)
    def test_text_plain_and_compressed(self, tmp_path: Path, suffix: str) -> None:
        path = tmp_path / f"a.txt{suffix}"
        path.write_bytes(PACKERS[suffix](TEXT))
        assert list(documents(str(path))) == [b"caf\xe9 \xff\xfe not UTF-8\n", b"second\n"]

    @pytest.mark.parametrize("suffix", [".gz", ".xz", ".zst"])
    def test_several_frames_are_one_text(self, tmp_path: Path, suffix: str) -> None:
        path = tmp_path / f"a.txt{suffix}"
        path.write_bytes(PACKERS[suffix](b"one ") + PACKERS[suffix](b"two"))
        assert list(documents(str(path))) == [b"one two"]

    @pytest.mark.parametrize("suffix", [".gz", ".xz", ".zst"])
    @pytest.mark.parametrize("damage", [lambda data: data[:-3], lambda data: b"rubbish" + data])
    def test_damaged_compression_names_the_file(
        self, tmp_path: Path, suffix: str, damage: Callable[[bytes], bytes]
    ) -> None:
        path = tmp_path / f"a.txt{suffix}"
        path.write_bytes(damage(PACKERS[suffix](os.urandom(3000))))
        with pytest.raises(UserError, match=rf"a\.txt{suffix}: damaged or cut short"):
            list(documents(str(path)))

    def test_folder_is_sorted_and_passes_over_hidden_and_binary(self, tmp_path: Path) -> None:
        (tmp_path / "b").mkdir()
        (tmp_path / ".git").mkdir()
        for name, content in {
            "c.txt": b"c",
            "b/z.md": b"z",
            "a.py.gz": gzip.compress(b"a"),
            ".hidden": b"h",
            ".git/x": b"x",
            "empty": b"",
            "picture": b"\x89\0\0",
        }.items():
            (tmp_path / name).write_bytes(content)
        with pytest.warns(UserWarning, match=r"1 binary files passed over, such as .*picture"):
            assert list(documents(str(tmp_path))) == [b"a", b"z", b"c"]
        with pytest.warns(UserWarning, match="binary"):
            assert list(documents(str(tmp_path / "*"))) == [b"a", b"c"]
        assert list(documents(str(tmp_path / "**" / "*.md"))) == [b"z"]
        assert list(documents(str(tmp_path / "picture"))) == [b"\x89\0\0"]  # named by itself: wanted

    def test_stdin(self, monkeypatch: pytest.MonkeyPatch) -> None:
        stdin(monkeypatch, TEXT)
        assert len(list(documents("-"))) == 2

    @pytest.mark.parametrize("suffix", PACKERS)
    def test_json_lines(self, tmp_path: Path, suffix: str) -> None:
        rows = [{"body": "é\ud800"}, {"body": None}, {"body": ""}, {"body": "two\n\f\nstill two"}]
        path = tmp_path / f"a.jsonl{suffix}"
        path.write_bytes(PACKERS[suffix]("\n\n".join(map(json.dumps, rows)).encode()))
        assert list(documents(str(path), "body")) == [b"\xc3\xa9\xed\xa0\x80", b"two\n\f\nstill two"]

    @pytest.mark.parametrize(
        ("line", "message"),
        [
            ('{"body": "x", "id": 3}', r"line 3: no field 'text'; there are: body, id"),
            ('{"text": 5}', r"line 3: field 'text' holds a int, not text"),
            ("[1]", r"line 3 holds a list"),
            ('{"text": ', r"line 3 is not JSON"),
            ("[" * 100_000, r"line 3 is not JSON"),
        ],
    )
    def test_json_lines_that_are_wrong(self, tmp_path: Path, line: str, message: str) -> None:
        path = tmp_path / "a.jsonl"
        path.write_text('{"text": "good"}\n\n' + line + "\n")
        with pytest.raises(UserError, match=message):
            list(documents(str(path)))

    def test_parquet(self, tmp_path: Path) -> None:
        pyarrow = pytest.importorskip("pyarrow")
        parquet = pytest.importorskip("pyarrow.parquet")
        path = tmp_path / "a.parquet"
        columns = {"body": ["one", None, "zwei ü"], "raw": [b"\xff", b"", b"\0"], "id": [1, 2, 3]}
        parquet.write_table(pyarrow.table(columns), path)
        assert list(documents(str(path), "body")) == [b"one", "zwei ü".encode()]
        assert list(documents(str(tmp_path), "raw")) == [b"\xff", b"\0"]
        with pytest.raises(UserError, match="no column 'text'; there are: body, raw, id"):
            list(documents(str(path)))
        with pytest.raises(UserError, match="column 'id' holds int64"):
            list(documents(str(path), "id"))
        path.write_bytes(path.read_bytes()[:-20])
        with pytest.raises(UserError, match=r"a\.parquet: damaged"):
            list(documents(str(path), "body"))

    def test_dataset_folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
        pytest.importorskip("datasets")
        data = tmp_path / "set"
        data.mkdir()
        for split in ("train", "test"):
            rows = [{"text": f"{split} {i}"} for i in range(3)]
            (data / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)))
        assert list(documents(f"hf:{data}")) == [b"train 0", b"train 1", b"train 2"]
        assert next(documents(f"hf:{data}:test")) == b"test 0"
        with pytest.raises(UserError, match="no field 'body'; there are: text"):
            list(documents(f"hf:{data}", "body"))
        with pytest.raises(UserError, match="nosuch"):
            list(documents(f"hf:{data}:nosuch"))

    @pytest.mark.parametrize(
        ("module", "source", "extra"), [("datasets", "hf:some/set", "datasets"), ("pyarrow", "a.parquet", "parquet")]
    )
    def test_missing_extras_are_named(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, source: str, extra: str
    ) -> None:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setitem(sys.modules, module, None)
        Path("a.parquet").write_bytes(b"PAR1")
        with pytest.raises(UserError, match=re.escape(f"pip install 'cpu1[{extra}]'")):
            list(documents(source))

    def test_bad_paths(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "corpus.txt").write_bytes(b"x")
        with pytest.raises(UserError, match=r"no such file or folder; did you mean .*corpus\.txt\?"):
            list(documents(str(tmp_path / "corpse.txt")))
        with pytest.raises(UserError, match="nor a folder"):
            list(documents(str(tmp_path / "no" / "corpus.txt")))
        with pytest.raises(UserError, match="empty"):
            list(documents(""))
        (tmp_path / "bare").mkdir()
        with pytest.raises(UserError, match="a folder without files"):
            list(documents(str(tmp_path / "bare")))
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(UserError, match="neither a file nor a folder"):
            list(documents(str(tmp_path / "pipe")))

        def refuse(*_: object) -> None:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(Path, "open", refuse)
        with pytest.raises(UserError, match=r"corpus\.txt: cannot be read \(Permission denied\)"):
            list(documents(str(tmp_path / "corpus.txt")))

    def test_stdlib_is_stable_and_survives_unreadable_files(self, monkeypatch: pytest.MonkeyPatch) -> None:
        first = list(documents("python-stdlib"))
        assert first == list(documents("python-stdlib"))
        assert 5_000_000 < sum(map(len, first)) < 50_000_000
        assert Path(json.__file__).read_bytes() in first
        assert not any(b"\nclass TestCase" in text and b"test.support" in text for text in first)
        read = Path.read_bytes

        def refuse(path: Path) -> bytes:
            if path.name == "argparse.py":
                raise PermissionError(13, "Permission denied")
            return read(path)

        monkeypatch.setattr(Path, "read_bytes", refuse)
        assert len(list(documents("python-stdlib"))) == len(first) - 1

    def test_stdlib_without_sources(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(stdlib, "root", lambda: tmp_path)
        with pytest.raises(UserError, match="without the sources"):
            list(documents("python-stdlib"))


@given(st.lists(st.sampled_from([b"a", b"\n", b"\f", b"\r", b"\n\f\n"])).map(b"".join), st.integers(1, 9))
def test_documents_do_not_depend_on_chunk_borders(text: bytes, size: int) -> None:
    chunks = [text[i : i + size] for i in range(0, len(text), size)]
    whole = list(formats.text_documents([text]))
    assert list(formats.text_documents(chunks)) == whole
    assert whole == [part for part in re.split(rb"(?m)^\f\r?\n", text) if part]


def test_long_documents_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "LONGEST_DOCUMENT", 10)
    for chunks in ([b"x" * 25 + b"\n\f\ny"], [b"x" * 7, b"x" * 7, b"x" * 11 + b"\n\f", b"\ny"]):
        assert [len(text) for text in formats.text_documents(chunks)] == [10, 10, 6, 1]
    for size in range(1, 25):  # at a line's end where the second half has one
        text = b"1\n345678\n-x\nxxxxxxxxx"
        chunks = [text[i : i + size] for i in range(0, len(text), size)]
        assert list(formats.text_documents(chunks)) == [b"1\n345678\n", b"-x\nxxxxxxx", b"xx"]
    assert list(map(len, formats.row_documents({"text": "x" * 25}, "text", "here"))) == [10, 10, 5]


class TestCorpus:
    def test_holds_every_document_once(self, folder: Path, tmp_path: Path) -> None:
        told: list[int] = []
        corpus = prepare(str(folder), cache=tmp_path / "cache", progress=told.append)
        every = [bytes(document) for split in corpus.splits.values() for document in split]
        assert sorted(every) == sorted(documents(str(folder)))
        assert told[-1] == sum(map(len, every))
        assert corpus.cut == 0
        train = corpus.splits["train"]
        assert len(train) > 70
        assert train.size == sum(len(document) for document in train)
        assert bytes(train.stream) == b"".join(bytes(document) + b"\0" for document in train)
        assert corpus.byte_counts.tolist() == [sum(bytes(d).count(b) for d in train) for b in range(256)]
        assert not train.stream.flags.writeable
        with pytest.raises(IndexError):
            train.document(-1)

    def test_split_is_a_matter_of_content_alone(self, folder: Path, tmp_path: Path) -> None:
        def where(corpus: Corpus) -> dict[bytes, str]:
            placed = [(bytes(doc), name) for name, split in corpus.splits.items() for doc in split]
            assert len(set(placed)) == len(dict(placed)), "equal documents in two splits"
            return dict(placed)

        before = where(prepare(str(folder), cache=tmp_path / "cache"))
        (folder / "000 first.txt").write_bytes(b"another one")
        (folder / "007.txt").unlink()  # 097.txt says the same
        after = where(prepare(str(folder), cache=tmp_path / "cache"))
        assert len(before) == 90
        assert after.keys() - before.keys() == {b"another one"}
        assert all(after[text] == split for text, split in before.items())

    @pytest.mark.parametrize("count", [200, 3000, 60_000])
    def test_one_document_is_cut_at_line_ends(self, tmp_path: Path, count: int) -> None:
        path = tmp_path / "book.txt"
        path.write_bytes(lines(count))
        corpus = prepare(str(path), cache=tmp_path / "cache")
        assert 1 << 10 <= corpus.cut <= 16 << 10
        pieces = [bytes(piece) for split in corpus.splits.values() for piece in split]
        assert sorted(b"".join(pieces).splitlines()) == sorted(lines(count).splitlines())
        assert all(piece.endswith(b"\n") and len(piece) <= corpus.cut for piece in pieces)
        for name in SPLITS:
            assert corpus.splits[name].size >= 0.01 * path.stat().st_size
        assert f"pieces of about {corpus.cut:,} bytes" in describe(corpus)

    def test_one_huge_document_among_small_ones(self, folder: Path, tmp_path: Path) -> None:
        (folder / "huge.txt").write_bytes(lines(20_000))
        corpus = prepare(str(folder), cache=tmp_path / "cache")
        assert corpus.cut
        assert min(corpus.splits[name].size for name in SPLITS) > 0.01 * sum(
            split.size for split in corpus.splits.values()
        )

    def test_any_bytes(self, tmp_path: Path) -> None:
        path = tmp_path / "noise.bin"
        path.write_bytes(bytes(range(256)) * 10 + np.random.default_rng(0).bytes(100_000))
        corpus = prepare(str(path), cache=tmp_path / "cache")
        assert sum(split.size for split in corpus.splits.values()) == path.stat().st_size
        assert corpus.byte_counts.sum() == corpus.splits["train"].size

    def test_select_takes_more_of_few_long_documents(self, tmp_path: Path) -> None:
        generator = np.random.default_rng(0)
        letters = generator.integers(97, 123, (120, 20_000), np.uint8)
        text = b"\n\f\n".join(bytes(row) for row in letters)
        (tmp_path / "long.txt").write_bytes(text)
        corpus = prepare(str(tmp_path / "long.txt"), cache=tmp_path / "cache")
        documents = len(corpus.splits["valid"])
        sample = corpus.select("valid", documents * 10_000, 1000)
        assert len(sample) == documents * 10
        assert len({bytes(excerpt) for excerpt in sample}) == len(sample)
        everything = corpus.select("valid", 1 << 30, 1000)
        assert sum(map(len, everything)) == corpus.splits["valid"].size

    def test_select(self, folder: Path, tmp_path: Path) -> None:
        corpus = prepare(str(folder), cache=tmp_path / "cache")
        sample = [bytes(document) for document in corpus.select("train", 1000, 60)]
        assert sum(map(len, sample)) == 1000
        assert {len(document) for document in sample[:-1]} == {60}
        assert len(corpus.select("valid", 1 << 20, 1 << 20)) == len(corpus.splits["valid"])
        for i, path in enumerate(sorted(folder.iterdir())):  # other names, so another stored order
            path.rename(folder / f"{(i * 37) % 100:03}.renamed")
        again = prepare(str(folder), cache=tmp_path / "cache")
        assert again.sha256 != corpus.sha256
        assert [bytes(document) for document in again.select("train", 1000, 60)] == sample

    def test_stdlib_corpus(self, tmp_path: Path) -> None:
        corpus = prepare("python-stdlib", cache=tmp_path)
        assert corpus.name == f"python-stdlib-{'.'.join(map(str, sys.version_info[:3]))}"
        assert corpus.cut == 0
        assert corpus.name in describe(corpus)
        assert corpus.sha256 in describe(corpus)
        assert f"{corpus.splits['valid'].size:,} bytes" in describe(corpus)

    def test_default_cache(self, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
        monkeypatch.delenv("CPU1_CACHE", raising=False)
        assert prepare(str(folder)).folder.parent == tmp_path / "xdg" / "cpu1"
        monkeypatch.setenv("CPU1_CACHE", str(tmp_path / "own"))
        assert prepare(str(folder)).folder.parent == tmp_path / "own"


class TestCache:
    def test_second_time_reads_nothing(self, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        first = prepare(str(folder), cache=tmp_path / "cache")
        monkeypatch.setattr(paths, "file_documents", None)
        second = prepare(str(folder), cache=tmp_path / "cache")
        assert second.folder == first.folder
        assert second.sha256 == first.sha256
        assert [p.name for p in (tmp_path / "cache").iterdir() if p.is_dir()] == [first.folder.name]

    def test_changed_file_is_read_again(self, folder: Path, tmp_path: Path) -> None:
        first = prepare(str(folder), cache=tmp_path / "cache")
        os.utime(folder / "003.txt", ns=(1, 1))
        second = prepare(str(folder), cache=tmp_path / "cache")
        assert second.folder != first.folder
        assert second.sha256 == first.sha256

    def test_stdin_is_known_by_its_content(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        folders = []
        for content in (lines(500), lines(500), lines(501)):
            stdin(monkeypatch, content)
            folders.append(prepare("-", cache=tmp_path).folder)
        assert folders[0] == folders[1] != folders[2]
        assert folders[0].name.startswith("stdin-")
        assert not list(tmp_path.glob(".stdin.*"))

    @pytest.mark.parametrize("name", ["corpus.json", "train.bin", "valid.offsets.npy"])
    @pytest.mark.parametrize("damage", ["missing", "short", "rubbish"])
    def test_damage_is_mended(self, folder: Path, tmp_path: Path, name: str, damage: str) -> None:
        corpus = prepare(str(folder), cache=tmp_path / "cache")
        path = corpus.folder / name
        good = path.read_bytes()
        if damage == "missing":
            path.unlink()
        else:
            path.write_bytes(good[:-9] if damage == "short" else b"PK\x03\x04{}")
        with pytest.raises(UserError):
            Corpus.open(corpus.folder)
        assert prepare(str(folder), cache=tmp_path / "cache").sha256 == corpus.sha256
        assert path.read_bytes() == good

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            ("format", 99),
            ("splits", None),
            ("splits", {"train": {"documents": 1, "size": "2"}}),
            ("byte_counts", [1] * 256),
            ("byte_counts", [1e300] * 256),
            ("cut", "x"),
        ],
    )
    def test_a_false_description_is_refused(self, folder: Path, tmp_path: Path, key: str, value: object) -> None:
        path = prepare(str(folder), cache=tmp_path / "cache").folder / "corpus.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
        with pytest.raises(UserError):
            Corpus.open(path.parent)

    def test_two_processes_at_once(self, folder: Path, tmp_path: Path) -> None:
        script = "import sys; from cpu1.data.corpus import prepare; prepare(sys.argv[1], cache=sys.argv[2])"
        source = str(Path(paths.__file__).parents[2])
        environment = os.environ | {"PYTHONPATH": source}
        started = [
            subprocess.Popen([sys.executable, "-c", script, folder, tmp_path / "cache"], env=environment)
            for _ in range(2)
        ]
        assert [process.wait(60) for process in started] == [0, 0]
        kept = [path.name for path in (tmp_path / "cache").iterdir() if path.is_dir()]
        assert len(kept) == 1
        assert Corpus.open(tmp_path / "cache" / kept[0]).splits["train"].size

    def test_a_cache_that_cannot_be_written(self, folder: Path, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(b"")
        with pytest.raises(UserError, match="cannot be written"):
            prepare(str(folder), cache=tmp_path / "file")

    def test_failure_leaves_nothing(self, folder: Path, tmp_path: Path) -> None:
        (folder / "bad.txt.gz").write_bytes(gzip.compress(b"x" * 1000)[:-5])
        with pytest.raises(UserError, match=r"bad\.txt\.gz"):
            prepare(str(folder), cache=tmp_path / "cache")
        assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "holds 0 bytes of text; at least 4,096 are needed"),
        (b"hello\n" * 100, "holds 600 bytes of text; at least 4,096"),
        (b"same\n" * 100_000, "the text repeats itself"),
    ],
)
def test_too_little_text(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(UserError, match=message):
        prepare(str(tmp_path / "a.txt"), cache=tmp_path / "cache")


class TestWindows:
    @pytest.mark.parametrize(("units", "length"), [(1000, 16), (1000, 7), (33, 32), (40, 20), (32, 32), (5, 1)])
    def test_every_window_of_an_epoch_is_seen_once(self, units: int, length: int) -> None:
        windows = Windows(np.arange(units), length, seed=3)
        offsets, orders = set(), set()
        for epoch in range(40):
            rows = [windows.batch(epoch * windows.count + i, 1)[0] for i in range(windows.count)]
            assert all((np.diff(row) == 1).all() for row in rows)
            starts = sorted(int(row[0]) for row in rows)
            assert all(b - a == length for a, b in pairwise(starts))
            assert 0 <= starts[0] < length
            offsets.add(starts[0])
            orders.add(tuple(int(row[0]) - starts[0] for row in rows))
        assert windows.count >= max(1, units // length - 1)
        if units >= 2 * length:
            assert len(offsets) > length // 2
        if windows.count > 8:
            assert len(orders) == 40

    def test_batch_is_pure(self) -> None:
        stream = np.random.default_rng(0).integers(0, 256, 5000).astype(np.uint8)
        for step in (0, 3, 4, 3, 10**12):  # 39 windows: a batch of 12 straddles epochs
            whole = Windows(stream, 125, seed=1).batch(step, 12)
            assert whole.shape == (12, 125)
            assert whole.dtype == np.uint8
            windows = Windows(stream, 125, seed=1)
            windows.batch(7, 12)
            assert (windows.batch(step, 12) == whole).all()
            assert (Windows(stream, 125, seed=2).batch(step, 12) != whole).any()

    def test_a_batch_larger_than_an_epoch(self) -> None:
        windows = Windows(np.arange(100), 30, seed=0)
        one_by_one = [windows.batch(i, 1) for i in range(20)]
        assert (windows.batch(0, 20) == np.concatenate(one_by_one)).all()

    def test_order_is_fixed_for_good(self) -> None:
        """The very numbers: a run resumed with a later version must see what it would have seen."""
        assert Windows(np.arange(100), 10, seed=0).batch(1, 4)[:, 0].tolist() == [51, 61, 31, 41]

    def test_bad_shapes(self) -> None:
        with pytest.raises(UserError, match="holds 99 units, less than one window of 100"):
            Windows(np.zeros(99), 100, seed=0)
