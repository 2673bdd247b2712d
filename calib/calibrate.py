"""Calibration from end to end: images in, one range per activation tensor and method out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np
import onnx

from ..core.errors import InputError, unknown
from .catalog import MethodEntry, find_method
from .graph import absorbed_tensors, activation_tensors
from .histogram import Floats, Observed
from .observe import Plan, Progress, observe
from .seen import Seen

Ranges = Mapping[str, tuple[float, float]]


def calibrate(
    model: onnx.ModelProto,
    batches: Callable[[], Iterable[Floats]],
    *,
    methods: Sequence[str],
    tensors: Sequence[str] | None = None,
    threads: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    images: int = 0,
) -> dict[str, Ranges]:
    """Choose activation ranges by several methods out of one pass over the images.

    Every method reads the same exact extremes and the same histograms (`histogram.py`), so four methods cost hardly
    more than one, and ``minmax`` alone skips the histograms. Time per image: one forward pass, 0.3 ns a value for the
    extremes and 2 ns a value for the histogram. Memory: the activations of one image per thread.

    A tensor that only leads into Relu or Clip gets, by every method but ``minmax``, the range chosen behind the
    activation function: ONNX Runtime's quantizer overwrites it with that anyway. Its ``minmax`` is its own; it is not
    looked at where that is not asked for. Ranges are not widened to hold zero; the quantizer does that
    (``compute_scale_zp`` in ONNX Runtime).

    Args:
        model: A float classifier with one float32 image input.
        batches: Called once; gives (n, ...) float32 arrays as the model takes them, n free to vary.
        methods: Names from `catalog.METHODS`, ``percentile:99.9`` included.
        tensors: Which activations; None for all of `activation_tensors`.
        threads: Images computed at a time, at most 8; None for one on each core. The result does not depend on it.
        progress: Called in the caller's thread with the number of images done and ``images``.
        images: How many images will come, if known; only passed on to ``progress``.

    Returns:
        Method as written in ``methods`` -> tensor name -> (low, high), low <= high, both finite.

    Raises:
        InputError: If a method or tensor is unknown, there is no image, every image is one flat colour, an image does
            not fit the model's input, or an activation is not finite (the message names tensor and image).
        UnsupportedError: If ONNX Runtime is not installed.
    """
    plan = plan_of(model, methods, tensors)
    report = None if progress is None else lambda done: progress(done, images)
    return choose(model, see(model, batches(), plan, threads=threads, progress=report), methods, tensors)


def plan_of(model: onnx.ModelProto, methods: Sequence[str], tensors: Sequence[str] | None = None) -> Plan:
    """Say what has to be observed for some methods.

    Raises:
        InputError: If a method or tensor is unknown.
    """
    entries, wanted = [find_method(name) for name in methods], _wanted(model, tensors)
    behind = _behind(model, wanted)
    own = tuple(name for name in wanted if name not in behind)
    seen = own if all(entry.needs_histogram for entry in entries) else wanted
    return Plan(tensors=seen, counted=frozenset(own if any(entry.needs_histogram for entry in entries) else ()))


def see(
    model: onnx.ModelProto,
    batches: Iterable[Floats],
    plan: Plan,
    *,
    threads: int | None = None,
    progress: Progress | None = None,
    first: int = 0,
) -> Seen:
    """Run images through the model; see `observe`, which says what is raised."""
    flat = True

    def watched() -> Iterator[Floats]:
        nonlocal flat
        for batch in batches:
            if len(batch) and flat:
                flat = batch.ndim == 4 and _is_flat(batch)
            yield batch

    tensors = observe(model, watched(), plan, threads=threads, progress=progress, first=first)
    return Seen(tensors=tensors, flat=flat)


def choose(
    model: onnx.ModelProto, seen: Seen, methods: Sequence[str], tensors: Sequence[str] | None = None
) -> dict[str, Ranges]:
    """Choose ranges by what was seen according to `plan_of` the same methods and tensors.

    Raises:
        InputError: If there was no image, or every image was one flat colour: ranges of nothing fit no other image.
    """
    if not seen.tensors:
        raise InputError("Expected at least one calibration image, got none. Pass images, e.g. with `--calib DIR`.")
    if seen.flat:
        raise InputError(
            "Every calibration image is one flat colour, such as black, so the ranges would fit no other image. Check "
            "the files and the preset."
        )
    wanted = _wanted(model, tensors)
    behind = _behind(model, wanted)
    source = {name: behind.get(name, name) for name in wanted}
    return {name: _ranges(find_method(name), seen.tensors, source) for name in methods}


def _behind(model: onnx.ModelProto, wanted: Sequence[str]) -> dict[str, str]:
    """Name the tensor behind the activation function, for each wanted one that only leads into it."""
    return {name: to for name, to in absorbed_tensors(model).items() if name in wanted and to in wanted}


def _ranges(entry: MethodEntry, observed: Mapping[str, Observed], source: Mapping[str, str]) -> Ranges:
    if not entry.needs_histogram:
        return {name: entry.choose(observed[name]) for name in source}
    own = {name: entry.choose(observed[name]) for name in dict.fromkeys(source.values())}
    return {name: own[behind] for name, behind in source.items()}


def _wanted(model: onnx.ModelProto, tensors: Sequence[str] | None) -> tuple[str, ...]:
    known = activation_tensors(model)
    if tensors is None:
        return known
    for name in tensors:
        if name not in known:
            raise unknown("activation tensor", name, known)
    return tuple(name for name in known if name in set(tensors))


def _is_flat(images: Floats) -> bool:
    """Tell whether every image has one value a channel; channels are the shorter of the axes they can be on."""
    axes = (2, 3) if images.shape[1] <= images.shape[3] else (1, 2)
    pixels = images.shape[axes[0]] * images.shape[axes[1]]
    return pixels > 1 and bool((np.ptp(images, axis=axes) == 0).all())
