"""Adapters: what was read and learned comes back, and what is not whole and of this model is refused."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from helpers.packing import packed_run

from cpu1.cli import main
from cpu1.errors import UserError
from cpu1.runtime import adapter, engine
from cpu1.runtime.archive import CHECK_BYTES, check
from cpu1.runtime.model import Model

pytestmark = pytest.mark.skipif(not engine.available(), reason="built without the engine")
LOG = b"".join(b"10:%02d:07 status installed lib%d:amd64 1.%d\n" % (i, i % 7, i) for i in range(40))


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return packed_run("18", tmp_path_factory.mktemp("adapter")).path


@pytest.fixture
def made(path: Path, tmp_path: Path) -> Path:
    model = Model(path, learn=True)
    model.prime(LOG.decode())
    assert adapter.write(model, tmp_path / "log.cpa") == (tmp_path / "log.cpa").stat().st_size
    return tmp_path / "log.cpa"


def test_a_text_goes_on_where_the_adapter_left_it(path: Path, made: Path) -> None:
    model, other = Model(path, learn=True), Model(path, learn=True)
    model.prime(LOG.decode())
    adapter.read(other, made)
    line = LOG[-60:]
    assert np.array_equal(model.score(line), other.score(line))
    assert other.score(line).sum() < 0.3 * Model(path, learn=True).score(line).sum()
    assert made.stat().st_size < 300_000  # the state has 2.1 MB


def damaged(data: bytes) -> dict[str, bytes]:
    """Files that are no adapter of this model, by what is said of them."""

    def again(body: bytes) -> bytes:
        return body + check(body)

    body = data[:-CHECK_BYTES]
    head, rest = body[: adapter.HEAD.size], body[adapter.HEAD.size :]
    size = struct.unpack_from("<I", head, 15)[0]
    state = zlib.decompress(rest)
    hostile = bytearray(state)
    hostile[-1] = 0x7F
    return {
        "not an adapter": b"cpu1z" + data[5:],
        "damaged: changed, cut short": data[:-1],
        "is damaged: changed": data[:40] + bytes([data[40] ^ 1]) + data[41:],
        "version 9": again(body[:5] + b"\x09" + body[6:]),
        "another model": again(body[:8] + bytes([body[8] ^ 1]) + body[9:]),
        "a value out of range": again(head[:6] + b"\x07" + head[7:] + rest),
        "by the numpy engine": again(head[:6] + b"\x00" + head[7:] + rest),
        "cannot be inflated": again(head + b"no deflated bytes"),
        "another size than its head says": again(head[:15] + struct.pack("<I", size - 1) + rest),
        "the state is damaged": again(head + zlib.compress(bytes(hostile))),
        "cut short": again(head[:15] + struct.pack("<I", 1000) + zlib.compress(state[:1000])),
    }


def test_what_is_not_whole_and_of_this_model_is_refused(path: Path, made: Path) -> None:
    for words, data in damaged(made.read_bytes()).items():
        made.write_bytes(data)
        model = Model(path, learn=True)
        with pytest.raises(UserError, match=words):
            adapter.read(model, made)
        assert model._state is None
    with pytest.raises(UserError, match="not readable"):
        adapter.read(Model(path, learn=True), made.with_name("none.cpa"))


def test_a_model_that_does_not_learn_has_no_use_for_one_that_does(path: Path, made: Path) -> None:
    with pytest.raises(UserError, match="the state is of a session that learns"):
        adapter.read(Model(path), made)


def test_the_command_line(path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text, out = tmp_path / "log.txt", tmp_path / "mine.cpa"
    text.write_bytes(LOG)
    assert main(["learn", str(text), "-o", str(out), "-m", str(path)]) == 0
    assert f"{len(LOG):,} bytes read" in capsys.readouterr().err
    costs = []
    for words in ([], ["--learn"], ["--adapter", str(out)]):
        assert main(["score", str(text), "-m", str(path), *words]) == 0
        printed = capsys.readouterr().out
        assert ("learning while it reads" in printed) == bool(words)
        costs.append(float(printed.split()[1]))
    assert costs[0] > costs[1] > costs[2]
    assert main(["generate", "10:", "-m", str(path), "--adapter", str(out), "--max-bytes", "20"]) == 0
    assert main(["score", str(text), "-m", str(path), "--adapter", str(text)]) == 2
    assert "not an adapter of cpu1 learn" in capsys.readouterr().err
