"""The float model a build starts from: read or exported, cleaned, with the preprocessing that fits it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from onnx import ModelProto

from .. import assets
from ..export.onnx_file import read_model
from ..export.prepare import prepare
from ..export.signature import Signature, classifier_signature
from ..inputs.catalog import find_preset
from ..inputs.pipeline import Pipeline
from .progress import Progress
from .request import BuildRequest


@dataclass(frozen=True, kw_only=True)
class Source:
    """What is quantized.

    Attributes:
        model: The cleaned float model.
        signature: What it takes and gives.
        pipeline: Its preprocessing.
        stem: What its files are called.
        notes: What the user should know.
    """

    model: ModelProto
    signature: Signature
    pipeline: Pipeline
    stem: str
    notes: tuple[str, ...]


def read_source(request: BuildRequest, progress: Progress) -> Source:
    """Read the model a build is asked for, and clean it.

    Raises:
        InputError: If the model or the preset cannot be used.
        UnsupportedError: If the model is no classifier that can be quantized.
        RefusedError: If its external data reaches outside its folder.
    """
    progress.stage(f"Reading {request.model or 'the embedded model'}")
    read, notes = _source_model(request)
    prepared = prepare(read)
    signature = classifier_signature(prepared.model)
    pipeline = find_preset(request.preset).for_size(signature.height, signature.width)
    return Source(
        model=prepared.model,
        signature=signature,
        pipeline=replace(pipeline, layout=signature.layout),
        stem=_stem(request.model),
        notes=(*notes, *prepared.notes),
    )


def _source_model(request: BuildRequest) -> tuple[ModelProto, tuple[str, ...]]:
    if request.model is None:
        return read_model(assets.model_path()), ()
    if _is_torch(request.model):
        from ..export.torch_model import export_torch

        exported = export_torch(request.model, size=request.size, weights=request.state_dict)
        parity = exported.parity
        note = (
            f"exported from {request.model}: max |logit difference| {parity.max_abs_difference:.2g} of "
            f"{parity.scale:.3g}, same top class on {parity.top1_agreement:.0%} of {parity.images} random images"
        )
        return exported.model, (note,)
    return read_model(Path(request.model)), ()


def _is_torch(model: str) -> bool:
    return ":" in model and not model.endswith(".onnx") and not Path(model).exists()


def _stem(model: str | None) -> str:
    if model is None:
        return "embedded"
    name = Path(model).name.removesuffix(".onnx").removesuffix(".fp32").removesuffix("_float")
    return "".join(letter if letter.isalnum() or letter in "._-" else "-" for letter in name)
