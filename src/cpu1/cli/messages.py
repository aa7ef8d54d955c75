"""The command for short messages: train, encode, decode."""

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
TRAIN_ONLY = ("minutes", "scratch", "most")
CODE_ONLY = ("adapter", "sample", "check", "codec", "text", "lines", "jsonl", "plain")
MINUTES = 5.0


def add(command: Command) -> None:
    """Adds the command `messages`."""
    p = command(
        messages,
        "messages",
        "messages encode --text hello.txt",
        "messages encode --lines < notes.txt > codes.txt",
        "messages decode --lines < codes.txt",
        "messages train notes.txt -o mine.cpa",
        "messages encode hello.txt -o hello.code --adapter mine.cpa",
        "messages train notes.txt -o mine.cpu1 --minutes 10",
    )
    p.add_argument("action", choices=ACTIONS, metavar="ACTION", help="what to do: train, encode or decode")
    p.add_argument(
        "files",
        type=Path,
        nargs="*",
        metavar="FILE",
        help="for train, messages of your own, one a line, or records of .jsonl; otherwise one file with a message or "
        "a code (default: standard input)",
    )
    out_option(
        p,
        f"for train, what to write: an adapter ({ADAPTER}), which takes a minute a megabyte, or a model ({PACKED}), "
        "which takes longer and needs torch; otherwise the result (default: standard output)",
    )
    model_option(p, "packed model, the same on both sides; train starts from it")
    p.add_argument("--adapter", type=Path, metavar="FILE", help="adapter that train wrote, the same on both sides")
    p.add_argument(
        "--sample", type=Path, metavar="FILE", help="messages to read first, one a line, the same on both sides"
    )
    p.add_argument("--text", action="store_true", help="codes as characters, which SMS and JSON carry as they are")
    p.add_argument("--lines", action="store_true", help="each line is a message, and each code a line of characters")
    p.add_argument(
        "--jsonl", action="store_true", help='each line is JSON: a message {"text": ...}, a code {"code": ...}'
    )
    p.add_argument("--check", action="store_true", help="codes have one byte more, which shows most damage")
    p.add_argument("--codec", metavar="NAME", help="refuse to start unless the codec has this name, which train prints")
    p.add_argument(
        "--plain", action="store_true", help="use arithmetic that every processor has; twenty times as slow, other codes"
    )
    p.add_argument(
        "--minutes", type=float, metavar="MINUTES", help=f"for train, time to train a model (default: {MINUTES:g})"
    )
    p.add_argument("--scratch", action="store_true", help="for train, a small model from nothing")
    p.add_argument(
        "--most", type=byte_size, metavar="SIZE", help="for train, read at most this much text (default: 1M)"
    )
    field_option(p)
    threads_option(p, "threads of training", "all cores")
    quiet_option(p)


def messages(args: argparse.Namespace) -> int:
    """Code short messages in few bytes, for narrow links.

    Encode and decode need the same model and options on both sides; the codes hold nothing but the message. Train makes
    an adapter or a model from a sample of your own messages.
    """
    _refuse(args, CODE_ONLY if args.action == "train" else TRAIN_ONLY)
    if args.action == "train":
        return _train(args)
    if len(args.files) > 1:
        raise UserError(f"messages {args.action} takes one file, not {len(args.files)}")
    file = args.files[0] if args.files else Path(STANDARD)
    if args.lines or args.jsonl:
        return _rows(args, file)
    return _one(args, file)


def _refuse(args: argparse.Namespace, names: tuple[str, ...]) -> None:
    for name in names:
        if getattr(args, name):
            raise UserError(f"messages {args.action} has no option --{name}")


# ------------------------------------------------------------------------------------------- train


