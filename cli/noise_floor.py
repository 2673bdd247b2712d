"""How far one file's answers move with nothing but the runtime, its threads, or the simulation in its place."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from numpy.typing import NDArray

from ..core.errors import RobustMQError
from ..core.provenance import available_cores
from ..engines.behaviour import compare, score_all
from ..engines.catalog import doctor, open_engine
from ..inputs.dataset import Dataset
from ..inputs.loader import load_images
from .targets import Opened

_IMAGES = 64
_ONNX = ".onnx"
_PLAIN = (_ONNX, ".xml", ".tflite")


def noise_floor(targets: Sequence[Opened], dataset: Dataset, *, threads: int | None) -> dict[str, dict[str, str]]:
    """Compare each file's answers with those of its other ways to run, on clean images of the run.

    Differences between engines that are not larger than these are no differences between models.

    Returns:
        Target to way of running to the sentence of what differed, or of why it could not be run. Targets of native code
        and on servers run in one way only and are left out.
    """
    some = dataset.subset(min(_IMAGES, len(dataset)), 0)
    images = load_images(some, targets[0].target.pipeline, threads=available_cores()).images
    found = {}
    for opened in targets:
        if _runs_in_several_ways(opened) and len(images):
            batch = opened.target.pipeline.tensor(images)
            found[opened.target.name] = {way: _compared(opened, batch, *how) for way, how in _ways(opened, threads)}
    return found


def _runs_in_several_ways(opened: Opened) -> bool:
    """Native code, servers, and engines behind a manifest run in the one way they were asked for."""
    plain = opened.path is not None and opened.path.suffix.lower() in _PLAIN
    return plain and not {"manifest", "custom_ops"} & opened.target.identity.keys()


def _ways(opened: Opened, threads: int | None) -> Iterator[tuple[str, tuple[str, int | None]]]:
    """Name the other ways to run a file: target and threads of each."""
    provenance = opened.target.engine.provenance()
    path, backend = opened.path, str(provenance["backend"])
    assert path is not None
    other = 1 if threads != 1 else available_cores()
    if other != (threads or available_cores()):
        yield f"threads: {other}", (f"{backend}:{path}", other)
    if path.suffix.lower() != _ONNX:
        return
    working = {status.name for status in doctor() if status.works}
    for name in ("onnxruntime", "openvino"):
        if name in working and name != provenance["kind"]:
            yield name, (f"{name}:{path}", threads)
    if provenance["kind"] != "onnxruntime-simulation":
        yield "simulation", (f"simulation:{path}", threads)


def _compared(opened: Opened, batch: NDArray[Any], target: str, threads: int | None) -> str:
    engine = None
    try:
        engine = open_engine(target, threads=threads)
        ours, theirs = score_all(opened.target.engine, batch), score_all(engine, batch)
        return compare(ours, theirs).sentence()
    except RobustMQError as error:
        return f"not run: {error}"
    finally:
        if engine is not None:
            engine.close()
