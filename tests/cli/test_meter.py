"""The line that shows how far long work is."""

import io
from contextlib import redirect_stderr

import pytest

from cpu1.cli import meter as module
from cpu1.cli.meter import Meter, spelled_time


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture(autouse=True)
def every_look(monkeypatch):
    monkeypatch.setattr(module, "SECONDS_A_LOOK", -1)


def shown(terminal):
    return terminal.getvalue().split("\r\033[K")[1:]


def test_a_share_a_rate_and_what_is_left():
    with redirect_stderr(Terminal()) as terminal, Meter(size=2000) as meter:
        meter.read(500)
        meter.read(500)
        meter.look(1500, 3000)
    first, second, third, last = shown(terminal)
    assert first.startswith("25%, ")
    assert second.startswith("50%, ")
    assert second.endswith(" KB/s, 0 s left")
    assert third.startswith("50%, ")
    assert last == ""


def test_bytes_where_nobody_knows_how_many():
    with redirect_stderr(Terminal()) as terminal, Meter() as meter:
        meter.read(2500)
        meter.put("something else")
    assert [text.partition(",")[0] for text in shown(terminal)] == ["2 KB", "something else", ""]


def test_quiet_and_without_a_terminal_nothing_is_shown():
    for stream, quiet in ((Terminal(), True), (io.StringIO(), False)):
        with redirect_stderr(stream), Meter(quiet, size=10) as meter:
            meter.read(5)
        assert stream.getvalue() == ""


def test_seconds_stay_after_the_end():
    with Meter() as meter:
        pass
    assert meter.seconds == meter.seconds > 0


def test_times():
    assert [spelled_time(seconds) for seconds in (0.4, 89, 91, 600)] == ["0 s", "89 s", "2 min", "10 min"]
