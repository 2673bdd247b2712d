"""`corrupt`: writes images corrupted as in ImageNet-C and ImageNet-C-bar, one folder per corruption and severity."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..core.errors import InputError, UnsupportedError, unknown
from ..core.provenance import available_cores
from ..evaluate.corruption_tree import TreeRecipe, TreeWritten, write_tree
from ..evaluate.corruptions.catalog import CORRUPTIONS, IMAGENET_C, IMAGENET_C_BAR, missing
from ..evaluate.corruptions.parameters import PARAMETER_SETS, SEVERITIES
from ..inputs.catalog import find_preset
from ..inputs.sources import open_dataset
from .options import PARTIAL, Subparsers, add_common, add_corruption_options, positive, print_json
from .output import folder
from .progress import Progress

_FAMILIES = {"all": IMAGENET_C, "imagenet-c-bar": IMAGENET_C_BAR}
_SHOWN = 10


def add_parser(commands: Subparsers) -> None:
    """Add the subcommand."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "corrupt", help="write images corrupted as in ImageNet-C", description=__doc__
    )
    parser.add_argument("source", type=Path, metavar="IN", help="ImageFolder, flat folder or .npz")
    parser.add_argument("output", type=Path, metavar="OUT", help="folder; an interrupted run goes on in it")
    parser.add_argument(
        "--name",
        default="all",
        metavar="NAME,...",
        help="corruptions; all (default) is the 15 of ImageNet-C, imagenet-c-bar the ten of ImageNet-C-bar",
    )
    parser.add_argument("--severity", default="1,2,3,4,5", metavar="N,...", help="1 to 5 (default: all five)")
    parser.add_argument("--preset", metavar="NAME|FILE.toml", help="resize and crop first; default: the stored size")
    parser.add_argument(
        "--parameters", choices=PARAMETER_SETS, help="whose strengths (default: cifar10-c up to 64 pixels)"
    )
    parser.add_argument("--images", type=positive, metavar="N", help="use N images, drawn with the seed")
    add_corruption_options(parser)
    add_common(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the subcommand."""
    progress, output = Progress(quiet=options.quiet), folder(options.output)
    names, skipped = _names(options.name, options.frost_dir)
    recipe = TreeRecipe(
        names=names,
        severities=_severities(options.severity),
        seed=options.seed,
        storage=options.storage,
        pipeline=find_preset(options.preset) if options.preset else None,
        parameters=options.parameters,
        frost_dir=options.frost_dir,
    )
    dataset = open_dataset(options.source, unlabelled=True)
    if options.images:
        dataset = dataset.subset(min(options.images, len(dataset)), options.seed)
    progress.stage(f"Corrupting {len(dataset)} images, {len(names)} corruptions, severities {options.severity}")
    done = write_tree(dataset, recipe, output, threads=options.threads or available_cores(), progress=progress)
    progress.close()
    if options.json:
        print_json(_document(output, recipe, done, skipped))
    else:
        print(_summary(output, done, skipped))
    return PARTIAL if done.undecodable or skipped else 0


def _names(text: str, frost_dir: Path | None) -> tuple[list[str], dict[str, str]]:
    """Read a family or a list; what of a family can't be made here is left out with its reason."""
    if text in _FAMILIES:
        reasons = {name: missing(name, frost_dir=frost_dir) for name in _FAMILIES[text]}
        return [name for name in reasons if not reasons[name]], {name: why for name, why in reasons.items() if why}
    names = list(dict.fromkeys(text.split(",")))
    for name in names:
        if name not in CORRUPTIONS:
            raise unknown("corruption", name, CORRUPTIONS)
        if reason := missing(name, frost_dir=frost_dir):
            raise UnsupportedError(reason)
    return names, {}


def _severities(text: str) -> list[int]:
    known = {str(severity): severity for severity in SEVERITIES}
    wrong = [word for word in text.split(",") if word not in known]
    if wrong:
        raise InputError(f"Expected severities in 1..5, got {wrong[0]!r}. Write e.g. --severity 1,3,5.")
    return list(dict.fromkeys(known[word] for word in text.split(",")))


def _document(output: Path, recipe: TreeRecipe, done: TreeWritten, skipped: dict[str, str]) -> dict[str, object]:
    return {
        "output": str(output),
        "corruptions": list(recipe.names),
        "severities": list(recipe.severities),
        **recipe.to_json(),
        "written": done.written,
        "kept": done.kept,
        "undecodable": [{"name": name, "reason": reason} for name, reason in done.undecodable],
        "skipped": skipped,
    }


def _summary(output: Path, done: TreeWritten, skipped: dict[str, str]) -> str:
    lines = [f"{output}: {done.written} files written, {done.kept} were there, {len(done.undecodable)} images failed"]
    lines += [f"  {name}: {reason}" for name, reason in done.undecodable[:_SHOWN]]
    if len(done.undecodable) > _SHOWN:
        lines.append(f"  and {len(done.undecodable) - _SHOWN} more")
    lines += [f"left out: {name}. {reason}" for name, reason in skipped.items()]
    return "\n".join(lines)
