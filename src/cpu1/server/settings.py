"""What a server is asked to do, and the limits that keep it alive."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """Sizes are in bytes, times in seconds."""

    streams: int = 256  # texts written at once
    queue: int = 1024  # texts that wait, and readings that wait
    threads: int = 1  # of the processor's cores, for the texts that are written
    max_prompt: int = 64 << 10
    max_body: int = 1 << 20
    max_tokens: int = 64 << 10
    timeout: float = 600.0  # for a request
    grace: float = 10.0  # for the texts that are being written when the server is told to stop
    head: float = 10.0  # until a request's head is whole
    body: float = 30.0  # until its body is
    stalled: float = 30.0  # that a client may leave its answer unread
    idle: float = 30.0  # that a connection is kept between two requests
    connections: int = 4096
    keys: tuple[bytes, ...] = ()  # none: no key is needed
    origins: tuple[str, ...] = ()  # pages of other sites that may ask; "*" is all
    metrics: bool = False
