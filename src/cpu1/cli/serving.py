"""The command that serves a model over HTTP."""

import argparse
import os
import signal
import sys
from pathlib import Path

from cpu1.cli.options import Command, byte_size, count, model_option, model_path, positive
from cpu1.errors import UserError

KEY = "CPU1_API_KEY"
BUNDLED = "cpu1"  # what clients call the bundled model
LOOPBACK = ("127.", "::1", "localhost")


def add(command: Command) -> None:
    """Adds the command `serve`."""
    p = command(
        serve,
        "serve",
        "serve",
        "serve -m mine.cpu1 --port 9000",
        "serve --host 0.0.0.0 --api-key-file keys.txt --metrics",
    )
    model_option(p, "packed model to serve")
    p.add_argument("--name", metavar="NAME", help="what clients call the model (default: its file's name)")
    p.add_argument(
        "--host", default="127.0.0.1", metavar="HOST", help="address to listen at (default: %(default)s, this machine)"
    )
    p.add_argument(
        "--port",
        type=port,
        default=8000,
        metavar="PORT",
        help="port to listen at; 0 is a free one (default: %(default)s)",
    )
    p.add_argument("--threads", type=positive, metavar="N", help="threads that write texts (default: one per core)")
    p.add_argument(
        "--streams", type=positive, default=256, metavar="N", help="texts written at once (default: %(default)s)"
    )
    p.add_argument(
        "--queue",
        type=count,
        default=1024,
        metavar="N",
        help="texts that may wait; more are refused with status 429 (default: %(default)s)",
    )
    p.add_argument(
        "--max-prompt",
        type=byte_size,
        default="64Ki",
        metavar="SIZE",
        help="refuse longer prompts and texts (default: %(default)s)",
    )
    p.add_argument(
        "--max-body",
        type=byte_size,
        default="1Mi",
        metavar="SIZE",
        help="refuse larger requests (default: %(default)s)",
    )
    p.add_argument(
        "--max-tokens",
        type=byte_size,
        default="64Ki",
        metavar="SIZE",
        help="longest text that a request may ask for, in bytes (default: %(default)s)",
    )
    p.add_argument(
        "--timeout",
        type=positive,
        default=600,
        metavar="SECONDS",
        help="end requests that take longer (default: %(default)s)",
    )
    p.add_argument(
        "--grace",
        type=count,
        default=10,
        metavar="SECONDS",
        help="time that texts get to end when the server is stopped (default: %(default)s)",
    )
    p.add_argument(
        "--api-key-file",
        type=Path,
        metavar="FILE",
        help=f"keys, one a line; each request must have one of them (default: the key in {KEY}, else no key is needed)",
    )
    p.add_argument(
        "--cors",
        action="append",
        default=[],
        metavar="ORIGIN",
        help="let pages of another site ask, like https://example.com, or * for all; repeatable",
    )
    p.add_argument("--metrics", action="store_true", help="show figures for Prometheus at /metrics, without a key")


def serve(args: argparse.Namespace) -> int:
    """Serve a model over HTTP, with OpenAI's API.

    Programs written for that API work with the address that this command prints, followed by /v1. The address itself
    is a page to play with the model. All texts share each reading of the weights. Ctrl-C lets texts end, then stops.
    """
    from cpu1.runtime.model import Model
    from cpu1.server.run import address, listen, serve
    from cpu1.server.settings import Settings

    settings = Settings(
        streams=args.streams,
        queue=args.queue,
        threads=args.threads or _cores(),
        max_prompt=args.max_prompt,
        max_body=args.max_body,
        max_tokens=args.max_tokens,
        timeout=args.timeout,
        grace=args.grace,
        keys=_keys(args.api_key_file),
        origins=_origins(args.cors),
        metrics=args.metrics,
    )
    path = model_path(args)
    name = args.name or (path.stem if args.model or path.name != "default.cpu1" else BUNDLED)
    listening = listen(args.host, args.port)
    with listening:
        model = Model(path)
        if not settings.keys and not args.host.startswith(LOOPBACK):
            print(f"cpu1: note: {args.host} may be reached from elsewhere, and no key is needed", file=sys.stderr)
        where = address(listening)
        _more_files(settings.connections)
        stopped = serve(model, name, listening, settings, lambda: print(f"serving {name} at {where}", flush=True))
    return 130 if stopped == signal.SIGINT else 0


def port(text: str) -> int:
    """A port of TCP; ArgumentTypeError otherwise."""
    value = int(text) if text.isascii() and text.isdigit() and len(text) < 6 else -1
    if not 0 <= value < 1 << 16:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 to 65535")
    return value


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _keys(path: Path | None) -> tuple[bytes, ...]:
    """The keys of a file, or that of the environment. Command lines are no place for a key: others can read them."""
    if path is None:
        if KEY not in os.environ:
            return ()
        keys, where = [os.environ[KEY].strip()], KEY
    else:
        try:
            keys = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        except OSError as error:
            raise UserError(f"{path}: not readable ({error.strerror})") from None
        except UnicodeDecodeError:
            raise UserError(f"{path}: not a file of keys, one a line") from None
        where = str(path)
    if not keys or not all(key.isascii() and key.isprintable() and " " not in key and key for key in keys):
        raise UserError(f"{where}: holds no key; a key is a line of ASCII characters without blanks")
    return tuple(key.encode() for key in keys)


def _origins(given: list[str]) -> tuple[str, ...]:
    for each in given:
        scheme, found, host = each.partition("://")
        if each != "*" and (scheme not in ("http", "https") or not found or not host or "/" in host):
            raise UserError(f"--cors {each}: not an origin like https://example.com, nor *")
    return tuple(given)


def _more_files(connections: int) -> None:
    """A connection takes a file of the system, and a process has 1,024 of them unless it asks for more."""
    try:
        import resource
    except ImportError:  # Windows
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + 256
    if soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))
