"""Mixtures: shares, the same bytes whatever the files are called, no piece twice, and what is refused."""

from pathlib import Path

import pytest

from cpu1.cli import main
from cpu1.data.mix import PIECE, Mixture, Part, mix
from cpu1.data.sources import documents
from cpu1.errors import UserError


def text(salt: str, count: int) -> bytes:
    return b"".join(f"{salt} {i}\n".encode() for i in range(count))


@pytest.fixture
def books(tmp_path: Path) -> Path:
    """Six documents of about 110 KB, two of them the same."""
    top = tmp_path / "books"
    top.mkdir()
    for i in range(6):
        (top / f"{i}.txt").write_bytes(text(f"book {min(i, 4)} line", 6000))
    return top


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    """Three hundred documents of about 100 bytes in one file."""
    path = tmp_path / "notes.txt"
    path.write_bytes(b"\f\n".join(text(f"note {i} line", 7) for i in range(300)))
    return path


def mixed(parts: list[tuple[Path, float]], size: int, out: Path, seed: int = 0) -> Mixture:
    return mix([Part(str(source), share) for source, share in parts], size, out, seed=seed)


def test_shares_and_whole_pieces(books: Path, notes: Path, tmp_path: Path) -> None:
    found = mixed([(books, 9), (notes, 1)], 200_000, tmp_path / "mix.txt")
    of_books, of_notes = found.parts
    assert abs(of_books.bytes - 180_000) <= PIECE / 2
    assert abs(of_notes.bytes - 20_000) <= 100
    pieces = list(documents(str(tmp_path / "mix.txt")))
    assert len(pieces) == of_books.pieces + of_notes.pieces
    originals = [document for source in (books, notes) for document in documents(str(source))]
    assert all(any(piece in original for original in originals) for piece in pieces)
    assert (tmp_path / "mix.txt").stat().st_size == found.bytes


def test_it_draws_on_all_documents_and_takes_none_twice(books: Path, tmp_path: Path) -> None:
    mixed([(books, 1)], 400_000, tmp_path / "mix.txt")
    pieces = list(documents(str(tmp_path / "mix.txt")))
    assert len(pieces) == len(set(pieces))
    assert len({piece.split(b" ")[1] for piece in pieces}) >= 4


def test_names_and_order_of_files_change_nothing(books: Path, tmp_path: Path) -> None:
    other = tmp_path / "renamed"
    other.mkdir()
    for i, path in enumerate(sorted(books.iterdir(), reverse=True)):
        (other / f"{i}.txt").write_bytes(path.read_bytes())
    mixed([(books, 1)], 150_000, tmp_path / "a.txt")
    mixed([(other, 1)], 150_000, tmp_path / "b.txt")
    assert sorted(documents(str(tmp_path / "a.txt"))) == sorted(documents(str(tmp_path / "b.txt")))
    mixed([(books, 1)], 150_000, tmp_path / "c.txt", seed=1)
    assert sorted(documents(str(tmp_path / "a.txt"))) != sorted(documents(str(tmp_path / "c.txt")))


def test_compressed_it_is_the_same_text(notes: Path, tmp_path: Path) -> None:
    plain = mixed([(notes, 1)], 10_000, tmp_path / "mix.txt")
    packed = mixed([(notes, 1)], 10_000, tmp_path / "mix.txt.zst")
    assert plain == packed
    assert list(documents(str(tmp_path / "mix.txt"))) == list(documents(str(tmp_path / "mix.txt.zst")))


def test_what_is_refused_leaves_no_file(books: Path, notes: Path, tmp_path: Path) -> None:
    out = tmp_path / "out" / "mix.txt"
    with pytest.raises(UserError, match=r"notes\.txt: holds .* its share is 500,000"):
        mixed([(books, 1), (notes, 1)], 1_000_000, out)
    with pytest.raises(UserError, match="positive shares"):
        mixed([(books, 0)], 1000, out)
    with pytest.raises(UserError, match="standard input"):
        mixed([(Path("-"), 1)], 1000, out)
    assert not list(tmp_path.glob("out/*"))


def test_the_verb(notes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "mix.txt"
    assert main(["mix", str(out), "--part", f"{notes}=1", "--bytes", "10k", "--quiet"]) == 0
    assert f"{out.stat().st_size:,} bytes of text" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["mix", str(out), "--part", str(notes), "--bytes", "10k"])
    assert "is not SOURCE=SHARE" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["m.txt.gz", "m.jsonl", "m.parquet", "M.XZ"])
def test_a_name_that_promises_another_format_is_refused(tmp_path, name):
    (tmp_path / "plain.txt").write_bytes(b"text\n" * 3000)
    with pytest.raises(UserError, match="plain text, or compressed"):
        mix([Part(str(tmp_path / "plain.txt"), 1)], 5000, tmp_path / name)
    assert not (tmp_path / name).exists()


@pytest.mark.parametrize(
    ("size", "piece", "noted"), [(4000, 64 << 10, True), (6000, 32 << 10, True), (40_000, 1 << 10, False)]
)
def test_shares_that_whole_pieces_do_not_come_to_are_noted(tmp_path, size, piece, noted, recwarn):
    for number, name in enumerate(("one", "two")):
        (tmp_path / name).write_bytes(b"".join(b"line %d of a text\n" % (i + 10_000 * number) for i in range(2000)))
    mix([Part(str(tmp_path / "one"), 1), Part(str(tmp_path / "two"), 1)], size, tmp_path / "out", piece=piece)
    assert any("as pieces stay whole" in str(warning.message) for warning in recwarn) == noted
