"""`build`: from a float model and images to an integer engine with its card, or nothing."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..calib.catalog import METHODS
from ..core.precision import Precision
from .options import Subparsers, add_common, positive, print_json, share, table
from .progress import Progress
from .recipe import TARGETS, BuildRequest, Built, build

_FLOAT_ROWS = 8


def add_parser(commands: Subparsers) -> None:
    """Add the subcommand."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "build", help="calibrate a float model into an integer engine", description=__doc__
    )
    parser.add_argument("model", nargs="?", help="ONNX file, module:callable, torchvision:NAME or timm:NAME")
    parser.add_argument("--bits", type=int, default=8, help="bits of weights and activations (default 8)")
    parser.add_argument("--calib", type=Path, metavar="DIR", help="calibration images, labelled or not")
    parser.add_argument("--calib-size", type=positive, default=128, metavar="N", help="images to use (default 128)")
    parser.add_argument(
        "--method", default="minmax", metavar="NAME", help=f"calibrator: {', '.join(sorted(METHODS))} (default minmax)"
    )
    parser.add_argument("--ranges", type=Path, metavar="FILE", help="use a saved range table instead of calibrating")
    parser.add_argument("--preset", default="torchvision", metavar="NAME|FILE.toml", help="preprocessing of the model")
    parser.add_argument("--size", type=positive, metavar="PIXELS", help="input size of a PyTorch model")
    parser.add_argument("--weights", type=Path, metavar="FILE", help="state dict of a PyTorch model (data only)")
    parser.add_argument("--target", default=TARGETS[0], help=f"runtime: {', '.join(TARGETS)} (default {TARGETS[0]})")
    parser.add_argument("--require-integer", type=share, metavar="SHARE", help="fail below this integer coverage")
    parser.add_argument("-o", "--output", type=Path, default=Path("robustmq-engines"), metavar="DIR")
    add_common(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the subcommand."""
    request = BuildRequest(
        model=options.model,
        precision=Precision.from_bits(options.bits),
        calib=options.calib,
        calib_size=options.calib_size,
        method=options.method,
        preset=options.preset,
        target=options.target,
        output=options.output,
        ranges=options.ranges,
        require_integer=options.require_integer,
        size=None if options.size is None else (options.size, options.size),
        weights=options.weights,
        seed=options.seed,
        threads=options.threads,
    )
    built = build(request, Progress(quiet=options.quiet))
    if options.json:
        print_json(built.to_json())
    else:
        _print(built)
    return 0


def _print(built: Built) -> None:
    figures = built.to_json()
    smaller = figures["reference_size_bytes"] / figures["size_bytes"]
    print(f"{figures['path']}  {figures['size_bytes']:,} bytes, {smaller:.1f}x smaller than float")
    print(
        f"{Precision.parse(figures['precision']).describe()}; {figures['precision']}, sha256 {figures['sha256'][:16]}"
    )
    print(f"integer coverage {built.audit.integer_coverage:.2%} of {built.audit.macs:,} multiply-accumulates")
    if built.audit.float_layers:
        rows = [[layer.name, layer.kernel, layer.reason] for layer in built.audit.float_layers[:_FLOAT_ROWS]]
        print("layers not proven integer:")
        print(table(["layer", "kernel", "why"], rows))
    for note in built.notes:
        print(f"note: {note}")
