"""The server with clients that people use, each in its own way: `openai`, `litellm`, `llm`, lm-evaluation-harness.

    python -m venv clients && clients/bin/pip install openai litellm llm lm_eval
    python bench/clients.py clients/bin/python [--out results/bench/clients.json]

What each of them brings is compared with what the model itself gives. The environment of the clients is another one
than that of cpu1. lm-evaluation-harness runs its model `gguf`, which reads log-probabilities of the prompt, on pairs of
sentences that are made here.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from load import Served

from cpu1.files import write_atomic
from cpu1.runtime.default import default_model
from cpu1.runtime.model import Model

PROMPT, SIZE, SEED = "The old café by the sea", 60, 7
PAIRS = [
    ("The cat sat on", " the mat.", " mat the."),
    ("Où est la", " mer ?", " zqx ?"),
    ("She opened the door and", " saw the garden.", " saw garden the."),
    ("Once upon", " a time", " a tmie"),
]

OPENAI = f"""
import openai
client = openai.OpenAI(base_url=URL + "/v1", api_key="none")
asked = dict(model="cpu1", prompt={PROMPT!r}, max_tokens={SIZE}, seed={SEED})
show("models", [model.id for model in client.models.list()])
show("text", client.completions.create(**asked).choices[0].text)
show("stream", "".join(piece.choices[0].text for piece in client.completions.create(**asked, stream=True)))
shown = client.completions.create(**{{**asked, "max_tokens": 0}}, echo=True, logprobs=1).choices[0].logprobs
show("logprobs", shown.token_logprobs)
chat = client.chat.completions.create(model="cpu1", messages=MESSAGES, max_tokens={SIZE}, seed={SEED})
show("chat", chat.choices[0].message.content)
"""
LITELLM = f"""
import litellm
asked = dict(api_base=URL + "/v1", api_key="none", max_tokens={SIZE}, seed={SEED})
found = litellm.text_completion(model="text-completion-openai/cpu1", prompt={PROMPT!r}, **asked)
show("text", found.choices[0].text)
show("chat", litellm.completion(model="openai/cpu1", messages=MESSAGES, **asked).choices[0].message.content)
pieces = litellm.completion(model="openai/cpu1", messages=MESSAGES, stream=True, **asked)
show("chat stream", "".join(piece.choices[0].delta.content or "" for piece in pieces))
"""
LLM = f"""
import os, subprocess, sys
with open(os.path.join(os.environ["LLM_USER_PATH"], "extra-openai-models.yaml"), "w") as file:
    for name, more in (("cpu1-text", "\\n  completion: true"), ("cpu1-chat", "")):
        file.write(f"- model_id: {{name}}\\n  model_name: cpu1\\n  api_base: {{URL}}/v1\\n")
        file.write(f"  api_key_name: none{{more}}\\n")
