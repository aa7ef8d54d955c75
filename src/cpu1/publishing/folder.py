"""One run as a Hugging Face style folder: weights unpacked and packed, configuration, model card.

README.md          the model card
config.json        what the hub shows: kind, sizes, recipe
model.safetensors  all weights in fp32
model.cpu1         the packed model
recipe.json  settings.json  result.json  [tokenizer.json]     with which the folder is a run folder as well

No path of the machine that trained is in it.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

from cpu1.errors import UserError
from cpu1.files import apart, read_json, write_atomic, write_json
from cpu1.model.recipe import Recipe
from cpu1.publishing.facts import Facts, Terms, read_facts
from cpu1.publishing.folders import write_folder
from cpu1.publishing.model_card import model_card
from cpu1.runs.pack import pack_run

PACKED = "model.cpu1"
COPIED = ("model.safetensors", "recipe.json", "result.json", "tokenizer.json")
FILES = {"README.md", "config.json", "settings.json", PACKED, *COPIED}


def publish(run: Path, to: Path, terms: Terms | None = None, dense: str = "int8") -> None:
    """Writes the folder `to` of a finished run.

    UserError when the run is not finished, and when `to` is that run or holds anything else.
    """
    apart(to, [run])
    facts = read_facts(run)
    write_folder(to, lambda fresh: fill(fresh, facts, terms or Terms(), dense), _written_before)


def fill(folder: Path, facts: Facts, terms: Terms, dense: str) -> None:
    """Writes the files of a published run into an empty folder."""
    size = pack_run(facts.folder, folder / PACKED, dense)  # first: it refuses weights that are not of the recipe
    for name in COPIED:
        if (facts.folder / name).exists():
            write_atomic(folder / name, (facts.folder / name).read_bytes())
    write_json(folder / "settings.json", replace(facts.settings, data_source=facts.settings.data).to_json())
    write_json(folder / "config.json", configuration(facts))
    write_atomic(folder / "README.md", model_card(facts, terms, PACKED, size, dense, unpacked=True))


def configuration(facts: Facts) -> dict[str, Any]:
    """`config.json`, under the names that the hub's own models use."""
    recipe = Recipe.from_json(facts.recipe, str(facts.folder / "recipe.json"))
    return {
        "model_type": "cpu1",
        "architectures": ["cpu1.model.network.Model"],
        "torch_dtype": "float32",
        "vocab_size": recipe.embedding.vocabulary,
        "hidden_size": recipe.width,
        "num_hidden_layers": recipe.layers,
        "patch_size": recipe.embedding.patch,
        "run": facts.name,
        "cpu1_version": facts.env.cpu1,
        "recipe": facts.recipe,
    }


def _written_before(to: Path) -> set[str]:
    """The files of a published run, if `to` is one."""
    try:
        about = read_json(to / "config.json")
    except UserError:
        return set()
    return FILES if isinstance(about, dict) and about.get("model_type") == "cpu1" else set()
