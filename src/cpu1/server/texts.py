"""Writes what a request asks for: whole texts, or their pieces as they come."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence

from cpu1.runtime.batch import Piece
from cpu1.runtime.model import Model
from cpu1.runtime.sampling import SamplingOptions
from cpu1.server.asked import Asked
from cpu1.server.errors import ApiError
from cpu1.server.readers import Check, Readers
from cpu1.server.shapes import Choice, Shape, Usage
from cpu1.server.tracing import Row, Tracer
from cpu1.server.writer import Task, Writer, Writing

NOTHING = Piece(-1, "", b"", None, "limit")  # of a text of no bytes


class Texts:
    """The texts of one request, from when they are taken on until they are answered or nobody wants them."""

    def __init__(self, asked: Asked, model: Model, writer: Writer, readers: Readers) -> None:
        """Takes them on. ApiError where too many wait."""
        self._asked, self._model, self._writer, self._readers = asked, model, writer, readers
        self._news = asyncio.Event()
        self._writings = [
            Writing(_task(asked, prompt, number), self._news)
            for prompt in asked.prompts
            for number in range(asked.best)
        ]
        if asked.max_bytes:
            writer.submit(self._writings)
        self.written = 0  # bytes

    def usage(self) -> Usage:
        """What it took so far."""
        return Usage(sum(map(len, self._asked.prompts)), self.written)

    def leave(self) -> None:
        """Nobody wants them any more; after the end, this does nothing."""
        if self._asked.max_bytes:
            self._writer.leave(self._writings)

    async def whole(self) -> list[Choice]:
        """All texts, when all are written."""
        asked = self._asked
        found: list[list[Piece]] = [[] for _ in self._writings]
        async for index, pieces in self._news_of_each():
            found[index].extend(pieces)
        choices: list[Choice] = []
        for number, prompt in enumerate(asked.prompts):
            group = found[number * asked.best : (number + 1) * asked.best]
            for pieces in _likeliest(group, asked.n):
                rows = await self._rows(prompt, pieces) if asked.tops is not None else None
                begin = prompt.decode(errors="replace") if asked.echo else ""
                text = begin + "".join(piece.text for piece in pieces)
                choices.append(Choice(len(choices), text, rows, pieces[-1].end))
        return choices

    async def pieces(self) -> AsyncGenerator[Choice]:
        """Pieces of all texts, as they come; those that came since the last look are one. `best` equals `n`."""
        asked = self._asked
        tracers = [None if asked.tops is None else Tracer(self._model, asked.tops) for _ in self._writings]
        for index, tracer in enumerate(tracers):
            prompt = asked.prompts[index // asked.best]
            rows = None
            if tracer is not None:
                rows = await self._readers.run(_of_prompt(tracer, prompt, asked.echo))
            if asked.echo:
                yield Choice(index, prompt.decode(errors="replace"), rows, None)
        async for index, pieces in self._news_of_each():
            tracer, text, end = tracers[index], "".join(piece.text for piece in pieces), pieces[-1].end
            rows = None if tracer is None else await self._readers.run(_of_pieces(tracer, pieces))
            if text or end or rows:
                yield Choice(index, text, rows, end)

    async def _news_of_each(self) -> AsyncGenerator[tuple[int, list[Piece]]]:
        """What came of each text since the last look, with the text's number; ApiError where one cannot be written."""
        if not self._asked.max_bytes:
            for index in range(len(self._writings)):
                yield index, [NOTHING]
            return
        going = dict(enumerate(self._writings))
        while going:
            await self._news.wait()
            self._news.clear()
            for index, writing in list(going.items()):
                if pieces := writing.take():
                    if pieces[-1].end == "error":
                        raise ApiError(500, "the model's scores are not finite: its file is damaged", code="model")
                    if pieces[-1].end:
                        del going[index]
                    self.written += sum(len(piece.data) for piece in pieces)
                    yield index, pieces
                if writing.failure:
                    raise writing.failure

    async def _rows(self, prompt: bytes, pieces: Sequence[Piece]) -> list[Row]:
        asked = self._asked

        def work(check: Check) -> list[Row]:
            tracer = Tracer(self._model, asked.tops or 0)
            rows = _of_prompt(tracer, prompt, asked.echo)(check) or []
            return rows + _of_pieces(tracer, pieces)(check)

        return await self._readers.run(work)


def _of_prompt(tracer: Tracer, prompt: bytes, wanted: bool) -> Callable[[Check], list[Row] | None]:
    return lambda check: tracer.trace(prompt, check) if wanted else tracer.read(prompt, check)


def _of_pieces(tracer: Tracer, pieces: Sequence[Piece]) -> Callable[[Check], list[Row]]:
    def work(check: Check) -> list[Row]:
        rows = tracer.trace(b"".join(piece.data for piece in pieces), check)
        return rows + [tracer.end()] * (pieces[-1].end == "end")

    return work


def _task(asked: Asked, prompt: bytes, number: int) -> Task:
    sampling: SamplingOptions = {**asked.sampling, "seed": asked.sampling["seed"] + number}
    ranked = asked.best > asked.n
    return Task(prompt, asked.max_bytes, asked.stop, sampling, ranked, asked.may_end, asked.stream)


def _likeliest(texts: list[list[Piece]], n: int) -> list[list[Piece]]:
    """The `n` texts of the fewest bits a byte, likeliest first; all of them stay in their order."""
    if n == len(texts):
        return texts

    def cost(pieces: list[Piece]) -> float:
        size = sum(len(piece.data) for piece in pieces)
        return sum(float(piece.bits.sum()) for piece in pieces if piece.bits is not None) / max(size, 1)

    return sorted(texts, key=cost)[:n]


async def events(texts: Texts, shape: Shape, asked: Asked) -> AsyncGenerator[dict[str, object]]:
    """The objects of a stream."""
    for index in range(len(asked.prompts) * asked.n):
        if opening := shape.opening(index):
            yield opening
    async for choice in texts.pieces():
        yield shape.piece(choice)
    if asked.usage:
        yield shape.last(texts.usage())
