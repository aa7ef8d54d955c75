"""Training on a text for a while: what is kept, when it stops, and that a killed run ends as any other."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.text import write_text
from helpers.tiny_model import tiny_model

import cpu1
from cpu1.adapting import training
from cpu1.adapting.folder import Folder, Look, Looks
from cpu1.adapting.measure import bits_per_byte, some_of
from cpu1.adapting.text import divide, read_text
from cpu1.adapting.training import LOOK_BYTES, Ended, State, Wish, nothing, open_model, train
from cpu1.errors import UserError

KILLED = """
import os, signal, sys
from pathlib import Path
from cpu1.adapting.folder import Folder
from cpu1.adapting.text import divide, read_text
from cpu1.adapting.training import Wish, open_model, train
text, model, out = sys.argv[1:]
def kill(state):
    if state.step == 7:
        os.kill(os.getpid(), signal.SIGKILL)
wish = Wish(1.0, threads=1, steps=12)
train(wish, open_model(Path(model)), divide(read_text([text], "text", 1)), Folder(Path(out)), kill)
"""


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    return tmp_path_factory.mktemp("adapting")


@pytest.fixture(scope="module")
def text(shared):
    return write_text(shared)


@pytest.fixture(scope="module")
def parts(text):
    return divide(read_text([str(text)], "text", 1))


@pytest.fixture(scope="module")
def model(shared):
    return tiny_model(shared / "tiny.cpu1")


@pytest.fixture(scope="module")
def run(model):
    return lambda wish, parts, out, report=lambda _: None: train(wish, open_model(model), parts, Folder(out), report)


@pytest.fixture(scope="module")
def wish():
    return Wish(1.0, threads=1, steps=12)


@pytest.fixture(scope="module")
def whole(wish, parts, shared, run):
    """A run that nothing disturbed: its looks and its best model."""
    out = shared / "whole.cpu1"
    looks = run(wish, parts, out)
    return looks, Folder(out).best.read_bytes()


def test_the_best_model_is_kept_as_it_was_seen(whole, parts, tmp_path):
    looks, data = whole
    assert [look.step for look in looks.looks] == [0, 2, 3, 4, 5, 6, 8, 9, 10, 11, 12]
    assert looks.best.bits_per_byte < looks.looks[0].bits_per_byte - 1
    (tmp_path / "best.cpu1").write_bytes(data)
    model = cpu1.load(tmp_path / "best.cpu1")
    found = bits_per_byte(model, some_of(parts.held_out, LOOK_BYTES), 1)
    assert found == pytest.approx(looks.best.bits_per_byte, abs=1e-9)


def test_a_run_that_was_killed_ends_the_same(whole, wish, model, text, parts, tmp_path, run):
    out = tmp_path / "mine.cpu1"
    words = [sys.executable, "-c", KILLED, str(text), str(model), str(out)]
    assert subprocess.run(words, env={**os.environ, "OMP_NUM_THREADS": "1"}).returncode == -signal.SIGKILL
    begun = []
    looks = run(wish, parts, out, lambda state: begun.append(state.step))
    assert begun[0] > 0
    assert (looks, Folder(out).best.read_bytes()) == whole


def test_a_signal_keeps_the_best_so_far(whole, wish, parts, tmp_path, run):
    out = tmp_path / "mine.cpu1"

    def stop(state: State) -> None:
        if state.step == 3:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Ended):
        run(wish, parts, out, stop)
    folder = Folder(out)
    assert folder.looks().looks[-1].step == 4  # the step in which the signal came
    assert folder.hand_over() == out.stat().st_size
    assert cpu1.load(out).generate("The", max_bytes=8)
    run(wish, parts, out)
    assert folder.best.read_bytes() == whole[1]


def test_it_stops_when_held_out_text_gets_worse(wish, parts, tmp_path, monkeypatch, run):
    figures = iter([5.0, 4.0, 4.1, 4.2, 4.3, 4.4])
    monkeypatch.setattr(training, "bits_per_byte", lambda *_: next(figures))
    looks = run(wish, parts, tmp_path / "mine.cpu1")
    assert [look.bits_per_byte for look in looks.looks] == [5.0, 4.0, 4.1, 4.2, 4.3, 4.4]
    assert looks.best == Look(2, 4.0)
    assert looks.looks[-1].step == 6


def test_on_a_machine_that_gets_slower_the_clock_ends_it(wish, parts, tmp_path, monkeypatch, run):
    """A step takes far longer than the plan expects: fewer are done, and the rate has fallen all the same."""
    monkeypatch.setattr(training.loop, "seconds_a_step", lambda *_: 1e-3)
    monkeypatch.setattr(training, "PATIENCE", 99)  # a fast machine would have learned all there is to learn
    rates = []
    own = training.step

    def noted(replica, optimizer, batch, number, settings, *more):
        rates.append(settings.rate_at(number) / settings.rate)
        time.sleep(0.03)  # slow on fast machines, too
        return own(replica, optimizer, batch, number, settings, *more)

    monkeypatch.setattr(training, "step", noted)
    states: list[State] = []
    run(replace(wish, steps=None, minutes=0.05), parts, tmp_path / "mine.cpu1", states.append)
    assert states[-1].place == states[-1].steps
    assert len(rates) == states[-1].step < states[-1].steps
    assert rates[-1] < max(rates) / 2
    assert states[-1].looks.looks[-1].step == states[-1].step


def test_minutes_become_steps_once(wish, parts, tmp_path, monkeypatch, run):
    timed, out = replace(wish, steps=None, minutes=3.0), tmp_path / "mine.cpu1"

    def stop_at(step: int) -> Callable[[State], None]:
        return lambda state: os.kill(os.getpid(), signal.SIGINT) if state.step == step else None

    monkeypatch.setattr(training.loop, "seconds_a_step", lambda *_: 1.0)
    with pytest.raises(Ended):
        run(timed, parts, out, stop_at(0))
    plan = Folder(out).plan()
    assert plan is not None
    assert 20 < plan.settings.steps < 180
    assert plan.settings.rate_at(plan.settings.steps - 1) < plan.settings.rate / 10
    monkeypatch.setattr(training.loop, "seconds_a_step", None)
    with pytest.raises(Ended):
        run(timed, parts, out, stop_at(2))
    assert Folder(out).plan() == plan


def test_a_folder_of_another_training_is_refused(whole, wish, parts, shared, run):
    with pytest.raises(UserError, match="holds a training with another seed"):
        run(replace(wish, seed=1), parts, shared / "whole.cpu1")
    with pytest.raises(UserError, match="holds a training with another text"):
        run(wish, divide([b"another text of some lines\n" * 3000]), shared / "whole.cpu1")


def test_a_folder_of_somebody_else_is_refused(wish, parts, tmp_path, run):
    folder = tmp_path / "mine.cpu1.adapting"
    folder.mkdir()
    (folder / "letter.txt").write_text("dear")
    with pytest.raises(UserError, match=r"holds letter\.txt, which is not ours"):
        run(wish, parts, tmp_path / "mine.cpu1")
    assert [each.name for each in folder.iterdir()] == ["letter.txt"]


def test_a_model_from_nothing_learns(wish, parts, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "SCRATCH", ("04", "demo"))
    folder = Folder(tmp_path / "mine.cpu1")
    looks = train(wish, nothing(), parts, folder)
    assert looks.best.bits_per_byte < looks.looks[0].bits_per_byte - 1
    assert cpu1.load(folder.best).about["run"]["scale"] == "demo"


def test_looks_know_their_best():
    looks = Looks().with_look(Look(0, 3.0)).with_look(Look(4, 2.0)).with_look(Look(8, 2.5)).with_look(Look(8, 2.6))
    assert looks.best == Look(4, 2.0)
    assert looks.since_best == 1
    assert len(looks.looks) == 3


def test_a_model_of_tokens_is_refused(tmp_path):
    from helpers.packing import packed_run

    with pytest.raises(UserError):
        open_model(Path(packed_run("01", tmp_path).path))