def _train(args: argparse.Namespace) -> int:
    from cpu1.messages import Codec
    from cpu1.messages.learned import mean_bytes
    from cpu1.messages.sample import part

    out = args.out
    if out is None or out.suffix not in (ADAPTER, PACKED):
        raise UserError(f"messages train needs -o FILE, which ends in {ADAPTER} (an adapter) or {PACKED} (a model)")
    if not args.files:
        raise UserError("messages train needs a FILE of messages, or - for standard input")
    given = [message for file in args.files for message in _sample(file, args.field)]
    parts = part(given, args.most or 1_000_000)
    start = model_path(args)
    before = Codec(start)
    status = _learn(args, parts.known, start) if out.suffix == ADAPTER else _train_model(args, parts.known, start)
    if status:
        return status
    after = Codec(start, out) if out.suffix == ADAPTER else Codec(out)
    coded = {name: mean_bytes([c.encode(m) for m in parts.held_out]) for name, c in (("b", before), ("a", after))}
    print(
        f"{len(parts.held_out)} messages held out: {mean_bytes(parts.held_out):.1f} bytes each, as codes "
        f"{coded['b']:.1f} before and {coded['a']:.1f} now"
    )
    print(f"{out}: {out.stat().st_size:,} bytes, codec {after.name}")
    return 0


def _learn(args: argparse.Namespace, known: tuple[bytes, ...], start: Path) -> int:
    from cpu1.messages.learned import learn

    if args.minutes or args.scratch:
        raise UserError(f"--minutes and --scratch are for a model; name it with -o FILE{PACKED}")
    learn(known, start, args.out)
    return 0


def _train_model(args: argparse.Namespace, known: tuple[bytes, ...], start: Path) -> int:
    from cpu1.cli.training import training_report
    from cpu1.training.codec import train_codec
    from cpu1.training.loop import Interrupted

    try:
        with training_report(args.quiet, args.out.with_name(f"{args.out.name}.run")) as report:
            start_or_none = None if args.scratch else start
            train_codec(known, args.out, start_or_none, args.minutes or MINUTES, args.threads, report)
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


def _one(args: argparse.Namespace, file: Path) -> int:
    """A file of one message, or of its code."""
    from cpu1.cli.archives import write_out

    data, codec = input_bytes(file), _codec(args)
    try:
        result = _encoder(codec, args.text)(data) if args.action == "encode" else _decoder(codec, args.text)(data)
    except UserError as error:
        raise UserError(f"{file}: {error}") from None
    out = args.out or Path(STANDARD)
    if str(out) == STANDARD and args.action == "encode" and not args.text and sys.stdout.isatty():
        raise UserError("a code would garble the terminal; give --text, or name a file with -o")
    write_out(out, result)
    return 0


def _encoder(codec: "Codec", text: bool) -> Callable[[bytes], bytes]:
    from cpu1.messages import to_text

    return lambda data: to_text(codec.encode(data)).encode() + b"\n" if text else codec.encode(data)


def _decoder(codec: "Codec", text: bool) -> Callable[[bytes], bytes]:
    from cpu1.messages import from_text

    return lambda data: codec.decode(from_text(data.decode("latin-1").strip()) if text else data)


def _rows(args: argparse.Namespace, file: Path) -> int:
    """A message a line. Each result is written at once, so that a program can talk to this one through pipes."""
    if args.lines and args.jsonl:
        raise UserError("--lines and --jsonl exclude each other")
    if args.out is not None and str(args.out) != STANDARD:
        raise UserError("with --lines and --jsonl, results go to standard output")
    codec, failed = _codec(args), False
    encode, decode = _encoder(codec, True), _decoder(codec, True)
    for number, line in enumerate(_lines(file), 1):
        try:
            if args.jsonl:
                result = _coded(encode, line) if args.action == "encode" else _restored(decode, line)
            else:
                result = encode(line) if args.action == "encode" else _line(decode(line))
        except UserError as error:
            if not args.jsonl:
                raise UserError(f"{file}, line {number}: {error}") from None
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


def _line(message: bytes) -> bytes:
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
    try:
        record = json.loads(line)
    except ValueError:
        raise UserError("not a line of JSON") from None
    for name in names:
        value = record.get(name) if isinstance(record, dict) else None
        if isinstance(value, str):
            try:
                return base64.b64decode(value, validate=True) if name == "base64" else value.encode()
            except ValueError:
                raise UserError(f"field {name!r} is not valid") from None
    raise UserError(f"no field {names[0]!r} with a string")


def _json(record: dict[str, Any]) -> bytes:
    return json.dumps(record, ensure_ascii=False).encode() + b"\n"
