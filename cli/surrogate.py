"""Opening the models that transfer attacks take gradients from, and saying how far they answer like each target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.artifact import read_card
from ..core.errors import EngineError, UnsupportedError
from ..core.files import sha256_file
from ..core.provenance import available_cores
from ..evaluate.plan import Surrogate
from ..evaluate.target import scores
from ..evaluate.twin.agreement import agree, agreement
from ..evaluate.twin.ensemble import Member, fused
from ..evaluate.twin.twin import Twin
from ..export.onnx_file import read_model
from ..inputs.dataset import Dataset
from ..inputs.loader import load_images
from ..inputs.pipeline import Pipeline
from .targets import Opened

_AGREEMENT_IMAGES = 128
_TWIN_BATCH = 8  # a backward pass keeps every activation of the batch


def open_surrogate(
    models: Sequence[Path], targets: Sequence[Opened], dataset: Dataset, *, threads: int | None
) -> Surrogate:
    """Open what transfer attacks take gradients from.

    Args:
        models: Model files; none is the first target's own, several are an ensemble of their logits.
        targets: The engines of the run.
        dataset: Its images; the twin of a target's own file is compared with that engine on some of them.
        threads: Threads of the surrogate.

    Returns:
        The surrogate, with the reason where no gradient can be had, or where a twin answers unlike its own engine: the
        other cells can still be measured.

    Raises:
        InputError: If a file is no model, or does not take the targets' images.
        RefusedError: If its external data reaches outside its folder.
    """
    paths: Sequence[Path | None] = models or [targets[0].path]
    hashes = []
    members: list[Member] = []
    for path in paths:
        if path is None:
            missing = "a server gives no gradients: pass --surrogate with a float model like the one it serves"
            return Surrogate(source=None, sha256="", missing=missing)
        own = _own(path, targets)
        if path.suffix != ".onnx" or (own is not None and "custom_ops" in own.target.identity):
            missing = f"'{path.name}' gives no gradients: pass --surrogate with a float ONNX model like it"
            return Surrogate(source=None, sha256="", missing=missing)
        members.append((read_model(path), _pipeline(path, targets)))
        hashes.append(sha256_file(path))
    joined = "+".join(hashes)
    try:
        model = members[0][0] if len(members) == 1 else fused(members)
        twin = Twin.open(model, members[0][1], threads=threads, batch=_TWIN_BATCH)
    except UnsupportedError as error:  # the other cells can still be measured
        return Surrogate(source=None, sha256=joined, missing=str(error))
    if len(members) == 1 and (refusal := _refusal(paths[0], twin, targets, dataset)):
        return Surrogate(source=None, sha256=joined, missing=refusal)
    return Surrogate(source=twin, sha256=joined)


def _refusal(path: Path | None, twin: Twin, targets: Sequence[Opened], dataset: Dataset) -> str:
    """Say why a twin may not stand for the engine of the same file; empty where it may, or stands for no engine."""
    own = _own(path, targets)
    if own is None:
        return ""
    images = _some(dataset, targets)
    try:
        answers = scores(own.target, images) if len(images) else None
    except EngineError:
        return ""  # its cells say why
    if answers is None:
        return ""
    logits = own.target.engine.spec.output_kind == "logits"
    return agree(twin.scores(images), answers, logits=logits).refusal


def _own(path: Path | None, targets: Sequence[Opened]) -> Opened | None:
    if path is None:
        return None
    return next((o for o in targets if o.path is not None and o.path.resolve() == path.resolve()), None)


def _some(dataset: Dataset, targets: Sequence[Opened]) -> NDArray[np.uint8]:
    some = replace(dataset, samples=dataset.samples[:_AGREEMENT_IMAGES])
    return load_images(some, targets[0].target.pipeline, threads=available_cores()).images


def _pipeline(path: Path, targets: Sequence[Opened]) -> Pipeline:
    """Give the preprocessing of the surrogate: its own where it is a target too, else the reference's, in float."""
    own, reference = _own(path, targets), targets[0].target.pipeline
    if own is not None or reference.dtype == "float32":
        return reference if own is None else own.target.pipeline
    card = read_card(path)
    declared = reference if card is None or not card.preset else Pipeline.from_mapping(card.preset)
    return replace(declared, size=reference.size, layout="nchw", dtype="float32")


def surrogate_agreement(surrogate: Surrogate | None, targets: Sequence[Opened], dataset: Dataset) -> dict[str, Any]:
    """Say how far the surrogate answers like each target, on some images of the run."""
    if surrogate is None or not isinstance(surrogate.source, Twin):
        return {"surrogate": "none" if surrogate is None else surrogate.missing}
    images = _some(dataset, targets)
    if not len(images):
        return {"surrogate": "not compared, none of the images it would be compared on decodes"}
    logits = surrogate.source.scores(images)
    found = {}
    for target in (opened.target for opened in targets):
        try:
            found[target.name] = agreement(logits, scores(target, images))
        except EngineError:
            continue  # its cells say why
    return {
        "sha256": surrogate.sha256,
        "agreement": {name: f"{i.value:.3f} [{i.low:.3f}, {i.high:.3f}], n {i.n}" for name, i in found.items()},
    }
