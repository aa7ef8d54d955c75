"""Verbs that hand a trained run on: publish, checkpoints."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from cpu1.cli.options import DENSE_HELP, WIDTHS, Verb
from cpu1.errors import UserError

if TYPE_CHECKING:
    from cpu1.publishing.facts import Terms


def add(verb: Verb) -> None:
    p = verb(publish, "publish", "publish runs/07-small-r2-s0 --to published/cpu1-small --language en\n"
             "publish runs/07-small-r2-s0 --to hub:someone/cpu1-small --private")  # fmt: skip
    p.add_argument("folder", type=Path, help="folder of a finished run")
    p.add_argument("--to", required=True, metavar="FOLDER|hub:NAME",
                   help="folder to write (an earlier one is replaced), or a repository of the hub")  # fmt: skip
    p.add_argument("--private", action="store_true", help="make the hub's repository private, if it is new")
    _terms_options(p)

    p = verb(checkpoints, "checkpoints",
             "checkpoints runs/nano-r1/*-s0 --default runs/07-small-r2-s0 --to checkpoints")  # fmt: skip
    p.add_argument("folders", type=Path, nargs="*", metavar="FOLDER", help="folders of finished runs")
    p.add_argument("--default", type=Path, required=True, metavar="FOLDER",
                   help="the run that `cpu1 generate` takes where no model is named")  # fmt: skip
    p.add_argument("--to", type=Path, required=True, help="folder to write (an earlier one is replaced)")
    _terms_options(p)


def _terms_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--license", default="apache-2.0", help="of the model (default: apache-2.0)")
    parser.add_argument("--language", action="append", default=[], metavar="CODE", help="like en; may be repeated")
    parser.add_argument("--dataset", action="append", default=[], metavar="NAME", help="a training set on the hub")
    parser.add_argument("--about-text", type=Path, metavar="FILE", help="Markdown on the training text, for the card")
    parser.add_argument("--dense", choices=WIDTHS, default="int8", help=DENSE_HELP)


def publish(words: argparse.Namespace) -> int:
    """Writes a run as a Hugging Face style folder with a model card, or uploads it."""
    from cpu1.publishing import folder, hub

    if words.to.startswith(hub.PREFIX):
        print(hub.upload(words.folder, words.to, _terms(words), words.dense, words.private))
        return 0
    if words.private:
        raise UserError("--private is of an upload; name hub:NAME with --to")
    folder.publish(words.folder, Path(words.to), _terms(words), words.dense)
    print(f"published: {words.to}")
    return 0


def checkpoints(words: argparse.Namespace) -> int:
    """Packs finished runs into one folder of models with their cards, of at most 40 MB."""
    from cpu1.publishing.checkpoints import build

    build(words.default, words.folders, words.to, _terms(words), words.dense)
    return 0


def _terms(words: argparse.Namespace) -> "Terms":
    from cpu1.publishing.facts import Terms

    about = ""
    if words.about_text:
        try:
            about = words.about_text.read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise UserError(f"{words.about_text}: not readable ({error})") from None
    return Terms(words.license, tuple(words.language), tuple(words.dataset), about)