def ask(model, prompt, *more):
    words = ["-m", "llm", "prompt", "-m", model, prompt, "-o", "max_tokens", "{SIZE}", "-o", "seed", "{SEED}", *more]
    done = subprocess.run([sys.executable, *words, "--key", "none"], capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return done.stdout.removesuffix("\\n")
show("text", ask("cpu1-text", {PROMPT!r}, "--no-stream"))
show("stream", ask("cpu1-text", {PROMPT!r}))
show("chat", ask("cpu1-chat", MESSAGES[0]["content"]))
"""
HARNESS = """
import json, pathlib, lm_eval
from lm_eval.models.gguf import GGUFLM
from lm_eval.tasks import TaskManager
here = pathlib.Path(".")
here.joinpath("pairs.jsonl").write_text("".join(
    json.dumps({"begin": begin, "choices": [good, bad]}) + "\\n" for begin, good, bad in PAIRS))
task = {"task": "pairs", "dataset_path": "json", "dataset_kwargs": {"data_files": {"test": "pairs.jsonl"}},
        "test_split": "test", "output_type": "multiple_choice", "doc_to_text": "{{begin}}", "doc_to_target": 0,
        "doc_to_choice": "{{choices}}", "target_delimiter": "", "metric_list": [{"metric": "acc"}]}
found = lm_eval.simple_evaluate(model=GGUFLM(base_url=URL), tasks=[task], bootstrap_iters=0, log_samples=True)
show("accuracy", found["results"]["pairs"]["acc,none"])
show("logprobs", [float(r[0][0]) for s in found["samples"]["pairs"] for r in s["resps"]])
"""
HEAD = """
import json, sys
URL, MESSAGES, PAIRS = json.loads(sys.argv[1])
def show(name, value):
    print("RESULT", json.dumps([name, value]), flush=True)
"""


def ran(python: Path, code: str, port: int) -> dict[str, Any]:
    """What a client showed. Exits where it fails."""
    with tempfile.TemporaryDirectory() as folder:
        given = json.dumps([f"http://127.0.0.1:{port}", [{"role": "user", "content": PROMPT}], PAIRS])
        offline = {"HF_DATASETS_OFFLINE": "1", "HF_HUB_OFFLINE": "1", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
        done = subprocess.run(
            [python, "-c", HEAD + code, given],
            capture_output=True, text=True, cwd=folder, check=False,
            env={**os.environ, **offline, "LLM_USER_PATH": folder, "HF_HOME": folder},
        )  # fmt: skip
    if done.returncode:
        sys.exit(f"clients: {done.stderr[-3000:]}")
    return dict(json.loads(line[7:]) for line in done.stdout.splitlines() if line.startswith("RESULT "))


def checks(model: Model) -> dict[str, Callable[[Any], bool]]:
    """What each result must be, from the model itself."""
    text = model.generate(PROMPT, SIZE, seed=SEED)
    stop = ["\nSystem:", "\nUser:", "\nAssistant:"]
    chat = model.generate(f"User: {PROMPT}\n\nAssistant: ", SIZE, stop, seed=SEED)
    prompt = -np.log(2) * model.score(PROMPT)
    pairs = [
        -np.log(2) * model.score(begin + end)[len(begin.encode()) :].sum() for begin, *ends in PAIRS for end in ends
    ]
    return {
        "models": lambda found: found == ["cpu1"],
        "text": lambda found: found == text,
        "stream": lambda found: found == text,
        "chat": lambda found: found == chat,
        "chat stream": lambda found: found == chat,
        "accuracy": lambda found: found == np.mean([a > b for a, b in zip(pairs[::2], pairs[1::2], strict=True)]),
        "logprobs": lambda found: np.allclose(found, prompt if len(found) == len(prompt) else pairs, atol=1e-3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("python", type=Path, help="Python of an environment with the clients")
    parser.add_argument("--out", type=Path, default=None, help="file to write the JSON to")
    args = parser.parse_args()
    python = args.python.absolute()
    right, served = checks(Model(default_model())), Served(default_model(), "--name", "cpu1")
    rows: list[dict[str, Any]] = []
    try:
        for name, code in {"openai": OPENAI, "litellm": LITELLM, "llm": LLM, "lm_eval": HARNESS}.items():
            asks = "import sys; from importlib.metadata import version; print(version(sys.argv[1]))"
            version = subprocess.run(
                [python, "-c", asks, name], capture_output=True, text=True, check=True
            ).stdout.strip()
            found = {what: bool(right[what](value)) for what, value in ran(python, code, served.port).items()}
            rows.append({"client": name, "version": version.strip(), "right": found})
            print(f"{name} {version.strip()}: {found}", flush=True)
    finally:
        served.stop()
    if args.out:
        write_atomic(args.out, (json.dumps({"clients": rows}, indent=1) + "\n").encode())
    sys.exit(not all(all(row["right"].values()) for row in rows))


if __name__ == "__main__":
    main()
