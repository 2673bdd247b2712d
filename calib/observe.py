"""The streaming pass: images in, one `Observed` per tensor out, in memory that does not grow with their number.

Each worker thread takes one image at a time through its own `Probe` and keeps its own summaries, which merge exactly
at the end; so the result is the same for every number of threads and every batch size of the caller.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import reduce
from itertools import islice
from queue import SimpleQueue

import numpy as np
import onnx

from ..core.errors import InputError
from ..core.provenance import available_cores
from .graph import fixed_batch, model_input
from .histogram import Floats, Observed
from .probe import Probe, open_model
from .tally import NotFiniteError, Tally, scratch

Progress = Callable[[int], None]

_MOST_WORKERS = 8  # each holds the activations of one image, 52 MB for MobileNetV2


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is to be observed.

    Attributes:
        tensors: Activations whose extremes are wanted, in the order of computation.
        counted: Those among them whose histogram is wanted too.
    """

    tensors: tuple[str, ...]
    counted: frozenset[str]


def observe(
    model: onnx.ModelProto,
    batches: Iterable[Floats],
    plan: Plan,
    *,
    threads: int | None,
    progress: Progress | None,
    first: int = 0,
) -> dict[str, Observed]:
    """Run every image through the model once and summarise each activation.

    Args:
        model: A float classifier with one image input.
        batches: (n, ...) float32 arrays as the model takes them; n may differ between batches. Consumed once, in the
            caller's thread, while other threads compute. The arrays may be overwritten after they are handed over.
        plan: Which tensors, and how closely.
        threads: Images computed at a time, at most 8; None for one on each core the process may run on.
        progress: Called with the number of images done, in the caller's thread.
        first: Number of the first image, where there were others before.

    Returns:
        Tensor name to summary, in the plan's order; nothing if there is no image.

    Raises:
        InputError: If an image does not fit the model's input, or an activation is not finite.
        UnsupportedError: If ONNX Runtime is not installed.
    """
    workers = min(threads or available_cores(), _MOST_WORKERS)
    opened = open_model(model, plan.tensors)
    observers = [_Observer(Probe(opened, plan.tensors), plan) for _ in range(workers)]
    _run_all(observers, _inputs(model, batches), progress, first)
    parts = [part for observer in observers if (part := observer.seen())]
    if not parts:
        return {}
    return {name: reduce(Observed.merge, (part[name] for part in parts)) for name in plan.tensors}


def _run_all(observers: list[_Observer], inputs: Iterator[Floats], progress: Progress | None, start: int) -> None:
    free: SimpleQueue[_Observer] = SimpleQueue()
    for observer in observers:
        free.put(observer)

    def work(index: int, images: Floats) -> int:
        observer = free.get()
        try:
            observer.see(index, images)
        finally:
            free.put(observer)
        return index + len(images)

    def finish(future: Future[int]) -> None:
        done = future.result()
        if progress is not None:
            progress(done)

    with ThreadPoolExecutor(len(observers)) as pool:
        pending: deque[Future[int]] = deque()
        try:
            for images in inputs:
                pending.append(pool.submit(work, start, images))
                start += len(images)
                if len(pending) > 2 * len(observers):
                    finish(pending.popleft())
            while pending:
                finish(pending.popleft())
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


class _Observer:
    """One thread's share of the images."""

    def __init__(self, probe: Probe, plan: Plan) -> None:
        self._probe = probe
        self._plan = plan
        self._work = scratch()
        self._tallies: dict[str, Tally] = {}

    def see(self, index: int, images: Floats) -> None:
        for name, values in self._probe.activations(images):
            if name not in self._tallies:
                self._tallies[name] = Tally(counted=name in self._plan.counted)
            try:
                self._tallies[name].add(values, self._work)
            except NotFiniteError as error:
                raise InputError(
                    f"Tensor '{name}' is not finite for calibration image {index} (counted from 0): {error}. "
                    "Check the preprocessing and the model, or leave the image out."
                ) from error

    def seen(self) -> dict[str, Observed]:
        return {name: tally.observed() for name, tally in self._tallies.items()}


def _inputs(model: onnx.ModelProto, batches: Iterable[Floats]) -> Iterator[Floats]:
    """Cut batches into what one run takes: one image, or the batch size the model is fixed to."""
    value = model_input(model)
    expected = [dim.dim_value if dim.HasField("dim_value") else None for dim in value.type.tensor_type.shape.dim]
    size = fixed_batch(model) or 1
    images = (image for batch in batches for image in _checked(batch, expected, value.name))
    while group := list(islice(images, size)):
        if len(group) < size:
            raise InputError(
                f"Model input '{value.name}' takes batches of {size} images and {len(group)} are left over. "
                f"Pass a multiple of {size} images, or a model with a dynamic batch."
            )
        yield np.stack(group)


def _checked(batch: Floats, expected: list[int | None], name: str) -> Floats:
    fits = batch.ndim == len(expected) and all(
        want in (None, 0, got) for want, got in zip(expected[1:], batch.shape[1:], strict=True)
    )
    if batch.dtype != np.float32 or not fits:
        shape = ", ".join("?" if want is None else str(want) for want in ["N", *expected[1:]])
        raise InputError(
            f"Expected batches of shape ({shape}) float32 for input '{name}', got {batch.shape} {batch.dtype}. "
            "Choose the preprocessing preset that belongs to the model."
        )
    return batch
