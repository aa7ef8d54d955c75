"""Commands that publish trained runs: publish, checkpoints."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from cpu1.cli.options import Command, dense_option
from cpu1.errors import UserError

if TYPE_CHECKING:
    from cpu1.publishing.facts import Terms


def add(command: Command) -> None:
    """Adds the commands `publish` and `checkpoints`."""
    p = command(
        publish,
        "publish",
        "publish runs/07-small-r2-s0 --to published/cpu1-small --language en",
        "publish runs/07-small-r2-s0 --to hub:someone/cpu1-small --private",
    )
    p.add_argument("folder", type=Path, metavar="FOLDER", help="folder of a trained run")
    p.add_argument(
        "--to",
        required=True,
        metavar="FOLDER|hub:NAME",
        help="folder to write, replaced if it was published before; or a Hugging Face repository",
    )
    p.add_argument("--private", action="store_true", help="make a new Hugging Face repository private")
    _terms_options(p)

    p = command(
        checkpoints,
        "checkpoints",
        "checkpoints runs/nano-r1/*-s0 --default runs/07-small-r2-s0 --to checkpoints",
        "checkpoints runs/18-nano-r2-s0 --add --name tiny --to checkpoints",
    )
    p.add_argument("folders", type=Path, nargs="*", metavar="FOLDER", help="folders of trained runs")
    kind = p.add_mutually_exclusive_group(required=True)
    kind.add_argument(
        "--default", type=Path, metavar="FOLDER", help="folder of the run to bundle, the model that is used without -m"
    )
    kind.add_argument(
        "--add", action="store_true", help="add one run to the models that are there, or replace the one of its name"
    )
    p.add_argument("--name", default="", metavar="NAME", help="with --add: name of the file (default: the run's)")
    p.add_argument(
        "--to", type=Path, required=True, metavar="FOLDER", help="folder to write, replaced if this command wrote it"
    )
    _terms_options(p)


def _terms_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--license", default="apache-2.0", metavar="NAME", help="licence of the model (default: %(default)s)"
    )
    parser.add_argument(
        "--language", action="append", default=[], metavar="CODE", help="language of the text, like en; repeatable"
    )
    parser.add_argument(
        "--dataset",
        action="append",
        default=[],
        metavar="NAME",
        help="training set, by its Hugging Face name; repeatable",
    )
    parser.add_argument(
        "--about-text",
        type=Path,
        metavar="FILE",
        help="description of the training text in Markdown, for the model card",
    )
    dense_option(parser)


def publish(args: argparse.Namespace) -> int:
    """Write or upload a run as a Hugging Face model.

    The folder holds the weights, the packed model and a model card.
    """
    from cpu1.publishing import folder, hub

    if args.to.startswith(hub.PREFIX):
        print(hub.upload(args.folder, args.to, _terms(args), args.dense, args.private))
        return 0
    if args.private:
        raise UserError("--private is for uploads: give --to hub:NAME")
    folder.publish(args.folder, Path(args.to), _terms(args), args.dense)
    print(f"published: {args.to}")
    return 0


def checkpoints(args: argparse.Namespace) -> int:
    """Pack trained runs into one folder, each with its model card.

    All models together may have at most 40 MB.
    """
    from cpu1.publishing.checkpoints import add as add_model
    from cpu1.publishing.checkpoints import build

    if args.name and not args.add:
        raise UserError("--name is for --add")
    if not args.add:
        build(args.default, args.folders, args.to, _terms(args), args.dense)
        return 0
    if len(args.folders) != 1:
        raise UserError(f"--add: name one run's folder, not {len(args.folders)}")
    add_model(args.folders[0], args.to, args.name, _terms(args), args.dense)
    return 0


def _terms(args: argparse.Namespace) -> "Terms":
    from cpu1.files import apart
    from cpu1.publishing.facts import Terms

    about = ""
    if args.about_text:
        for file in Path(args.to).glob("*"):
            apart(file, [args.about_text])
        try:
            about = args.about_text.read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise UserError(f"{args.about_text}: not readable ({error})") from None
    return Terms(args.license, tuple(args.language), tuple(args.dataset), about)
