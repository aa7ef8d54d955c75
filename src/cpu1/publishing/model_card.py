"""The model card of a run as Markdown, with the front matter of the Hugging Face hub.

Front matter: https://huggingface.co/docs/hub/model-cards. Its values are written as JSON, which YAML includes, so that
no name of a text or a run can break it.
"""

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from cpu1.errors import UserError
from cpu1.evaluation.statistics import Interval, bpb_interval
from cpu1.publishing.facts import Facts, Terms
from cpu1.runs.folders import LANGUAGE
from cpu1.runs.result import Generation, HeldOut

HUB = "hf:"  # how a text on the hub is named when training
DENSE = {"int8": "8 bits, with a scale a row", "bf16": "bfloat16", "fp32": "fp32"}


def model_card(facts: Facts, terms: Terms, file: str, size: int, dense: str, unpacked: bool) -> str:
    """The card beside the packed `file` of `size` bytes; `unpacked`: fp32 weights are in the same folder."""
    sections = [
        _front_matter(facts, terms),
        f"# {title(facts)}\n\n{_is(facts)}",
        f"## Use\n\n{_use(file, unpacked)}",
        f"## Figures\n\n{_figures(facts, file, size)}",
        f"## Training\n\n{_training(facts, terms)}",
        f"## A sample\n\n{_sample(facts.result.generation)}",
        f"## Limits\n\n{_limits(facts, file, dense)}",
        f"## Licence\n\n{terms.license}",
    ]
    return "\n\n".join(sections) + "\n"


def title(facts: Facts) -> str:
    """One line: which run, at which scale, and what it is."""
    result = facts.result
    return f"CPU-1 run_{result.run}, {result.scale}, {result.round}: {result.title}"


def bits(facts: Facts) -> str:
    """Bits per byte with their interval."""
    low, high = facts.result.bpb_interval
    return f"{Interval(facts.result.bpb, low, high, seeds=False):.3f}"


def speed(facts: Facts) -> str:
    """Generated a second, one stream and one thread, where it was measured."""
    return f"{facts.speed.bytes_per_s:,.0f} bytes" if facts.speed else "not measured"


def _front_matter(facts: Facts, terms: Terms) -> str:
    result, corpus = facts.result, facts.result.corpus
    source = facts.settings.data_source
    on_hub = (source.removeprefix(HUB).partition(":")[0],) if source.startswith(HUB) else ()
    linear = facts.recipe.get("linear") or {}
    tags = ["cpu1", "cpu", "byte-level" if result.level == "byte" else "bpe"]
    tags += ["ternary"] if linear.get("kind") == "Ternary" else []
    measured = {
        "task": {"type": "text-generation"},
        "dataset": {"name": f"{corpus.name}, {corpus.split}", "type": corpus.name, "split": corpus.split},
        "metrics": [{"type": "bits_per_byte", "name": "bits per byte", "value": round(result.bpb, 4)}],
    }
    values: dict[str, Any] = {
        "license": terms.license,
        "language": list(terms.language),
        "library_name": "cpu1",
        "pipeline_tag": "text-generation",
        "tags": tags,
        "datasets": list(dict.fromkeys([*terms.datasets, *on_hub])),
        "model-index": [{"name": facts.name, "results": [measured]}],
    }
    lines = [f"{name}: {json.dumps(value, ensure_ascii=False)}" for name, value in values.items() if value]
    return "\n".join(["---", *lines, "---"])


def _is(facts: Facts) -> str:
    result, recipe = facts.result, facts.recipe
    words = recipe["embedding"]["kind"] == "WordPatchEmbedding"
    patches = "in patches that end behind words" if words else "four to a patch"
    reads = f"raw bytes, {patches}" if result.level == "byte" else "BPE tokens"
    parts = {name: value["kind"] for name, value in recipe.items() if isinstance(value, dict) and name != "distill"}
    listed = ", ".join(f"{name} {kind}" for name, kind in parts.items())
    return (
        f"A language model for CPUs that reads {reads}: {result.params:,} parameters, width {recipe['width']}, "
        f"{recipe['layers']} layers. Its parts: {listed}."
    )


def _use(file: str, unpacked: bool) -> str:
    text = f"""With cpu1 installed, in this folder:

```sh
cpu1 generate "Once upon a time" -m {file}
```

```python
import cpu1

model = cpu1.load("{file}")  # needs numpy, no torch
print(model.generate("Once upon a time", max_bytes=200, temperature=0.8))
```"""
    if not unpacked:
        return text
    return f"""{text}

`model.safetensors` holds the weights unpacked, in fp32; with `recipe.json` and `settings.json` the folder is a run
folder of cpu1: `cpu1 generate "Once upon a time" -m .` runs it through torch, `cpu1 eval . --data FILE` scores a text,
`cpu1 pack .` packs it again."""


def _figures(facts: Facts, file: str, size: int) -> str:
    result, corpus = facts.result, facts.result.corpus
    rows = [
        ("bits per byte, 95%", bits(facts)),
        ("measured on", f"{_words(corpus.name)}, {corpus.split}: {corpus.documents} documents, {corpus.bytes:,} "
                        f"bytes, looking back at most {corpus.context:,} bytes"),
        *([("read as whole documents", f"{result.document_bpb:.3f}")] if result.document_bpb else []),
        ("of byte frequencies alone", f"{result.frequency_bpb:.3f}"),
        ("generated a second", f"{speed(facts)}{_machine(facts)}"),
        ("file", f"`{file}`, {size:,} bytes"),
        ("parameters", f"{result.params:,}"),
    ]  # fmt: skip
    if result.gate:
        rows.append(("patches deleted", f"{result.gate.deletion_rate:.0%}"))
    try:
        rows += [*_other_texts(facts.held_out), *_language(facts.language)]
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{facts.folder / LANGUAGE}: not what `cpu1 check` writes ({error!r})") from None
    return _table(rows)


