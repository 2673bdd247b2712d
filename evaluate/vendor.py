"""Joining an engine, a preset and the vendor's manifest into what is measured."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple, cast

from ..core.errors import InputError
from ..core.manifest import Manifest, Normalisation
from ..engines.adapted import AdaptedEngine, AdaptedPipelinedEngine
from ..engines.protocol import Engine, OutputKind, Pipelined
from ..inputs.pipeline import Pipeline


class Fitted(NamedTuple):
    """An engine and the pipeline that feeds it."""

    engine: Engine
    pipeline: Pipeline


def fit(engine: Engine, pipeline: Pipeline, manifest: Manifest | None = None) -> Fitted:
    """Fit a preset to an engine's signature and its manifest.

    Decoder, resizer and crop come from the preset. Size, layout and type come from the engine. Colour order and
    normalisation come from the manifest, else from the preset. An 8-bit input gets the pixels as they are, unless the
    manifest normalises: then the normalised values are put on the input's own grid.

    Args:
        engine: Any engine.
        pipeline: The preset, of any size.
        manifest: The vendor's word, or None.

    Raises:
        InputError: If the manifest contradicts the engine.
    """
    spec = engine.spec
    fitted = replace(pipeline.for_size(spec.height, spec.width), layout=spec.layout)
    if manifest is None:
        return Fitted(engine, replace(fitted, dtype=spec.dtype))
    if manifest.layout not in (None, spec.layout):
        raise InputError(
            f"The manifest says {manifest.layout}, but '{spec.input_name}' takes {spec.layout} images of shape "
            f"{spec.image_shape}. Correct `layout`."
        )
    quantize = spec.dtype == "uint8" and manifest.normalisation is not None and not manifest.takes_pixels
    classes = manifest.class_map(spec.classes)
    adapter = AdaptedPipelinedEngine if isinstance(engine, Pipelined) else AdaptedEngine
    adapted = adapter(engine, output_kind=cast(OutputKind | None, manifest.kind), classes=classes, quantize=quantize)
    return Fitted(adapted, _normalised(replace(fitted, dtype=adapted.spec.dtype), manifest))


def _normalised(pipeline: Pipeline, manifest: Manifest) -> Pipeline:
    """Set colour order and normalisation; a pipeline keeps mean and std in the engine's channel order."""
    own = Normalisation(pipeline.mean, pipeline.std)
    in_rgb = own if pipeline.colour == "rgb" else _reversed(own)
    wanted, colour = manifest.normalisation or in_rgb, manifest.colour or pipeline.colour
    mean, std = wanted if colour == "rgb" else _reversed(wanted)
    return replace(pipeline, colour=colour, mean=mean, std=std)


def _reversed(normalisation: Normalisation) -> Normalisation:
    (red, green, blue), (red_std, green_std, blue_std) = normalisation
    return Normalisation((blue, green, red), (blue_std, green_std, red_std))
