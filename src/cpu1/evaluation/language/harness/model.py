"""The model `cpu1` of lm-evaluation-harness: a packed file in the engine, without torch.

Importing this module registers it. Versions of the harness after 0.4.13 find it by its entry point; for others
`cpu1 lm-eval` imports it. A token is a byte of text, also in models of BPE tokens.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from threading import Event
from typing import Any, TypeVar

from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from lm_eval.api.registry import register_model
from tqdm import tqdm

from cpu1.errors import UserError
from cpu1.evaluation.language.harness.writing import Wish, wishes, written
from cpu1.evaluation.language.sharing import Asked, in_order, key
from cpu1.evaluation.language.work import in_blocks
from cpu1.runtime.default import default_model
from cpu1.runtime.model import Model
from cpu1.runtime.units import Units, parts

T = TypeVar("T")
R = TypeVar("R")

NAME = "cpu1"
BLOCK = 200  # requests that one session reads, in the order of their texts


@register_model(NAME)
class Cpu1(LM):
    """A packed model that answers the harness's requests. Each context starts a document, and none is ever cut."""

    def __init__(
        self,
        path: str | Path | None = None,
        threads: int = 1,
        arithmetic: str | None = None,
        batch_size: object = None,
        max_batch_size: object = None,
        device: object = None,
        **unknown: object,
    ) -> None:
        """`path`: a packed file (default: the bundled model). `threads`, `arithmetic` as in `cpu1.load`.

        The harness passes the three others to every model; here they have no effect. UserError for any more.
        """
        super().__init__()
        if unknown:
            raise UserError(f"model_args: cpu1 has no {', '.join(unknown)}; it has path, threads and arithmetic")
        self.model = Model(default_model() if path is None else path, threads, arithmetic)
        self._left = Event()  # the evaluation was interrupted: its threads end, too

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """The log-probability of each continuation in nats, and whether the model would write it at temperature 0."""
        asked = [Asked(*map(self.model.encode, request.args)) for request in requests]
        # texts that begin alike come into one block, where their beginning is read once
        order = sorted(range(len(asked)), key=lambda number: key(asked[number]))
        found = self._in_blocks(self._read, [asked[number] for number in order], BLOCK, "loglikelihood", disable_tqdm)
        by_number = dict(zip(order, found, strict=True))
        answers = [by_number[number] for number in range(len(asked))]
        self._keep("loglikelihood", requests, answers)
        return answers

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = False) -> list[float]:
        """The log-probability of each text in nats, as a whole document."""
        texts = [self.model.encode(*request.args) for request in requests]
        answers = list(self._in_blocks(self._read_whole, texts, 1, "loglikelihood_rolling", disable_tqdm))
        self._keep("loglikelihood_rolling", requests, answers)
        return answers

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """What the model writes after each context, up to a string of `until` or `max_gen_toks` bytes (256).

        Greedily unless `do_sample` or a temperature asks for more. UserError for values that `cpu1 generate` refuses.
        """
        wanted: list[Wish] = wishes(request.args for request in requests)
        with tqdm(total=len(wanted), desc="generate_until", disable=disable_tqdm) as bar:
            answers = written(self.model, wanted, self.model.threads, bar.update)
        self._keep("generate_until", requests, answers)
        return answers

    def get_model_info(self) -> dict[str, Any]:
        """What the harness adds to its results."""
        return {"model_file": self.model.path.name, "model_run": self.model.about["run"]}

    def _in_blocks(
        self, work: Callable[[Sequence[T]], list[R]], items: Sequence[T], size: int, name: str, quiet: bool
    ) -> Iterator[R]:
        with tqdm(total=len(items), desc=name, disable=quiet) as bar:
            try:
                yield from in_blocks(work, items, self.model.threads, lambda done, _: bar.update(done - bar.n), size)
            except BaseException:
                self._left.set()
                raise

    def _read(self, asked: Sequence[Asked]) -> list[tuple[float, bool]]:
        found: dict[int, tuple[float, bool]] = {}
        for number, cost in in_order(self.model.units(threads=1), asked, greedy=True):
            found[number] = -float(cost.nats.sum()), bool(cost.greedy)
            if self._left.is_set():
                break
        return [found[number] for number in sorted(found)]

    def _read_whole(self, texts: Sequence[Units]) -> list[float]:
        found = []
        for units in texts:
            stream = self.model.units(threads=1)
            found.append(-sum(float(stream.score(part).sum()) for part in parts(units) if not self._left.is_set()))
        return found

    def _keep(self, name: str, requests: Sequence[Instance], answers: Sequence[Any]) -> None:
        """Puts answers into the harness's cache, where one was asked for."""
        for request, answer in zip(requests, answers, strict=True):
            self.cache_hook.add_partial(name, request.args, answer)
