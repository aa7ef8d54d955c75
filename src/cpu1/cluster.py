"""The connection to a Ray cluster: one that runs, or one of this machine's cores alone.

Ray is imported when a cluster is asked for. It is told to send no statistics of use, and to keep the driver's Python
(under `uv run` it would build another environment for its workers).
"""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from cpu1.errors import UserError

NAME = "ray"
SCHEME = "ray://"
PROBE_SECONDS = 5.0
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0"}


def load_ray() -> Any:
    """The module `ray`. UserError where it is not installed."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except ImportError:
        raise UserError("Ray is not installed: pip install 'cpu1[ray]'") from None
    return ray


def check_place(on: str) -> str:
    """`on`, where it is "ray" or "ray://HOST:PORT"; else UserError."""
    host, _, port = on.removeprefix(SCHEME).rpartition(":")
    if on == NAME or (on.startswith(SCHEME) and host and port.isdigit()):
        return on
    raise UserError(f"--on {on}: there are ray and ray://HOST:PORT")


@contextmanager
def connected(on: str) -> Iterator[Any]:
    """The module `ray`, connected while the block runs.

    on: "ray", the cluster of RAY_ADDRESS or else the one that runs on this machine, or else one is started of this
    machine's cores; "ray://HOST:PORT", a cluster's client server. A connection that is there already is used, and left
    as it is. UserError for another name, without Ray, and for a cluster that does not answer.
    """
    check_place(on)
    ray = load_ray()
    if ray.is_initialized():
        yield ray
        return
    _probe(on)
    try:
        ray.init(on if on != NAME else None, log_to_driver=False, logging_level="error")
    except (ConnectionError, TimeoutError, ValueError, RuntimeError, OSError) as error:
        about = " ".join(str(error).split())[:200]
        where = on if on != NAME else os.environ.get("RAY_ADDRESS", on)
        raise UserError(f"{where}: no Ray cluster answers ({about})") from None
    try:
        yield ray
    finally:
        ray.shutdown()


def _probe(on: str) -> None:
    """UserError for an address where nobody listens: Ray would wait for minutes."""
    address = on.removeprefix(SCHEME) if on != NAME else os.environ.get("RAY_ADDRESS", "").removeprefix(SCHEME)
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        return  # a name of Ray's own, like auto and local
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=PROBE_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise UserError(f"{on if on != NAME else address}: no Ray cluster answers ({error})") from None
