"""`build`: from a float model and images to an integer engine with its card, or nothing."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from ..calib.catalog import METHODS
from ..core.errors import InputError
from ..core.precision import Precision
from ..core.recipe import Recipe
from ..core.remedies import ROUNDINGS, Remedies
from ..export.profiles import NATIVE, PROFILES
from .assembly import TARGETS, build
from .options import Subparsers, add_common, add_data, positive, print_json, share, table
from .output import folder
from .progress import Progress
from .request import BuildRequest, Built, FloatSearch

_FLOAT_ROWS = 8
_BLOCKS = (32, 64, 128)
_WIDTHS = ("bits", "weights", "activations", "int4_blocks")
_SEARCH = ("max_drop", "attack", "surrogate", "data", "labels", "images")
_POINTS = 100


def add_parser(commands: Subparsers) -> None:
    """Add the subcommand."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "build", help="calibrate a float model into an integer engine", description=__doc__
    )
    parser.add_argument("model", nargs="?", help="ONNX file, module:callable, torchvision:NAME or timm:NAME")
    _add_precision(parser)
    _add_remedies(parser)
    _add_calibration(parser)
    _add_search(parser)
    parser.add_argument("--preset", default="torchvision", metavar="NAME|FILE.toml", help="preprocessing of the model")
    parser.add_argument("--size", type=positive, metavar="PIXELS", help="input size of a PyTorch model")
    parser.add_argument("--state-dict", type=Path, metavar="FILE", help="weights of a PyTorch model (data only)")
    parser.add_argument("--target", default=TARGETS[0], help=f"runtime: {', '.join(TARGETS)} (default {TARGETS[0]})")
    parser.add_argument("--require-integer", type=share, metavar="SHARE", help="fail below this integer coverage")
    parser.add_argument("-o", "--output", type=Path, default=Path("robustmq-engines"), metavar="DIR")
    add_common(parser)
    parser.set_defaults(run=run)


