"""Archives: any bytes come back, the size is what the model's bits say, and what is not whole and right is refused."""

import argparse
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from helpers.bare import WITHOUT_LAB
from helpers.packing import packed_run
from helpers.text import write_text
from hypothesis import given, settings
from hypothesis import strategies as st

from cpu1.cli import main
from cpu1.errors import UserError
from cpu1.runs.pack import pack_run
from cpu1.runtime import archive, engine
from cpu1.runtime.archive import Archive, compress, decompress
from cpu1.runtime.model import Model
from cpu1.training.job import Job, train

native_only = pytest.mark.skipif(not engine.available(), reason="installed without the native engine")
TEXT = Path(argparse.__file__).read_bytes()  # about 100 KB that every machine has
NOTE = "Ångström, «πάντα ῥεῖ», 茶\0\0 and a few words more.\n".encode()


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A byte model and a BPE model, briefly trained, and another of random weights."""
    folder = tmp_path_factory.mktemp("archives")
    text = write_text(folder)
    for run, window in (("07", 256), ("13", 64)):
        train(Job(run=run, folder=folder / run, scale="demo", data=str(text), threads=1, eval_bytes=2000,
                  overrides=(("steps", 15), ("batch", 4), ("window", window))))  # fmt: skip
        pack_run(folder / run, folder / f"{run}.cpu1")
    packed_run("10", folder)
    return folder


@pytest.fixture(params=["engine", "numpy"])
def way(request, monkeypatch):
    """With the native engine, and as on a machine without a compiler."""
    if request.param == "engine" and not engine.available():
        pytest.skip("installed without the native engine")
    if request.param == "numpy":
        monkeypatch.setattr(engine, "available", lambda: False)
    return request.param


@pytest.mark.parametrize("run", ["07", "13"])
@pytest.mark.parametrize("text", [b"", b"\0", NOTE, bytes(range(256)), b"\n" * 100], ids=range(5))
def test_any_text_comes_back(folder, way, run, text):
    path = folder / f"{run}.cpu1"
    made = compress(text, Model(path))
    assert decompress(made, path) == text
    assert len(made) <= len(text) + 36 + 12  # bytes that the model does not expect are kept as they are


@native_only
@given(st.binary(max_size=300), st.integers(1, 100), st.integers(1, 3), st.sampled_from(["07", "13"]))
@settings(max_examples=60, deadline=None)
def test_any_bytes_come_back_in_blocks_of_any_size(folder, text, block, threads, run):
    path = folder / f"{run}.cpu1"
    made = compress(text, Model(path), block, threads)
    assert decompress(made, path, threads) == text
    assert made == compress(text, Model(path), block)


@native_only
@pytest.mark.parametrize("run", ["07", "13"])
def test_the_size_is_what_the_scores_say(folder, run):
    model = Model(folder / f"{run}.cpu1")
    text = TEXT if run == "07" else TEXT[:20_000]
    session = model.units(run == "07", archive.counts_for(len(text)))
    expected = session.score(model.encode(text)).sum() / np.log(2) / 8
    made = compress(text, model, block=len(text))
    overhead = 36 + 12  # the head and the check, and a block
    assert len(made) - overhead == pytest.approx(expected, rel=1e-4)
    assert decompress(made, model.path) == text
    if run == "07":
        assert compress(text, model)[36:-8] == made[36:-8]  # a text is one block
        frozen = compress(text, model, learn=False)
        assert len(frozen) - overhead == pytest.approx(model.score(text).sum() / 8, rel=1e-4)
        assert len(made) < 0.6 * len(frozen)
        assert decompress(frozen, model.path) == text


@native_only
def test_archives_of_the_first_version_open(folder):
    """They had no byte for learning: everything else is as it was."""
    model = Model(folder / "07.cpu1")
    new = Archive.read(compress(TEXT[:5000], model, block=2000, learn=False))
    old = replace(new, version=1).write()
    assert old[5] == 1
    assert len(old) == len(new.write()) - 1
    assert decompress(old, model.path) == TEXT[:5000]
    with pytest.raises(UserError, match="an archive of version 3; this cpu1 reads versions 1 to 2"):
        Archive.read(old[:5] + b"\x03" + old[6:])


def test_a_model_of_tokens_does_not_learn(folder, way):
    with pytest.raises(UserError, match="learning is for models that read bytes; this one reads tokens"):
        compress(NOTE, Model(folder / "13.cpu1"), learn=True)
    with pytest.raises(UserError, match="learning is for models that read bytes"):
        Model(folder / "13.cpu1", learn=True)


@native_only
def test_noise_is_kept_as_it_is(folder):
    noise = np.random.default_rng(0).bytes(5000)
    made = compress(noise, Model(folder / "07.cpu1"), block=1000)
    assert len(made) == 5000 + 36 + 5 * 12
    assert decompress(made, folder / "07.cpu1") == noise


@native_only
def test_attention_that_sees_all_gets_short_blocks(tmp_path):
    sizes = [archive.block_bytes(Model(packed_run(run, tmp_path).path)) for run in ("02", "08", "03")]
    assert sizes == [archive.SHORT_BLOCK_BYTES, archive.MOST_BLOCK_BYTES, archive.MOST_BLOCK_BYTES]


# ---------------------------------------------------------------------------------------- refusals


@pytest.fixture(scope="module")
def small(folder) -> bytes:
    return compress(b"def parse(self): return None\n" * 2, Model(folder / "07.cpu1"), block=40)


def test_every_flipped_bit_is_refused(folder, small):
    for bit in range(8 * len(small)):
        damaged = bytearray(small)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(UserError, match=r"damaged|not an archive|version"):
            decompress(bytes(damaged), folder / "07.cpu1")


def test_what_is_cut_short_or_goes_on_is_refused(folder, small):
    for size in range(len(small)):
        with pytest.raises(UserError, match=r"damaged|not an archive"):
            decompress(small[:size], folder / "07.cpu1")
    for more in (b"\0", b"x", small):
        with pytest.raises(UserError, match="damaged"):
            decompress(small + more, folder / "07.cpu1")


def test_another_model_is_refused(folder, small):
    with pytest.raises(UserError, match=r"another model: \w{16}, and .*10-fp32\.cpu1 is \w{16}"):
        decompress(small, folder / "10-fp32.cpu1")
    with pytest.raises(UserError, match=r"nowhere\.cpu1: no such file"):
        decompress(small, folder / "nowhere.cpu1")


def altered(data: bytes, **fields) -> bytes:
    """The archive of other values, whole as far as its check goes."""
    return Archive(**{**vars(Archive.read(data)), **fields}).write()


@native_only
def test_another_text_is_never_given_back(folder, small):
    """As on a machine that computes otherwise: the blocks themselves say what they hold."""
    for other in {"numpy", *map(engine.arithmetic, engine.isas())} - {Archive.read(small).arithmetic}:
        with pytest.raises(UserError, match="decodes to another text"):
            decompress(altered(small, arithmetic=other), folder / "07.cpu1")
    blocks = Archive.read(small).blocks
    for wrong in (blocks[0]._replace(crc=blocks[0].crc ^ 1), blocks[0]._replace(code=b"\xff" * 20)):
        with pytest.raises(UserError, match="decodes to another text"):
            decompress(altered(small, blocks=[wrong, *blocks[1:]]), folder / "07.cpu1")


@native_only
def test_an_arithmetic_that_is_not_here_is_named(folder, small, monkeypatch):
    monkeypatch.setattr(engine, "isas", lambda: [])
    with pytest.raises(UserError, match=r"this machine has no arithmetic '[a-z]+'; it has numpy$"):
        decompress(small, folder / "07.cpu1")


def test_heads_that_cannot_be_are_refused(folder, small):
    blocks = Archive.read(small).blocks
    for fields in ({"size": 1 << 60}, {"size": 40}, {"block": 0}, {"block": 1 << 31}, {"blocks": blocks[:1]},
                   {"blocks": [*blocks, blocks[0]]}, {"blocks": [blocks[0]._replace(units=0), blocks[1]]},
                   {"blocks": [blocks[0]._replace(units=41), blocks[1]]}):  # fmt: skip
        with pytest.raises(UserError, match="not valid"):
            decompress(altered(small, **fields), folder / "07.cpu1")


@native_only
def test_another_arithmetic_of_the_same_machine_reads_back(folder, monkeypatch):
    """CPU1_ISA=portable makes archives for every machine; reading one goes the same way unasked."""
    monkeypatch.setenv("CPU1_ISA", "portable")
    made = compress(TEXT[:3000], Model(folder / "07.cpu1"))
    assert Archive.read(made).arithmetic == "plain"
    monkeypatch.delenv("CPU1_ISA")
    assert decompress(made, folder / "07.cpu1") == TEXT[:3000]


def test_the_first_failure_ends_the_work(folder):
    """Ctrl-C reaches whoever waits; here it comes out of a thread's own report."""
    looks = []

    def interrupt(done: int, size: int) -> None:
        looks.append((done, size))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compress(NOTE * 10, Model(folder / "07.cpu1"), block=len(NOTE), threads=2, progress=interrupt)
    assert 1 <= len(looks) <= 2
    assert looks[0] == (len(NOTE), 10 * len(NOTE))


