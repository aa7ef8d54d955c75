"""Codes of messages: any bytes come back, none grows by more than a byte, and what is not a code is refused."""

import threading
from pathlib import Path

import numpy as np
import pytest
from helpers.packing import packed_run
from helpers.text import write_text
from hypothesis import given, settings
from hypothesis import strategies as st

from cpu1.errors import UserError
from cpu1.messages import Codec
from cpu1.messages.codec import DAMAGED, LOOK, MARK
from cpu1.messages.learned import learn, mean_bytes
from cpu1.messages.sample import USUAL, part, spaced
from cpu1.runs.pack import pack_run
from cpu1.runtime import engine
from cpu1.training.codec import mark
from cpu1.training.job import Job, train

pytestmark = pytest.mark.skipif(not engine.available(), reason="installed without the native engine")
ARITHMETICS = sorted({engine.arithmetic(isa) for isa in engine.isas()}) if engine.available() else []
MINE = [b"Boat %d at buoy %d, wind %d kn" % (i, i % 7, 3 * i % 20) for i in range(60)]
ODD = [b"", b"\0", b"a", b"\xff", b"a\0b", b"\0" * 9, b"x" * 500, bytes(range(256)), "«πάντα ῥεῖ» 茶🚤".encode()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A byte model and a BPE model, briefly trained, and one of random weights that memorises."""
    folder = tmp_path_factory.mktemp("messages")
    text = write_text(folder)
    for run, window in (("07", 256), ("13", 64)):
        train(Job(run=run, folder=folder / run, scale="demo", data=str(text), threads=1, eval_bytes=2000,
                  overrides=(("steps", 15), ("batch", 4), ("window", window))))  # fmt: skip
        pack_run(folder / run, folder / f"{run}.cpu1")
    packed_run("18", folder)
    return folder


@pytest.fixture(scope="module")
def codecs(folder) -> dict[str, Codec]:
    """By name: what a codec may start from."""
    learn(MINE, folder / "18-fp32.cpu1", folder / "mine.cpa")
    return {
        "bundled": Codec(),
        "bytes": Codec(folder / "07.cpu1"),
        "tokens": Codec(folder / "13.cpu1"),
        "alone": Codec(folder / "07.cpu1", sample=[]),
        "checked": Codec(folder / "07.cpu1", sample=MINE, check=True),
        "adapter": Codec(folder / "18-fp32.cpu1", folder / "mine.cpa"),
    }


NAMES = ("bundled", "bytes", "tokens", "alone", "checked", "adapter")


@pytest.mark.parametrize("name", NAMES)
def test_odd_messages_come_back(codecs, name):
    codec = codecs[name]
    for message in [*ODD, *USUAL[:3], *MINE[:3]]:
        code = codec.encode(message)
        assert codec.decode(code) == message
        assert len(code) <= len(message) + 1 + codec.check
    assert len(codec.encode(b"")) == codec.check


@given(st.binary(max_size=120), st.sampled_from(NAMES[1:]))
@settings(max_examples=25, deadline=None)
def test_any_bytes_come_back(codecs, message, name):
    code = codecs[name].encode(message)
    assert codecs[name].decode(code) == message
    assert len(code) <= len(message) + 1 + codecs[name].check


@given(st.text("etaoin shrdlu.,", max_size=120))
@settings(max_examples=25, deadline=None)
def test_any_text_comes_back(codecs, text):
    assert codecs["bytes"].decode(codecs["bytes"].encode(text)) == text.encode()


def test_a_code_is_as_short_as_its_bits(codecs):
    codec = codecs["bundled"]
    for message in USUAL:
        stream = codec._stream("encode")
        bits = stream.score(np.append(codec.model.encode(message), np.uint32(codec.model.separator))).sum() / np.log(2)
        assert len(codec.encode(message)) <= bits / 8 + 1
    assert mean_bytes([codec.encode(message) for message in USUAL]) < 0.5 * mean_bytes(USUAL)
    assert codec.encode("Where are you now?") == codec.encode(b"Where are you now?")


@pytest.mark.parametrize("arithmetic", ARITHMETICS)
@pytest.mark.parametrize("run", ["07", "13"])
def test_instruction_sets_of_an_arithmetic_make_the_same_codes(folder, monkeypatch, arithmetic, run):
    isas = [isa for isa in engine.isas() if engine.arithmetic(isa) == arithmetic]
    found = {}
    for isa in isas:
        with monkeypatch.context() as patch:
            patch.setattr(engine, "isas", lambda isa=isa: [isa])
            patch.setenv("CPU1_ISA", "portable")  # changes nothing: the arithmetic decides
            codec = Codec(folder / f"{run}.cpu1", arithmetic=arithmetic)
        found[isa] = (codec.name, [codec.encode(message) for message in [*MINE[:10], *ODD]])
    assert len(found) == len(isas) >= 1
    assert all(each == found[isas[0]] for each in found.values())


def test_threads_share_a_codec(codecs):
    codec = codecs["bytes"]
    alone = [codec.encode(message) for message in MINE]
    wrong = []

    def work() -> None:
        for message, code in zip(MINE, alone, strict=True):
            if codec.encode(message) != code or codec.decode(code) != message:
                wrong.append(message)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize("size", [1 << 14, pytest.param(1 << 20, marks=pytest.mark.slow)])
def test_a_long_message(codecs, size):
    noise = np.random.default_rng(0).bytes(size)
    codec = codecs["alone"]
    code = codec.encode(noise)
    assert len(code) == len(noise) + 1
    assert codec.decode(code) == noise


def test_a_message_that_is_too_long(codecs):
    long = bytes((1 << 20) + 1)
    with pytest.raises(UserError, match=r"a message of 1,048,577 bytes or more; 1,048,576 are allowed"):
        codecs["alone"].encode(long)
    with pytest.raises(UserError, match="are allowed"):
        codecs["alone"].decode(long + b"\0")


@pytest.mark.slow
def test_a_long_message_of_text(codecs):
    text = b"It was the best of times, it was the worst of times. " * 19_700
    code = codecs["alone"].encode(text)
    assert len(code) < 0.7 * len(text)
    assert codecs["alone"].decode(code) == text


# ---------------------------------------------------------------------------------------- refusals


def outcome(codec: Codec, code: bytes) -> bytes | None:
    """The message, or None where the code is refused."""
    try:
        return codec.decode(code)
    except UserError as error:
        if str(error) != DAMAGED and "are allowed" not in str(error):
            raise
        return None


def damaged(code: bytes) -> list[bytes]:
    flipped = [bytes(b ^ 1 << bit if i == at else b for i, b in enumerate(code))
               for at in range(len(code)) for bit in range(8)]  # fmt: skip
    return [*flipped, *(code[:size] for size in range(len(code))), code + b"\0", code + b"x"]


def test_no_damaged_code_gives_the_message_and_a_check_finds_most(codecs):
    for name, most in (("bundled", 0.9), ("checked", 0.05)):
        codec, accepted, tried = codecs[name], 0, 0
        for message in MINE[:1]:
            code = codec.encode(message)
            for other in damaged(code):
                found = outcome(codec, other)
                assert found != message
                accepted, tried = accepted + (found is not None), tried + 1
        assert accepted <= most * tried


@given(st.binary(max_size=60), st.sampled_from(NAMES[1:]))
@settings(max_examples=25, deadline=None)
def test_any_code_is_refused_or_the_code_of_its_message(codecs, code, name):
    """So no two codes are the same message."""
    found = outcome(codecs[name], code)
    assert found is None or codecs[name].encode(found) == code


def test_a_code_without_end_is_refused_early(folder):
    codec = Codec(folder / "07.cpu1", most_bytes=2 * LOOK)
    for number in range(1, 200, 7):
        outcome(codec, bytes([number]))
    noise = np.random.default_rng(0).integers(1, 256, LOOK).tolist()
    codec._look(noise, bytes(4 * LOOK))
    with pytest.raises(UserError, match="damaged"):
        codec._look(noise, b"a code of few bytes")
    with pytest.raises(UserError, match="are allowed"):
        codec._look(noise * 3, bytes(9 * LOOK))


def test_another_model_sample_or_arithmetic_is_another_codec(folder, codecs):
    same = Codec(folder / "07.cpu1")
    assert same.name == codecs["bytes"].name
    others = [codecs["alone"], codecs["tokens"], codecs["checked"], codecs["adapter"]]
    if len(ARITHMETICS) > 1:
        others.append(Codec(folder / "07.cpu1", arithmetic="plain"))
    assert len({codec.name for codec in [same, *others]}) == len(others) + 1
    refused = [outcome(codecs["checked"], codecs["bytes"].encode(message)) for message in MINE[:20]]
    assert refused.count(None) > 16
    refused = [outcome(codecs["tokens"], codecs["bytes"].encode(message)) for message in MINE[:20]]
    assert not set(refused) & set(MINE)


def test_bad_files_are_refused(folder, codecs, tmp_path):
    (tmp_path / "x.cpu1").write_bytes(b"no model")
    with pytest.raises(UserError, match=r"x\.cpu1"):
        Codec(tmp_path / "x.cpu1")
    with pytest.raises(UserError, match="made with another model"):
        Codec(folder / "07.cpu1", folder / "mine.cpa")
    with pytest.raises(UserError, match="agree with the other side on arithmetic 'plain'"):
        Codec(folder / "07.cpu1", arithmetic="abacus")
    with pytest.raises(UserError, match="a text is a string or bytes"):
        codecs["bytes"].encode(7)  # type: ignore[arg-type]


# ----------------------------------------------------------------------------- samples and learning


def test_an_adapter_makes_codes_shorter(codecs, folder):
    parts = part(MINE)
    learn(parts.known, folder / "18-fp32.cpu1", folder / "part.cpa")
    before, after = Codec(folder / "18-fp32.cpu1"), Codec(folder / "18-fp32.cpu1", folder / "part.cpa")
    sizes = [mean_bytes([codec.encode(message) for message in parts.held_out]) for codec in (before, after)]
    assert sizes[1] < 0.6 * sizes[0]


def test_a_sample_is_parted():
    parts = part([*MINE, b"", MINE[0]])
    assert parts.held_out == (MINE[0], MINE[20], MINE[40])
    assert len(parts.known) == 57
    assert not set(parts.known) & set(parts.held_out)
    assert 800 < sum(map(len, part(MINE, 1000).known)) <= 1000
    assert spaced([b"abc", b"def"], 1) == (b"abc",)
    with pytest.raises(UserError, match="19 different messages; a codec needs at least 20"):
        part(MINE[:19] * 3)


def test_a_model_trained_on_messages_reads_no_sample(folder):
    mark(folder / "07.cpu1", folder / "marked.cpu1")
    codec = Codec(folder / "marked.cpu1")
    assert codec.model.about["run"][MARK] is True
    assert codec.sample == ()
    assert codec.encode(MINE[0]) == Codec(folder / "07.cpu1", sample=[]).encode(MINE[0])
