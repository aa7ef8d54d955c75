"""The commands for short messages: train, encode, decode."""

import argparse
import base64
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from cpu1.cli.options import (
    PACKED,
    STANDARD,
    Command,
    byte_size,
    field_option,
    input_bytes,
    keep_inputs,
    model_option,
    model_path,
    out_option,
    quiet_option,
    threads_option,
)
from cpu1.errors import UserError

if TYPE_CHECKING:
    from cpu1.messages import Codec

ACTIONS = ("train", "encode", "decode")
ADAPTER = ".cpa"
MINUTES = 5.0
MOST_BYTES = "1M"  # that train reads


def add(command: Command) -> None:
    """Adds the commands `messages train`, `messages encode` and `messages decode`."""
    p = command(
        train,
        "messages train",
        "messages train notes.txt -o mine.cpa",
        "messages train chat.jsonl --field body -o mine.cpu1 --minutes 10",
    )
    p.add_argument(
        "files",
        type=Path,
        nargs="+",
        metavar="FILE",
        help="messages of your own, one a line, or records of .jsonl; - is standard input",
    )
    out_option(
        p,
        f"what to write: an adapter ({ADAPTER}), which takes about a minute a megabyte, or a model ({PACKED}), which "
        "takes longer and needs torch",
        required=True,
    )
    model_option(p, "packed model to start from")
    p.add_argument("--minutes", type=float, metavar="MINUTES", help=f"time to train a model (default: {MINUTES:g})")
    p.add_argument("--scratch", action="store_true", help="train a small model from nothing")
    p.add_argument(
        "--most",
        type=byte_size,
        default=MOST_BYTES,
        metavar="SIZE",
        help="use at most this much text, evenly spaced messages (default: %(default)s)",
    )
    field_option(p)
    threads_option(p, "threads of training", "all cores")
    quiet_option(p)

    p = command(
        encode,
        "messages encode",
        "messages encode hello.txt -o hello.code",
        "messages encode --text hello.txt",
        "messages encode --lines --adapter mine.cpa < notes.txt > codes.txt",
    )
    _coding(p, "a message", "code to write")
    p = command(
        decode,
        "messages decode",
        "messages decode hello.code",
        "messages decode --lines --adapter mine.cpa < codes.txt",
        "messages decode --jsonl --codec 7e0c4f21 -m mine.cpu1 < codes.jsonl",
    )
    _coding(p, "a code", "message to write")


def _coding(p: argparse.ArgumentParser, what: str, out: str) -> None:
    """What encode and decode share."""
    p.add_argument(
        "file",
        type=Path,
        nargs="?",
        default=Path(STANDARD),
        metavar="FILE",
        help=f"file that holds {what}, or many with --lines or --jsonl (default: standard input)",
    )
    out_option(p, f"{out} (default: standard output)")
    model_option(p, "packed model, the same on both sides")
    p.add_argument(
        "--adapter",
        type=Path,
        metavar="FILE",
        help="adapter of `cpu1 messages train` or `cpu1 learn`, the same on both sides",
    )
    p.add_argument(
        "--sample", type=Path, metavar="FILE", help="messages to read first, one a line, the same on both sides"
    )
    p.add_argument("--text", action="store_true", help="code as characters, which SMS and JSON carry as they are")
    p.add_argument("--lines", action="store_true", help="one message a line, and one code a line, as characters")
    p.add_argument(
        "--jsonl", action="store_true", help='one record a line: a message is {"text": ...}, a code {"code": ...}'
    )
    p.add_argument("--check", action="store_true", help="codes have one byte more, by which most damage is noticed")
    p.add_argument("--codec", metavar="NAME", help="stop unless the codec has this name, which train prints")
    p.add_argument(
        "--plain", action="store_true", help="use arithmetic that every processor has: slower, and other codes"
    )


def encode(args: argparse.Namespace) -> int:
    """Code a message in few bytes, or many messages.

    The other side needs the same model and options: a code has no head, and holds nothing but the message.
    """
    return _code(args, encodes=True)


def decode(args: argparse.Namespace) -> int:
    """Restore a message from its code, or many messages.

    The model and the options must be those of `cpu1 messages encode`.
    """
    return _code(args, encodes=False)


def train(args: argparse.Namespace) -> int:
    """Adapt a model to messages of your own.

    Their codes become shorter. One message in twenty is held out, 200 at most, to show by how much. The last line
    names the codec.
    """
    from cpu1.messages import Codec
    from cpu1.messages.learned import mean_bytes
    from cpu1.messages.sample import part

    out, start = args.out, model_path(args)
    if out.suffix not in (ADAPTER, PACKED):
        raise UserError(f"{out}: must end in {ADAPTER} (an adapter) or {PACKED} (a model)")
    keep_inputs(out, start, *args.files)
    parts = part([message for file in args.files for message in _sample(file, args.field)], args.most)
    before = Codec(start)
    status = _learn(args, parts.known, start) if out.suffix == ADAPTER else _train(args, parts.known, start)
    if status:
        return status
    after = Codec(start, out) if out.suffix == ADAPTER else Codec(out)
    then, now = (mean_bytes([codec.encode(message) for message in parts.held_out]) for codec in (before, after))
    print(
        f"{len(parts.held_out)} messages held out: {mean_bytes(parts.held_out):.1f} bytes each, as codes "
        f"{then:.1f} before and {now:.1f} now"
    )
    print(f"{out}: {out.stat().st_size:,} bytes, codec {after.name}")
    return 0


def _learn(args: argparse.Namespace, known: tuple[bytes, ...], start: Path) -> int:
    from cpu1.messages.learned import learn

    if args.minutes is not None or args.scratch:
        raise UserError(f"--minutes and --scratch are for a model; name it with -o FILE{PACKED}")
    learn(known, start, args.out)
    return 0


