"""`build`: from a float model and images to an integer engine with its card, or nothing."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..calib.catalog import METHODS
from ..core.precision import Precision
from ..core.recipe import Recipe
from ..export.profiles import PROFILES
from .assembly import NATIVE_PROFILE, TARGETS, build
from .narrow import ROUNDINGS
from .options import Subparsers, add_common, positive, print_json, share, table
from .progress import Progress
from .request import BuildRequest, Built

_FLOAT_ROWS = 8


def add_parser(commands: Subparsers) -> None:
    """Add the subcommand."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "build", help="calibrate a float model into an integer engine", description=__doc__
    )
    parser.add_argument("model", nargs="?", help="ONNX file, module:callable, torchvision:NAME or timm:NAME")
    parser.add_argument("--bits", type=int, default=8, help="bits of weights and activations, 2..8 (default 8)")
    parser.add_argument("--weights", type=int, metavar="N", help="bits of the weights, where they differ")
    parser.add_argument("--activations", type=int, metavar="N", help="bits of the activations, where they differ")
    parser.add_argument("--recipe", type=Path, metavar="FILE.toml", help="bits layer by layer, instead of --bits")
    parser.add_argument(
        "--profile", choices=sorted(PROFILES), default=NATIVE_PROFILE, help="layout of the QDQ file (default cpu-u8)"
    )
    parser.add_argument(
        "--rounding", choices=ROUNDINGS, default="gptq", help="how weights below 8 bits are rounded (default gptq)"
    )
    parser.add_argument("--calib", type=Path, metavar="DIR", help="calibration images, labelled or not")
    parser.add_argument("--calib-size", type=positive, default=128, metavar="N", help="images to use (default 128)")
    parser.add_argument(
        "--method", default="minmax", metavar="NAME", help=f"calibrator: {', '.join(sorted(METHODS))} (default minmax)"
    )
    parser.add_argument("--ranges", type=Path, metavar="FILE", help="use a saved range table instead of calibrating")
    parser.add_argument("--preset", default="torchvision", metavar="NAME|FILE.toml", help="preprocessing of the model")
    parser.add_argument("--size", type=positive, metavar="PIXELS", help="input size of a PyTorch model")
    parser.add_argument("--state-dict", type=Path, metavar="FILE", help="weights of a PyTorch model (data only)")
    parser.add_argument("--target", default=TARGETS[0], help=f"runtime: {', '.join(TARGETS)} (default {TARGETS[0]})")
    parser.add_argument("--require-integer", type=share, metavar="SHARE", help="fail below this integer coverage")
    parser.add_argument("-o", "--output", type=Path, default=Path("robustmq-engines"), metavar="DIR")
    add_common(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the subcommand."""
    request = BuildRequest(
        model=options.model,
        recipe=_recipe(options),
        profile=options.profile,
        rounding=options.rounding,
        calib=options.calib,
        calib_size=options.calib_size,
        method=options.method,
        preset=options.preset,
        target=options.target,
        output=options.output,
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
    if options.recipe is not None:
        return Recipe.load(options.recipe)
    weights = options.bits if options.weights is None else options.weights
    activations = options.bits if options.activations is None else options.activations
    for bits in (weights, activations):
        Precision.from_bits(bits)
    return Recipe(precision=Precision(weights=weights, activations=activations))


def _print(built: Built) -> None:
    figures = built.to_json()
    smaller = figures["reference_size_bytes"] / figures["size_bytes"]
    print(f"{figures['path']}  {figures['size_bytes']:,} bytes, {smaller:.1f}x smaller than float")
    print(f"{built.card.recipe['grid']}; {figures['precision']}, sha256 {figures['sha256'][:16]}")
    print(f"integer coverage {built.audit.integer_coverage:.2%} of {built.audit.macs:,} multiply-accumulates")
    if built.canonical is not None:
        print(f"{built.canonical}  the same function to the last bit, laid out for TensorRT and OpenVINO")
    if built.audit.float_layers:
        rows = [[layer.name, layer.kernel, layer.reason] for layer in built.audit.float_layers[:_FLOAT_ROWS]]
        print("layers not proven integer:")
        print(table(["layer", "kernel", "why"], rows))
    for note in built.notes:
        print(f"note: {note}")