def _other_texts(held_out: dict[str, HeldOut]) -> Iterator[tuple[str, str]]:
    for name, found in held_out.items():
        interval = bpb_interval(found.documents.nats_D, found.documents.bytes_D)
        whole = f"; read as whole documents {found.document_bpb:.3f}" if found.document_bpb else ""
        yield f"bits per byte of {_words(name)}, 95%", f"{interval:.3f}, {found.corpus.bytes:,} bytes{whole}"


def _language(found: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The lines of `cpu1 check`."""
    if blimp := found.get("blimp"):
        yield "BLiMP, chance 50%", f"{_percent(blimp['accuracy'], blimp['interval'])} of {blimp['pairs']:,} pairs"
    if lambada := found.get("lambada"):
        share = _percent(lambada["accuracy"], lambada["interval"])
        yield "LAMBADA, greedy", f"{share} of last words, {lambada['bits_per_word']:.1f} bits a word"
    if (words := found.get("words")) and words["share"] is not None:
        beside = f"; of held-out text {words['heldout']['share']:.1%}" if "heldout" in words else ""
        share = _percent(words["share"], words["interval"])
        yield "written words that are in the training text", f"{share} at temperature {words['temperature']:g}{beside}"


def _percent(value: float, interval: list[float | None]) -> str:
    low, high = interval
    return f"{Interval(value, low, high, seeds=False):.1%}"


def _machine(facts: Facts) -> str:
    if not facts.speed:
        return ""
    return f", one thread, {facts.speed.engine} engine, {facts.speed.processor or facts.env.processor}"


def _training(facts: Facts, terms: Terms) -> str:
    result, settings, env = facts.result, facts.settings, facts.env
    unit = "bytes" if result.level == "byte" else "tokens"
    version = f", cpu1 {env.cpu1}" if env.cpu1 else ""  # none is known of a source tree
    rows = [
        ("text", f"{_words(settings.data)} (SHA-256 of the corpus {settings.data_sha256})"),
        ("budget", f"{result.bytes_seen:,} bytes of text: {result.tok_per_param:.2f} {unit} a parameter, "
                   f"round {result.round}"),
        ("steps", f"{settings.steps:,} of {settings.batch} windows of {settings.window:,} {unit}"),
        ("learning rate", f"{settings.rate:g}"),
        ("precision", settings.precision),
        ("seed", result.seed),
        ("took", f"{_duration(result.train.seconds)} on {env.device} ({env.processor}, "
                 f"{env.threads} threads), torch {env.torch}{version}"),
    ]  # fmt: skip
    if settings.teacher:
        rows.append(("teacher", f"a byte-level run whose weights begin with SHA-256 {settings.teacher}"))
    elif cache := settings.teacher_cache:
        rows.append(("teacher", f"what `cpu1 teach` kept of one (cache {cache}), {settings.alpha:g} of the loss, at "
                                f"temperature {settings.temperature:g}"))  # fmt: skip
    if settings.start:
        rows.append(("started from", f"weights of a file with SHA-256 {settings.start}…"))
    table = _table(rows)
    return f"{table}\n\n{terms.about_text.strip()}" if terms.about_text.strip() else table


def _sample(generation: Generation) -> str:
    text = f"{generation.prompt}\u2502{generation.sample}"
    return (
        f"After \u2502 the model continues (temperature 0.8, top-p 0.95); the generation test says "
        f"{generation.verdict}, which shows that a text is not broken, not that it is good.\n\n" + _indented(text)
    )


def _limits(facts: Facts, file: str, dense: str) -> str:
    return "\n".join(f"- {line}" for line in _limit_lines(facts, file, dense))


def _limit_lines(facts: Facts, file: str, dense: str) -> Iterator[str]:
    window, corpus = facts.settings.window, facts.result.corpus
    unit = "bytes" if facts.result.level == "byte" else "tokens"
    yield "It continues text. It was not taught to answer, to follow instructions or to be right."
    yield "It repeats what texts like its training text say, whatever that is. Nothing that it writes is filtered."
    yield (
        f"It was trained on windows of {window:,} {unit}, and measured on held-out documents of {_words(corpus.name)}: "
        "other kinds of text cost it more."
    )
    yield "The interval is over documents; this is one seed, so it leaves out the luck of training."
    yield (
        f"Bits per byte are those of the fp32 weights. In `{file}` ternary weights are exact and the other matrices "
        f"are in {DENSE[dense]}."
    )


def _table(rows: Sequence[tuple[str, object]]) -> str:
    return "\n".join(["| | |", "| :-- | :-- |", *(f"| {_cell(name)} | {_cell(value)} |" for name, value in rows)])


def _duration(seconds: float) -> str:
    return f"{seconds / 3600:.1f} hours" if seconds >= 3600 else f"{seconds / 60:.1f} minutes"


def _cell(value: object) -> str:
    return re.sub(r"(?<!\\)\|", r"\|", str(value).replace("\n", " "))


def _words(name: str) -> str:
    """A name that a user gave, without the marks of Markdown and HTML."""
    return re.sub(r"([\\`*\[\]<>|])", r"\\\1", name.replace("\n", " "))


def _indented(text: str) -> str:
    """A code block that no text can end."""
    return "\n".join(f"    {line}" for line in text.splitlines())
