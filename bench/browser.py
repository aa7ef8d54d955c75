"""The package for web pages in Chromium, against the native engine, in turn: python bench/browser.py [--json FILE]

Needs `make web`, playwright and Chromium. Each round generates and scores as many bytes in the browser, by both
modules, and natively, on one thread. Shown are bytes a second and their ratios to the best native set and to
`portable`; how long a page takes to its first text; and whether all give the same bits.
"""

import argparse
import functools
import http.server
import json
import os
import shutil
import statistics
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from cpu1.files import write_json
from cpu1.runtime.engine import isas

ROOT = Path(__file__).resolve().parents[1]
BUILT = ROOT / "build" / "web"
PAGE = """
async ([module, text, count]) => {
  const { Engine } = await import("/engine.js");
  const begun = performance.now();
  const code = await WebAssembly.compile(await (await fetch(module)).arrayBuffer());
  const file = new Uint8Array(await (await fetch("/default.cpu1")).arrayBuffer());
  const engine = new Engine(code, file);
  const first = engine.begin();
  engine.generate(first, 4);
  const open = performance.now() - begun;
  const bytes = new TextEncoder().encode(text);
  const one = engine.begin(false, 1);
  engine.read(one, bytes.subarray(0, 500));
  engine.generate(one, 500);
  let at = performance.now();
  const written = engine.generate(one, count);
  const generate = written.length / (performance.now() - at);
  const two = engine.begin();
  at = performance.now();
  const bits = engine.score(two, bytes);
  const score = bytes.length / (performance.now() - at);
  const sum = await crypto.subtle.digest("SHA-256", bits.buffer);
  return { open, generate, score, sum: [...new Uint8Array(sum)].map((x) => x.toString(16).padStart(2, "0")).join("") };
}
"""
NATIVE = """
import hashlib, json, sys, time
import numpy as np
import cpu1
text, count = open(sys.argv[1]).read(), int(sys.argv[2])
model = cpu1.load()
session = model.session()
session.read(text[:500])
session.generate(500, seed=1)
begun = time.perf_counter()
written = len(session.generate(count, seed=1).encode())
generate = written / (time.perf_counter() - begun) / 1000
begun = time.perf_counter()
bits = model.session().score(text)
score = len(text) / (time.perf_counter() - begun) / 1000
print(json.dumps({"generate": generate, "score": score, "sum": hashlib.sha256(bits.tobytes()).hexdigest()}))
"""


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves the package without a line for each file."""

    def log_message(self, *words: object) -> None:
        """Nothing."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="default: %(default)s")
    parser.add_argument("--bytes", type=int, default=20_000, help="to generate and to score (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="file for the results")
    args = parser.parse_args()
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        sys.exit("browser: needs playwright (pip install playwright)")
    browser_path = next(filter(None, map(shutil.which, ("chromium", "google-chrome"))), None)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=BUILT))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    text = (ROOT / "LICENSE").read_text(encoding="ascii")
    text = (text * (args.bytes // len(text) + 1))[: args.bytes]
    found: dict[str, list[dict[str, Any]]] = {}
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        version = browser.version
        for _ in range(args.rounds):
            for name in ("relaxed", "plain"):
                page = browser.new_page()
                page.goto(f"http://127.0.0.1:{server.server_address[1]}/README.md")
                module = "/cpu1-relaxed.wasm" if name == "relaxed" else "/cpu1.wasm"
                found.setdefault(name, []).append(page.evaluate(PAGE, [module, text, args.bytes]))
                page.close()
            for isa in (isas()[0], "portable"):
                found.setdefault(isa, []).append(native(isa, text, args.bytes))
        browser.close()
    server.shutdown()
    show(found, version, args)


def native(isa: str, text: str, count: int) -> dict[str, Any]:
    """One round of the native engine with the kernels of one set."""
    path = ROOT / "build" / "browser.txt"
    path.write_text(text, encoding="ascii")
    command = [sys.executable, "-c", NATIVE, str(path), str(count)]
    done = subprocess.run(command, env={**os.environ, "CPU1_ISA": isa}, stdout=subprocess.PIPE, check=True)
    return dict(json.loads(done.stdout))


def show(found: dict[str, list[dict[str, Any]]], version: str, args: argparse.Namespace) -> None:
    """A line for each engine: medians, and medians of the ratios of each round."""
    best = isas()[0]
    rows = {}
    for name, rounds in found.items():
        row: dict[str, Any] = {}
        for what in ("generate", "score"):
            row[f"{what}_kb_per_s"] = round(statistics.median(each[what] for each in rounds), 2)
            for other in (best, "portable"):
                pairs = zip(rounds, found[other], strict=True)
                row[f"{what}_of_{other}"] = round(statistics.median(a[what] / b[what] for a, b in pairs), 3)
        if "open" in rounds[0]:
            row["first_text_ms"] = round(statistics.median(each["open"] for each in rounds))
        row["same_bits_as_portable"] = all(each["sum"] == found["portable"][0]["sum"] for each in rounds)
        rows[name] = row
        print(name, row, flush=True)
    if args.json:
        write_json(args.json, {"chromium": version, "bytes": args.bytes, "rounds": args.rounds, "engines": rows})


if __name__ == "__main__":
    main()
