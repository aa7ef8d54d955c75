"""Writes the corpora again: tiny models of every kind, and a file of each other kind: `python fuzz/seeds.py`.

Weights are random and the same in each run. What a fuzzer finds joins a corpus by hand, as a file of its own.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from helpers.packing import pack_model, randomised  # noqa: E402

import cpu1  # noqa: E402
from cpu1.data.bpe import FORMAT  # noqa: E402
from cpu1.files import write_atomic, write_json  # noqa: E402
from cpu1.model import ladder  # noqa: E402
from cpu1.model.ingredients import DocumentMemory  # noqa: E402
from cpu1.model.ladder import Scale  # noqa: E402
from cpu1.runs.settings import Settings  # noqa: E402
from cpu1.runtime import adapter, archive  # noqa: E402

CORPUS = Path(__file__).parent / "corpus"
TINY = Scale(8, 2, (8, 8), 1 / 64, 8, 256, 64, 1e-3, 16)
RUNS = ("02a", "08", "10", "18", "19")  # every operation between them
TEXT = b"a memory of the document: a memory of the document"


def packed() -> None:
    """Models of two to ten kilobytes, and their programs."""
    for run in RUNS:
        recipe = ladder.scaled(ladder.recipe(run), TINY)
        if isinstance(recipe.recall, DocumentMemory):  # so that a state is small
            recipe = recipe.replace(recall=replace(recipe.recall, slots=16, history=256))
        pair = pack_model(randomised(recipe), CORPUS / "packed" / f"{run}.cpu1", "int8")
        write_json(CORPUS / "program" / f"{run}.json", pair.packed.program.to_json())
        write_json(CORPUS / "recipe" / f"{run}.json", recipe.to_json())


def readers() -> None:
    """An archive of each version, an adapter, settings."""
    path = CORPUS / "packed" / "18.cpu1"
    model = cpu1.load(path)
    for folder in ("archive", "adapter", "state", "settings", "tokenizer", "program", "recipe"):
        (CORPUS / folder).mkdir(exist_ok=True)
    for name, learn, block in (("frozen", False, None), ("learned", True, None), ("blocks", True, 16)):
        write_atomic(CORPUS / "archive" / f"{name}.cpz", archive.compress(TEXT, model, block, learn=learn))
    learning = cpu1.load(path, learn=True)
    learning.prime(TEXT.decode())
    adapter.write(learning, CORPUS / "adapter" / "notes.cpa")
    settings = Settings("run_18", "18", None, "byte", "demo", "r1", 0, "text", "text.txt", "0" * 64, 9, 8, 1024, 3e-3)
    write_json(CORPUS / "settings" / "settings.json", settings.to_json())
    merges = [[104, 101], [257, 108], [116, 104]]
    write_json(CORPUS / "tokenizer" / "tokenizer.json", {"format": FORMAT, "vocabulary": 300, "merges": merges})
    write_atomic(CORPUS / "state" / "read", bytes([1, len(TEXT)]) + TEXT + bytes([40, 0, 0, 0, 2, 7, 9]))
    write_atomic(CORPUS / "state" / "cut", bytes([2, 5]) + TEXT[:5] + bytes([99, 1, 0, 0, 9]))


def requests() -> None:
    """Each with a byte of options before it."""
    (CORPUS / "server").mkdir(exist_ok=True)
    user = [{"role": "system", "content": "Short."}, {"role": "user", "content": "Hi"}]
    bodies = {
        "completion": ("/v1/completions", {"prompt": "a memory", "max_tokens": 4, "seed": 7, "n": 2, "best_of": 3}),
        "stream": (
            "/v1/completions",
            {"prompt": ["a", "b"], "max_tokens": 5, "stream": True, "stream_options": {"include_usage": True}},
        ),
        "echo": ("/v1/completions", {"prompt": [[97, 32]], "max_tokens": 0, "echo": True, "logprobs": 2}),
        "sampling": (
            "/v1/completions",
            {"prompt": "a", "temperature": 0.5, "top_p": 0.9, "top_k": 3, "min_p": 0.1, "stop": ["\n", "x"]},
        ),
        "chat": ("/v1/chat/completions", {"messages": user, "max_tokens": 3, "stop": "."}),
        "score": ("/v1/score", {"input": ["a memory", "of the"], "model": "tiny"}),
        "judge": ("/v1/judge", {"input": TEXT.decode()}),
    }
    for name, (path, body) in bodies.items():
        data = json.dumps(body).encode()
        lines = (
            f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
        )
        write_atomic(CORPUS / "server" / name, b"\0" + lines.encode() + data)
    chunked = (
        b"POST /v1/score HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    write_atomic(CORPUS / "server" / "chunked", b"\2" + chunked + b'10\r\n{"input": "abcd"\r\n1\r\n}\r\n0\r\n\r\n')
    for name, line in {"models": "GET /v1/models/tiny", "metrics": "GET /metrics", "page": "GET /openapi.json"}.items():
        write_atomic(
            CORPUS / "server" / name, f"\1{line} HTTP/1.1\r\nHost: x\r\nOrigin: https://example.org\r\n\r\n".encode()
        )


if __name__ == "__main__":
    packed()
    readers()
    requests()
    print(json.dumps({folder.name: sum(f.stat().st_size for f in folder.iterdir()) for folder in CORPUS.iterdir()}))
