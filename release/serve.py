"""Shows a folder of web pages on this machine alone."""

import functools
import http.server
from pathlib import Path


def serve(folder: Path, port: int, page: str = "") -> None:
    """Serves `folder` until it is interrupted, and prints the address of `page`."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=folder)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), handler)
    print(f"http://127.0.0.1:{server.server_port}/{page}", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        print()
