"""`ranges channels`: what enters a transformer's products and normalizations, channel by channel."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ..calib.channels import ChannelRange, channel_ranges, peak, transformer_tensors
from ..core.errors import UnsupportedError
from .calibration import open_images
from .options import positive, print_json, table
from .progress import Progress
from .request import BuildRequest
from .source import read_source


def add_action(actions: Any) -> None:
    """Add the action to those of `ranges`."""
    parser: argparse.ArgumentParser = actions.add_parser(
        "channels", help="extremes of a transformer's activations, channel by channel", description=__doc__
    )
    parser.add_argument("model", metavar="MODEL", help="a float ONNX file")
    parser.add_argument("--calib", type=Path, required=True, metavar="DIR", help="images, labelled or not")
    parser.add_argument("--calib-size", type=positive, default=128, metavar="N", help="images to use (default 128)")
    parser.add_argument("--preset", default="torchvision", metavar="NAME|FILE.toml", help="preprocessing of the model")
    parser.add_argument("--seed", type=int, default=0, help="of the draw of images")
    parser.add_argument("--json", action="store_true", help="print one JSON document on stdout")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the action."""
    request = BuildRequest(
        model=options.model,
        calib=options.calib,
        calib_size=options.calib_size,
        preset=options.preset,
        seed=options.seed,
    )
    source = read_source(request, Progress(quiet=True))
    tensors = transformer_tensors(source.model)
    if not tensors:
        raise UnsupportedError(
            f"'{options.model}' has no LayerNormalization and no MatMul with a constant matrix, so no channels on the "
            "last axis. For a convolutional network see the ranges that `build` writes."
        )
    images = open_images(request, source.pipeline)
    assert images is not None
    found = channel_ranges(source.model, images.batches(), tensors)
    count = len(images.dataset) - len(images.failures)
    if options.json:
        print_json({"images": count, "tensors": {name: _document(seen) for name, seen in found.items()}})
    else:
        print(f"{count} images, {len(found)} tensors; peak is the largest channel over the median one")
        print(table(["tensor", "channels", "low", "high", "peak", "dead"], [_row(*item) for item in found.items()]))
    return 0


def _row(name: str, seen: ChannelRange) -> list[str]:
    dead = int((seen.magnitude == 0).sum())
    ends = (f"{seen.low.min():.5g}", f"{seen.high.max():.5g}")
    return [name, str(len(seen.low)), *ends, f"{peak(seen.magnitude):.1f}", str(dead)]


def _document(seen: ChannelRange) -> dict[str, Any]:
    return {"low": seen.low.tolist(), "high": seen.high.tolist(), "peak": peak(seen.magnitude)}