def _train(args: argparse.Namespace, known: tuple[bytes, ...], start: Path) -> int:
    from cpu1.cli.training import training_report
    from cpu1.training.codec import train_codec
    from cpu1.training.loop import Interrupted

    minutes = MINUTES if args.minutes is None else args.minutes
    try:
        with training_report(args.quiet, args.out.with_name(f"{args.out.name}.run")) as report:
            train_codec(known, args.out, None if args.scratch else start, minutes, args.threads, report)
    except Interrupted:
        print("cpu1: interrupted and saved; run the same command again to continue", file=sys.stderr)
        return 130
    return 0


def _sample(file: Path, field: str) -> Iterator[bytes]:
    """The messages of a file: its lines, or its records."""
    if file.suffix == ".jsonl":
        from cpu1.data.sources import documents

        yield from documents(str(file), field)
    else:
        yield from input_bytes(file).splitlines()


# -------------------------------------------------------------------------------- encode and decode


def _codec(args: argparse.Namespace) -> "Codec":
    from cpu1.messages import Codec
    from cpu1.messages.codec import ARITHMETIC

    sample = None if args.sample is None else [line for line in input_bytes(args.sample).splitlines() if line]
    arithmetic = "plain" if args.plain else ARITHMETIC
    codec = Codec(model_path(args), args.adapter, sample=sample, check=args.check, arithmetic=arithmetic)
    if args.codec and args.codec != codec.name:
        raise UserError(f"this is codec {codec.name}, not {args.codec}: the model, adapter, sample or --plain differs")
    return codec


def _code(args: argparse.Namespace, encodes: bool) -> int:
    from cpu1.cli.archives import write_out

    keep_inputs(args.out, args.file, model_path(args), args.adapter, args.sample)
    if args.lines or args.jsonl:
        return _rows(args, encodes)
    data, codec = input_bytes(args.file), _codec(args)
    code = _encoder(codec, args.text) if encodes else _decoder(codec, args.text)
    out = args.out or Path(STANDARD)
    if str(out) == STANDARD and encodes and not args.text and sys.stdout.isatty():
        raise UserError("a code would garble the terminal; give --text, or name a file with -o")
    try:
        result = code(data)
    except UserError as error:
        raise UserError(f"{args.file}: {error}") from None
    write_out(out, result)
    return 0


def _encoder(codec: "Codec", text: bool) -> Callable[[bytes], bytes]:
    from cpu1.messages import to_text

    return lambda data: to_text(codec.encode(data)).encode() + b"\n" if text else codec.encode(data)


def _decoder(codec: "Codec", text: bool) -> Callable[[bytes], bytes]:
    from cpu1.messages import from_text

    return lambda data: codec.decode(from_text(data.decode("latin-1").strip()) if text else data)


def _rows(args: argparse.Namespace, encodes: bool) -> int:
    """A message a line. Each result is written at once, so that a program can talk to this one through pipes."""
    if args.lines and args.jsonl:
        raise UserError("--lines and --jsonl exclude each other")
    if args.out is not None and str(args.out) != STANDARD:
        raise UserError("with --lines and --jsonl, results go to standard output")
    codec, failed = _codec(args), False
    code = _encoder(codec, True) if encodes else _decoder(codec, True)
    coded, restored = (_coded, _restored) if args.jsonl else (_line_coded, _line_restored)
    work = coded if encodes else restored
    for number, line in enumerate(_lines(args.file), 1):
        try:
            result = work(code, line)
        except UserError as error:
            if not args.jsonl:
                raise UserError(f"{args.file}, line {number}: {error}") from None
            result, failed = _json({"error": str(error)}), True
        sys.stdout.buffer.write(result)
        sys.stdout.buffer.flush()
    return int(failed)


def _lines(file: Path) -> Iterator[bytes]:
    try:
        with _input(file) as rows:
            for row in rows:
                yield row.removesuffix(b"\n")
    except OSError as error:
        raise UserError(f"{file}: not readable ({error.strerror})") from None


def _input(file: Path) -> BinaryIO:
    return sys.stdin.buffer if str(file) == STANDARD else file.open("rb")


def _line_coded(encode: Callable[[bytes], bytes], line: bytes) -> bytes:
    return encode(line)


def _line_restored(decode: Callable[[bytes], bytes], line: bytes) -> bytes:
    message = decode(line)
    if b"\n" in message:
        raise UserError("the message has several lines; decode it with --jsonl")
    return message + b"\n"


def _coded(encode: Callable[[bytes], bytes], line: bytes) -> bytes:
    message = _record(line, "text", "base64")
    return _json({"code": encode(message).decode().strip()})


def _restored(decode: Callable[[bytes], bytes], line: bytes) -> bytes:
    message = decode(_record(line, "code"))
    try:
        return _json({"text": message.decode()})
    except UnicodeDecodeError:
        return _json({"base64": base64.b64encode(message).decode()})


def _record(line: bytes, *names: str) -> bytes:
    """The bytes of the first of these fields that a line of JSON has; base64 is decoded."""
    from cpu1.runtime.text import as_bytes

    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        raise UserError("not a line of JSON") from None
    for name in names:
        value = record.get(name) if isinstance(record, dict) else None
        if isinstance(value, str):
            try:
                return base64.b64decode(value, validate=True) if name == "base64" else as_bytes(value)
            except ValueError:
                raise UserError(f"field {name!r} is not valid") from None
    raise UserError(f"no field {names[0]!r} with a string")


def _json(record: dict[str, Any]) -> bytes:
    return json.dumps(record, ensure_ascii=False).encode() + b"\n"
