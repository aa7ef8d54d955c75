"""A model of `transformers` as a teacher, from a local folder or by its name on the hub.

Weights are read from safetensors only, and no code of a model's repository is run.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from cpu1.errors import UserError
from cpu1.files import read_json
from cpu1.teachers.byte_level import ByteLevelTokenizer
from cpu1.teachers.teacher import content

if TYPE_CHECKING:
    from cpu1.teachers.causal_lm import CausalLM

FILES = ("config.json", "tokenizer.json", "*.safetensors", "*.safetensors.index.json")


def open_model(name: str) -> "CausalLM":
    """The model in the folder `name`, or of that name on the hub (huggingface_hub caches it).

    UserError for a model that is missing, damaged, or of a kind that cannot teach.
    """
    try:
        import torch
        from transformers import AutoModelForCausalLM
    except ImportError as error:
        raise UserError(
            f"{error.name} is not installed; teachers of transformers need it: pip install 'cpu1[distill]'"
        ) from None
    from cpu1.teachers.causal_lm import CausalLM

    folder = Path(name) if Path(name).is_dir() else _fetch(name)
    weights = sorted(folder.glob("*.safetensors"))
    if not (folder / "config.json").exists() or not weights:
        raise UserError(f"{folder}: no config.json or no *.safetensors; is this a model of transformers?")
    parts = [folder / "config.json", folder / "tokenizer.json", *weights]
    tokenizer = read_json(folder / "tokenizer.json")
    try:
        model = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, use_safetensors=True, local_files_only=True, trust_remote_code=False
        )
    except Exception as error:  # of many kinds: from the config's values to the weights' shapes
        raise UserError(f"{folder}: no causal language model that transformers can read ({error})") from None
    if getattr(model.config, "use_sliding_window", False):
        raise UserError(f"{folder}: its attention slides over a window; such teachers are not read")
    eos = model.config.eos_token_id
    plain = ByteLevelTokenizer(
        tokenizer, model.config.vocab_size, eos[0] if isinstance(eos, list) else eos, str(folder / "tokenizer.json")
    )
    return CausalLM(model, plain, {"kind": "transformers", "sha256": content(parts)}, str(folder))


def _fetch(name: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=list(FILES)))
    except Exception as error:  # the hub's own, those of its HTTP client, bad names
        raise UserError(
            f"{name}: neither a run folder, nor a .gguf file, nor a folder of transformers, "
            f"and the hub gave no such model ({str(error).splitlines()[0] if str(error) else type(error).__name__})"
        ) from None