def _add_precision(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("precision")
    group.add_argument("--bits", type=int, metavar="N", help="bits of weights and activations, 2..8 (default 8)")
    group.add_argument("--weights", type=int, metavar="N", help="bits of the weights, where they differ")
    group.add_argument(
        "--activations", type=int, metavar="N", help="bits of the activations, where they differ; 16: an export"
    )
    group.add_argument(
        "--int4-blocks", type=int, choices=_BLOCKS, help="4-bit weights of MatMul and Gemm, a scale for so many of them"
    )
    group.add_argument(
        "--precision", metavar="NAME", help="fp16, fp8, or in one word what the others say, such as w4a8"
    )
    group.add_argument("--recipe", type=Path, metavar="FILE.toml", help="bits layer by layer, and remedies")
    group.add_argument(
        "--profile", choices=sorted(PROFILES), default=NATIVE, help=f"layout of the QDQ file (default {NATIVE})"
    )


def _add_remedies(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what makes few bits work")
    group.add_argument("--equalise", action="store_true", help="scale channels between convolutions alike")
    group.add_argument("--smooth", type=float, metavar="ALPHA", help="SmoothQuant behind LayerNormalization, 0..1")
    group.add_argument("--rounding", choices=ROUNDINGS, help="of weights (default refined below 8 bits, else nearest)")
    group.add_argument(
        "--compensate",
        action=argparse.BooleanOptionalAction,
        help="aim gptq and refined at the float outputs (default below 8 bits)",
    )
    group.add_argument(
        "--bias-correction",
        action=argparse.BooleanOptionalAction,
        help="put channel means back to the float network's (default below 8 bits)",
    )


def _add_calibration(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("calibration")
    group.add_argument("--calib", type=Path, metavar="DIR", help="calibration images, labelled or not")
    group.add_argument("--calib-size", type=positive, default=128, metavar="N", help="images to use (default 128)")
    group.add_argument(
        "--method", default="minmax", metavar="NAME", help=f"calibrator: {', '.join(sorted(METHODS))} (default minmax)"
    )
    group.add_argument(
        "--ranges", type=Path, metavar="FILE", help="use saved ranges: ours, ONNX Runtime's or TensorRT's table"
    )


def _add_search(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("layers in float")
    group.add_argument("--keep-float", metavar="auto|NAME,NAME", help="find the layers to leave in float, or name them")
    group.add_argument("--max-drop", type=float, metavar="POINTS", help="with auto: accuracy that may be lost")
    group.add_argument("--attack", action="append", default=[], metavar="SPEC", help="with auto: a transfer attack")
    group.add_argument("--surrogate", type=Path, metavar="FILE", help="model --attack is made on (default: the model)")
    add_data(group, required=False, preset=False)


def run(options: argparse.Namespace) -> int:
    """Run the subcommand."""
    request = BuildRequest(
        model=options.model,
        recipe=_recipe(options),
        profile=options.profile,
        search=_search(options),
        calib=options.calib,
        calib_size=options.calib_size,
        method=options.method,
        preset=options.preset,
        target=options.target,
        output=folder(options.output),
        ranges=options.ranges,
        require_integer=options.require_integer,
        size=None if options.size is None else (options.size, options.size),
        state_dict=options.state_dict,
        seed=options.seed,
        threads=options.threads,
    )
    built = build(request, Progress(quiet=options.quiet))
    if options.json:
        print_json(built.to_json())
    else:
        _print(built)
    return 0


def _recipe(options: argparse.Namespace) -> Recipe:
    """Put file and flags together; a remedy's flag goes before the file's key."""
    flags = Remedies(
        equalise=options.equalise,
        smooth=options.smooth,
        rounding=options.rounding,
        compensate=options.compensate,
        bias_correction=options.bias_correction,
    )
    recipe = Recipe(precision=_precision(options), remedies=flags)
    if options.recipe is not None:
        if any(getattr(options, name) is not None for name in _WIDTHS):
            raise InputError(
                "--recipe FILE states the bits. Leave --bits, --weights, --activations, --int4-blocks out."
            )
        read = Recipe.load(options.recipe)
        recipe = replace(read, remedies=flags.over(read.remedies))
    named = options.keep_float not in (None, "auto")
    return recipe.keeping(options.keep_float.split(",")) if named else recipe


def _alone(options: argparse.Namespace, flag: str, others: tuple[str, ...]) -> None:
    given = [name.replace("_", "-") for name in others if getattr(options, name) is not None]
    if given:
        raise InputError(f"{flag} states the bits. Leave --{given[0]} out.")


def _precision(options: argparse.Namespace) -> Precision:
    if options.precision is not None:
        _alone(options, "--precision", _WIDTHS)
        return Precision.parse(options.precision)
    if options.int4_blocks is not None:
        if options.bits not in (None, 4) or options.weights not in (None, 4) or options.activations not in (None, 8):
            raise InputError(
                "--int4-blocks stores weights in 4 bits beside float activations, or int8 ones with --activations 8. "
                "Leave other bits out."
            )
        return Precision(weights=4, activations=options.activations or 16, block=options.int4_blocks)
    bits = 8 if options.bits is None else options.bits
    weights = bits if options.weights is None else options.weights
    activations = bits if options.activations is None else options.activations
    asked = Precision(weights=weights, activations=activations)
    for width in () if asked.is_wide else (weights, activations):
        Precision.from_bits(width)
    return asked


def _search(options: argparse.Namespace) -> FloatSearch | None:
    if options.keep_float != "auto":
        given = [name for name in _SEARCH if getattr(options, name)]
        if given:
            flag = given[0].replace("_", "-")
            raise InputError(f"--{flag} belongs to --keep-float auto. Add that, or leave --{flag} out.")
        return None
    if options.max_drop is None:
        raise InputError("--keep-float auto needs to know how much may be lost: pass --max-drop POINTS, such as 2.")
    if not 0 < options.max_drop < _POINTS:
        raise InputError(f"Expected --max-drop in points between 0 and 100, got {options.max_drop:g}. Use 2.")
    if options.surrogate is not None and not options.attack:
        raise InputError("--surrogate is what --attack is made on. Pass an --attack, or leave it out.")
    return FloatSearch(
        max_drop=options.max_drop / _POINTS,
        data=options.data,
        labels=options.labels,
        images=options.images,
        attacks=tuple(options.attack),
        surrogate=options.surrogate,
    )


def size_beside_float(size: int, reference: int) -> str:
    """Say how a file's bytes compare with the float model's; small networks can grow by their Q/DQ.

    Example:
        >>> size_beside_float(100, 360), size_beside_float(120, 100), size_beside_float(100, 101)
        ('3.6x smaller than float', '1.2x larger than float', 'as large as float')
    """
    smaller, larger = f"{reference / size:.1f}", f"{size / reference:.1f}"
    if smaller == larger:
        return "as large as float"
    return f"{smaller}x smaller than float" if reference > size else f"{larger}x larger than float"


def _print(built: Built) -> None:
    figures = built.to_json()
    beside = size_beside_float(figures["size_bytes"], figures["reference_size_bytes"])
    print(f"{figures['path']}  {figures['size_bytes']:,} bytes, {beside}")
    print(f"{built.card.recipe['grid']}; {figures['precision']}, sha256 {figures['sha256'][:16]}")
    print(f"integer coverage {built.audit.integer_coverage:.2%} of {built.audit.macs:,} multiply-accumulates")
    if built.canonical is not None:
        same = "the same function to the last bit" if "profile" in built.card.recipe else "the same codes and scales"
        print(f"{built.canonical}  {same}, laid out for TensorRT and OpenVINO")
    if built.audit.float_layers:
        rows = [[layer.name, layer.kernel, layer.reason] for layer in built.audit.float_layers[:_FLOAT_ROWS]]
        print("layers not proven integer:")
        print(table(["layer", "kernel", "why"], rows))
    for note in built.notes:
        print(f"note: {note}")
