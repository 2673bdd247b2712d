"""What an engine answers to delivered examples: as they are, re-encoded as JPEG, and behind other preprocessing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError, RobustMQError, unknown
from ..core.record import Record
from ..core.statistics import Interval, wilson
from ..inputs.catalog import PRESETS
from ..inputs.decode import decode
from ..inputs.pipeline import Pipeline
from .conditions import CLEAN, Condition
from .corruptions.jpeg import encode as encode_jpeg
from .rates import failed, record, share
from .target import Target, answer

Images = NDArray[np.uint8]
Bools = NDArray[np.bool_]
QUALITIES = (95, 90, 75)
_OWN_WAY = "its pictures were attacked on their own way into the engine and have no other: leave inject out"


@dataclass(frozen=True, kw_only=True)
class Route:
    """How delivered images reach the engine.

    Attributes:
        name: What records call it: ``lossless``, ``jpeg:90`` or ``preset:opencv-nearest``.
        quality: libjpeg's quality of the re-encoding; None for PNG, which loses nothing.
        preset: Preprocessing applied to the decoded image at its delivered size; empty for none.
    """

    name: str
    quality: int | None = None
    preset: str = ""

    @property
    def missing(self) -> str:
        """Which package its preset lacks here and how to install it; empty where the route can be taken."""
        return PRESETS[self.preset].missing if self.preset else ""


LOSSLESS = Route(name="lossless")


def all_routes(presets: Sequence[str] = (), qualities: Sequence[int] = QUALITIES) -> list[Route]:
    """Give the lossless route, one per JPEG quality and one per preset.

    Raises:
        InputError: If there is no such preset.
    """
    for name in presets:
        if name not in PRESETS:
            raise unknown("preset", name, PRESETS)
    return [
        LOSSLESS,
        *(Route(name=f"jpeg:{quality}", quality=quality) for quality in qualities),
        *(Route(name=f"preset:{name}", preset=name) for name in presets),
    ]


def named_route(name: str) -> Route:
    """Give the route of a name that `all_routes` gave, with any JPEG quality."""
    kind, _, rest = name.partition(":")
    if kind == "jpeg":
        return Route(name=name, quality=int(rest))
    return Route(name=name, preset=rest)


def with_routes(conditions: Sequence[Condition], routes: Sequence[Route]) -> list[Condition]:
    """Put behind each attack its examples on every route, and the clean images on every route before all.

    The images of an attack are made once and taken on all of its routes, which therefore follow it. A route that can't
    be taken here keeps its conditions, unsupported.
    """
    missing = {route.name: route.missing for route in routes}

    def routed(condition: Condition) -> list[Condition]:
        own = _OWN_WAY if "inject" in dict(condition.words) else ""
        return [condition.via(name, unsupported=own or reason) for name, reason in missing.items()]

    found = [CLEAN, *routed(CLEAN)]
    for condition in conditions:
        found.append(condition)
        if condition.kind == "attack" and not condition.unsupported:
            found += routed(condition)
    return found


def through(images: Images, route: Route, pipeline: Pipeline) -> Images:
    """Encode images, decode them as the deployment does, and preprocess them as the route says.

    Args:
        images: (N, H, W, 3) uint8 at the engine's size.
        route: What happens on the way.
        pipeline: The deployment's: its decoder reads the files, and its size is what a preset resizes to.

    Returns:
        (N, H, W, 3) uint8, what the engine is shown.
    """
    served = pipeline.with_geometry_of(PRESETS[route.preset]) if route.preset else None
    shown = []
    for image in images:
        content = _encoded(image, route.quality)
        shown.append(served.load(content) if served is not None else decode(content, decoder=pipeline.decoder))
    return np.stack(shown) if shown else images


def _encoded(image: Images, quality: int | None) -> bytes:
    if quality is not None:
        return encode_jpeg(image, quality).tobytes()
    _, file = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    return bytes(file.tobytes())


def verdict(
    target: Target,
    originals: Images,
    adversarials: Images,
    labels: NDArray[np.integer[Any]],
    *,
    condition: str,
    routes: Sequence[Route],
    seed: int = 0,
    identity: Mapping[str, Any] | None = None,
) -> list[Record]:
    """Ask an engine at its deployment batch about delivered examples on every route, the clean ones beside them.

    The metrics are those of `route_shares`; a route that can't be taken here, or on which the engine fails, is one
    record of n 0, the reason a flag.

    Args:
        target: The engine with its pipeline.
        originals: (N, H, W, 3) uint8 at model size, N >= 1.
        adversarials: The same images after the attack, as delivered.
        labels: (N,) true classes.
        condition: What the records call the attack.
        routes: How the images reach the engine.
        seed: Seed of the run, for the records.
        identity: What else the records depend on; the largest distances, in integers, are added.

    Raises:
        InputError: If the two sets of images differ in shape, or there is none.
    """
    if originals.shape != adversarials.shape or not len(originals):
        raise InputError(f"Expected two equal, non-empty sets of images, got {originals.shape}, {adversarials.shape}.")
    moved = np.abs(adversarials.astype(np.int64) - originals.astype(np.int64))
    distances = {
        "linf_levels": int(moved.max()),
        "l2_levels": float(np.sqrt((moved**2).sum(axis=(1, 2, 3)).max())),
        "l1_levels": int(moved.sum(axis=(1, 2, 3)).max()),
    }
    lossless: tuple[Bools, Bools] | None = None
    found = []
    identified = {**(identity or {}), **distances}
    for route in routes:
        name = f"{condition} via {route.name}"
        if reason := route.missing:
            nothing, flags = wilson(0, 0), (reason,)
            found.append(record(target.name, name, "survival", nothing, seed, flags=flags, identity=identified))
            continue
        try:
            lossless = lossless or _right(target, originals, adversarials, labels, LOSSLESS)
            shares = route_shares(lossless, _right(target, originals, adversarials, labels, route))
        except RobustMQError as error:
            found.append(failed(target.name, name, "survival", error, seed, identified))
        else:
            found += route_records(shares, engine=target.name, condition=name, seed=seed, identity=identified)
    return found


def route_records(
    shares: Mapping[str, Interval], *, engine: str, condition: str, seed: int, identity: Mapping[str, Any]
) -> list[Record]:
    """Give one record for each of a route's shares."""
    return [record(engine, condition, metric, found, seed, identity=identity) for metric, found in shares.items()]


def route_shares(lossless: tuple[Bools, Bools], routed: tuple[Bools, Bools]) -> dict[str, Interval]:
    """Count what a route does to an attack.

    ``clean_accuracy``, the control: clean images, same route; ``robust_accuracy``, right on the clean and on the
    adversarial image; ``attack_success``, wrong among those whose control is right; ``survival``, still wrong among
    those that fooled the engine losslessly and whose control is right on both routes.

    Args:
        lossless: Whether the clean and the adversarial images, (N,) each, are answered rightly without a route.
        routed: The same on the route.
    """
    clean, attacked = routed
    fooled = lossless[0] & ~lossless[1] & clean
    return {
        "clean_accuracy": share(clean),
        "robust_accuracy": share(clean & attacked),
        "attack_success": share(~attacked[clean]),
        "survival": share(~attacked[fooled]),
    }


def _right(
    target: Target, originals: Images, adversarials: Images, labels: NDArray[np.integer[Any]], route: Route
) -> tuple[Bools, Bools]:
    """Tell which clean and which adversarial images are answered rightly on a route."""
    clean, attacked = (answer(target, through(images, route, target.pipeline)) for images in (originals, adversarials))
    return clean.right(labels), attacked.right(labels)