# --------------------------------------------------------------------------------- the command line


@pytest.fixture
def place(folder, tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "note.txt").write_bytes(NOTE)
    return tmp_path


def test_files_there_and_back(folder, place, capsys):
    model = ["-m", str(folder / "07.cpu1")]
    assert main(["compress", "note.txt", *model]) == 0
    assert "bits per byte" in capsys.readouterr().err
    (place / "note.txt").rename("before.txt")
    assert main(["decompress", "note.txt.cpz", *model]) == 0
    assert (place / "note.txt").read_bytes() == NOTE
    assert main(["compress", "note.txt", "-o", "note.txt.cpz", "--block", "7", "--threads", "2", *model]) == 0
    assert main(["decompress", "note.txt.cpz", "-o", "again", *model]) == 0
    assert (place / "again").read_bytes() == NOTE


def test_the_default_model_serves_both_ways(folder, place, monkeypatch):
    monkeypatch.setenv("CPU1_MODEL", str(folder / "13.cpu1"))
    assert main(["compress", "note.txt"]) == 0
    assert main(["decompress", "note.txt.cpz", "-o", "again"]) == 0
    assert (place / "again").read_bytes() == NOTE


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["compress", "nowhere"], "nowhere: not readable"),
        (["compress", "."], ".: not readable"),
        (["compress", "note.txt"], "note.txt.cpz exists"),
        (["compress", "note.txt", "-o", "folder"], "folder: not a file"),
        (["compress", "note.txt", "-o", "x", "--block", "2Gi"], "blocks of 2147483648 bytes"),
        (["decompress", "note.txt", "-o", "x"], "note.txt: not an archive"),
        (["decompress", "note.txt"], "does not end in .cpz"),
        (["decompress", "note.txt.cpz", "-o", "x"], "note.txt.cpz: the archive is damaged"),
    ],
)
def test_bad_input_is_one_clear_line_and_nothing_is_written(folder, place, capsys, words, message):
    (place / "folder").mkdir()
    (place / "note.txt.cpz").write_bytes(b"cpu1z\1 and so on")
    before = sorted(place.iterdir())
    assert main([*words, "--model", str(folder / "07.cpu1")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("cpu1: ")
    assert message in error
    assert sorted(place.iterdir()) == before


def test_through_pipes_and_without_the_lab(folder):
    """Neither torch nor anything else of the lab is imported."""
    text = NOTE
    for verb in ("compress", "decompress"):
        words = [sys.executable, "-c", WITHOUT_LAB, verb, "-", "--model", str(folder / "13.cpu1")]
        done = subprocess.run(words, input=text, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()
        text = done.stdout
    assert text == NOTE


@native_only
def test_ctrl_c_leaves_nothing_behind(folder, place):
    words = [sys.executable, "-m", "cpu1", "compress", "-", "-o", "x", "--model", str(folder / "07.cpu1")]
    heard = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # in the background it is ignored
    running = subprocess.Popen(words, stdin=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=heard)
    assert running.stdin
    assert running.stderr
    running.stdin.write(TEXT * 100)
    running.stdin.close()  # by now it has read nearly all; what is left takes some 20 seconds
    time.sleep(0.3)
    running.send_signal(signal.SIGINT)
    error = running.stderr.read()
    assert running.wait(timeout=60) == 130
    assert error == b""
    assert sorted(path.name for path in place.iterdir()) == ["note.txt"]
