"""The ten things: each function returns one random specimen as parts, back to front. Pose and scene live elsewhere."""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from paint import Floats, Part, Texture, hsv, random_texture, tint
from shapes import Points, blob, box, ellipse, polygon, ring, rod, rounded_box, spline, star, turned

Thing: TypeAlias = Callable[[np.random.Generator], list[Part]]


def _part(color: Floats, *outlines: Points, relief: float = 0.12, texture: Texture | None = None) -> Part:
    return Part(outlines=outlines, color=color, relief=relief, texture=texture)


def _maybe(rng: np.random.Generator, chance: float) -> Texture | None:
    return random_texture(rng) if rng.random() < chance else None


def balloon(rng: np.random.Generator) -> list[Part]:
    """Return a hot-air balloon: an envelope of gores, two ropes and a basket."""
    color, other = tint(rng), tint(rng)
    wide, neck = rng.uniform(0.62, 0.78), rng.uniform(0.12, 0.2)
    parts = [_part(hsv(0.09, 0.4, 0.3), rod((s * neck, 0.4), (s * 0.1, 0.8), 0.035), relief=0.02) for s in (-1, 1)]
    for share in (1.0, 0.72, 0.44, 0.16)[: int(rng.integers(1, 5))]:
        rx, low = wide * share, neck * share
        top = [(-rx * 0.72, -0.82), (0.0, -1.0), (rx * 0.72, -0.82), (rx, -0.36)]
        outline = spline([(-rx, -0.36), *top, (rx * 0.72, 0.08), (low, 0.48), (-low, 0.48), (-rx * 0.72, 0.08)])
        parts.append(_part(color, outline, relief=0.22 if share == 1 else 0.05, texture=None))
        color, other = other, color
    basket = rounded_box(-0.16, 0.72, 0.16, 1.0, radius=0.05)
    texture = Texture(kind="checks", color=hsv(0.07, 0.6, 0.25), cycles=4.0)
    return [*parts, _part(hsv(0.09, 0.6, rng.uniform(0.4, 0.7)), basket, relief=0.06, texture=texture)]


def boat(rng: np.random.Generator) -> list[Part]:
    """Return a boat: a hull under one or two sails, or under a cabin with a funnel."""
    bow = rng.uniform(0.85, 1.0)
    hull = spline([(-0.85, 0.42), (0.0, 0.46), (bow, 0.36), (0.6, 0.82), (0.0, 0.9), (-0.62, 0.84)])
    parts = [_part(tint(rng), hull, relief=0.16, texture=_maybe(rng, 0.2))]
    parts.append(_part(tint(rng, dull=0.6), rod((-0.84, 0.44), (bow, 0.38), 0.09), relief=0.03))
    if rng.random() < 0.65:
        mast, top = rng.uniform(-0.15, 0.15), rng.uniform(-1.0, -0.8)
        sail, texture = tint(rng, dull=rng.uniform(0.2, 1.0)), _maybe(rng, 0.35)
        parts.insert(0, _part(hsv(0.08, 0.5, 0.35), rod((mast, 0.45), (mast, top), 0.06), relief=0.03))
        main = polygon(
            (mast + 0.05, top), (mast + 0.3, -0.3), (mast + rng.uniform(0.5, 0.75), 0.28), (mast + 0.05, 0.28)
        )
        parts.append(_part(sail, main, relief=0.2, texture=texture))
        if rng.random() < 0.7:
            jib = polygon((mast - 0.05, top + 0.15), (mast - 0.05, 0.28), (mast - rng.uniform(0.45, 0.7), 0.28))
            parts.append(_part(sail, jib, relief=0.2, texture=texture))
        return parts
    cabin, funnel = tint(rng, dull=0.7), tint(rng)
    parts.append(_part(funnel, box(-0.28, -0.6, -0.02, 0.0), relief=0.08))
    parts.append(_part(cabin, rounded_box(-0.55, -0.1, 0.4, 0.42, radius=0.06), relief=0.07))
    glass = hsv(0.56, 0.4, rng.uniform(0.3, 0.7))
    return parts + [_part(glass, ellipse(x, 0.12, 0.09, 0.09), relief=0.03) for x in (-0.38, -0.08, 0.22)]


def car(rng: np.random.Generator) -> list[Part]:
    """Return a car from the side: body, cabin with windows, two wheels and lamps."""
    color, rise, back = tint(rng), rng.uniform(-0.55, -0.38), rng.uniform(-0.9, -0.5)
    front = rng.uniform(0.1, 0.4)
    body = rounded_box(-1.0, -0.05, 1.0, 0.42, radius=0.16)
    cabin = polygon((back, 0.05), (back + 0.15, rise), (front, rise), (front + 0.32, 0.05))
    glass = hsv(0.56, rng.uniform(0.1, 0.5), rng.uniform(0.25, 0.85))
    middle = (back + front) / 2 + 0.1
    rear = polygon((back + 0.1, 0.0), (back + 0.22, rise + 0.09), (middle - 0.05, rise + 0.09), (middle - 0.05, 0.0))
    ahead = polygon((middle + 0.05, 0.0), (middle + 0.05, rise + 0.09), (front - 0.04, rise + 0.09), (front + 0.2, 0.0))
    parts = [_part(color, cabin, relief=0.1), _part(glass, rear, relief=0.03), _part(glass, ahead, relief=0.03)]
    parts.append(_part(color, body, relief=0.17, texture=_maybe(rng, 0.12)))
    parts.append(_part(hsv(0.14, 0.5, 0.95), ellipse(0.92, 0.12, 0.07, 0.09), relief=0.03))
    radius = rng.uniform(0.2, 0.27)
    for x in (-0.55, rng.uniform(0.5, 0.6)):
        parts.append(_part(hsv(0.6, 0.1, 0.13), ellipse(x, 0.42, radius, radius), relief=0.07))
        parts.append(_part(hsv(0.6, 0.05, rng.uniform(0.5, 0.85)), ellipse(x, 0.42, 0.1, 0.1), relief=0.04))
    return parts


def fish(rng: np.random.Generator) -> list[Part]:
    """Return a fish from the side: body, forked tail, fins and an eye."""
    tall, color, fin = rng.uniform(0.3, 0.52), tint(rng), tint(rng)
    fork = rng.uniform(0.55, 0.8)
    tail = polygon((-0.5, 0.0), (-1.0, -rng.uniform(0.35, 0.5)), (-fork - 0.1, 0.0), (-1.0, rng.uniform(0.35, 0.5)))
    back = spline(
        [(0.3, -tall * 0.8), (-0.05, -tall - rng.uniform(0.15, 0.35)), (-0.4, -tall * 0.5), (0.0, -tall * 0.4)]
    )
    belly = spline([(0.2, tall * 0.7), (-0.1, tall + rng.uniform(0.1, 0.25)), (-0.3, tall * 0.5)])
    above = [(-0.4, -tall * 0.5), (0.1, -tall), (0.6, -tall * 0.75)]
    below = [(0.6, tall * 0.75), (0.1, tall), (-0.4, tall * 0.5)]
    body = spline([(0.98, 0.02), *reversed(above), (-0.68, 0.0), *reversed(below)])
    parts = [_part(fin, outline, relief=0.1) for outline in (tail, back, belly)]
    parts.append(_part(color, body, relief=0.22, texture=_maybe(rng, 0.6)))
    parts.append(_part(fin, polygon((0.25, 0.02), (-0.12, -0.1), (-0.08, 0.22)), relief=0.05))
    parts.append(_part(hsv(0, 0, 0.95), ellipse(0.62, -tall * 0.25, 0.1, 0.1), relief=0.03))
    return [*parts, _part(hsv(0, 0, 0.06), ellipse(0.64, -tall * 0.25, 0.055, 0.055), relief=0.02)]


def flower(rng: np.random.Generator) -> list[Part]:
    """Return a flower: five to nine petals around a disc, often on a stem with leaves."""
    count, color, y = int(rng.integers(5, 10)), tint(rng), rng.uniform(-0.4, -0.2)
    length, start = rng.uniform(0.46, 0.58), rng.uniform(0, 1)
    green = hsv(rng.uniform(0.24, 0.4), 0.7, rng.uniform(0.3, 0.65))
    parts = [_part(green, rod((0.0, y), (rng.uniform(-0.2, 0.2), 1.0), 0.09), relief=0.04)]
    for side in (-1, 1)[: int(rng.integers(0, 3))]:
        leaf = turned(ellipse(side * 0.26, 0.55, 0.28, 0.11), side * -0.08, about=(0.0, 0.55))
        parts.append(_part(green, leaf, relief=0.06))
    petal = ellipse(length * 0.6, 0.0, length * 0.55, min(0.32, 1.7 * length / count))
    for k in range(count):
        outline = turned(petal, start + k / count) + np.array([0.0, y])
        parts.append(_part(color * np.float32(rng.uniform(0.9, 1.08)), outline, relief=0.1))
    disc = rng.uniform(0.15, 0.24)
    texture = Texture(kind="dots", color=hsv(0.06, 0.8, 0.3), cycles=5.0)
    return [*parts, _part(tint(rng, 0.05, 0.17), ellipse(0.0, y, disc, disc), relief=0.1, texture=texture)]


def house(rng: np.random.Generator) -> list[Part]:
    """Return a house: walls, a pointed or bent roof, door, windows and often a chimney."""
    wide, eave, top = rng.uniform(0.6, 0.8), rng.uniform(-0.2, 0.05), rng.uniform(-0.95, -0.7)
    over, flat = wide + rng.uniform(0.08, 0.2), rng.choice([0.0, rng.uniform(0.2, 0.5)])
    texture = _maybe(rng, 0.3)
    wall = _part(tint(rng, dull=rng.uniform(0.2, 0.8)), box(-wide, eave, wide, 0.9), relief=0.06, texture=texture)
    roof = polygon((-over, eave + 0.06), (-flat, top), (flat, top), (over, eave + 0.06))
    tiles = Texture(kind="checks", color=hsv(0, 0.3, 0.2), cycles=rng.uniform(3, 5), share=rng.uniform(0.1, 0.5))
    parts = [wall, _part(tint(rng), roof, relief=0.08, texture=tiles)]
    if rng.random() < 0.7:
        x = rng.choice([-0.45, 0.3])
        parts.insert(0, _part(tint(rng, 0.0, 0.08), box(x, top - 0.02, x + 0.2, eave), relief=0.05))
    door = rng.uniform(-0.35, 0.1)
    parts.append(_part(tint(rng), box(door, 0.4, door + 0.3, 0.9), relief=0.04))
    glass, frame = tint(rng, 0.1, 0.65, dull=0.4), hsv(0, 0, rng.uniform(0.2, 1.0))
    for x, y in ((-0.42, 0.2), (0.42, 0.25), (0.42, 0.62), (-0.42, 0.62))[: int(rng.integers(2, 5))]:
        if abs(x - door - 0.15) > 0.32 or y < 0.22:
            parts.append(_part(frame, box(x - 0.15, y - 0.14, x + 0.15, y + 0.14), relief=0.03))
            parts.append(_part(glass, box(x - 0.11, y - 0.1, x + 0.11, y + 0.1), relief=0.03))
    return parts


def key(rng: np.random.Generator) -> list[Part]:
    """Return a key: a bow with a hole, a shaft and two to four teeth."""
    metal = hsv(rng.choice([0.12, 0.08, 0.6]), rng.uniform(0.05, 0.7), rng.uniform(0.4, 0.95))
    radius, width = rng.uniform(0.32, 0.44), rng.uniform(0.11, 0.18)
    thick, centre = rng.uniform(0.11, 0.17), -0.58
    if rng.random() < 0.6:
        bow = ring(centre, 0.0, radius, radius * rng.uniform(0.85, 1.1), width=width)
    else:
        outer = rounded_box(centre - radius, -radius, centre + radius, radius, radius=0.18)
        bow = (outer, ellipse(centre, 0.0, radius - width, radius - width))
    shaft = rod((centre + radius - 0.06, 0.0), (1.0, 0.0), thick)
    parts = [_part(metal, shaft, relief=0.06)]
    count = int(rng.integers(2, 5))
    for x in np.linspace(0.42, 0.92, count):
        tooth = box(x - 0.2 / count, 0.0, x + 0.2 / count, rng.uniform(0.22, 0.42))
        parts.append(_part(metal, tooth, relief=0.05))
    return [*parts, _part(metal, *bow, relief=0.09)]


def mug(rng: np.random.Generator) -> list[Part]:
    """Return a mug: a body with an open rim, a handle and perhaps a pattern or an emblem."""
    color, taper = tint(rng, dull=rng.uniform(0, 0.7)), rng.uniform(-0.05, 0.15)
    top, low = rng.uniform(-0.85, -0.6), rng.uniform(0.65, 0.9)
    handle = ring(0.5, (top + low) / 2, rng.uniform(0.4, 0.5), rng.uniform(0.36, 0.5), width=rng.uniform(0.11, 0.17))
    base = ellipse(-0.12, low, 0.62 - taper, 0.13, start=0.0, stop=0.5)
    body = np.concatenate([polygon((-0.74, top), (0.5, top)), base])
    parts = [_part(color, *handle, relief=0.08), _part(color, body, relief=0.2, texture=_maybe(rng, 0.35))]
    if rng.random() < 0.4:
        emblem = star(-0.12, 0.1, 0.28, points=int(rng.integers(4, 8)), depth=rng.uniform(0.4, 0.9))
        parts.append(_part(tint(rng), emblem, relief=0.02))
    parts.append(_part(color * np.float32(1.08), ellipse(-0.12, top, 0.62, 0.15), relief=0.04))
    drink = hsv(rng.uniform(0.03, 0.12), rng.uniform(0.2, 0.8), rng.uniform(0.1, 0.5))
    return [*parts, _part(drink, ellipse(-0.12, top + 0.015, 0.53, 0.105), relief=0.03)]


def mushroom(rng: np.random.Generator) -> list[Part]:
    """Return a mushroom: a domed cap, often spotted, on a pale stem."""
    wide, top, rim = rng.uniform(0.65, 0.9), rng.uniform(-0.9, -0.6), rng.uniform(0.0, 0.15)
    thin, foot = rng.uniform(0.16, 0.26), rng.uniform(0.24, 0.36)
    stem = spline([(-thin, 0.0), (thin, 0.0), (thin, 0.5), (foot, 0.85), (0.0, 0.98), (-foot, 0.85), (-thin, 0.5)])
    pale = hsv(rng.uniform(0.08, 0.15), rng.uniform(0.05, 0.35), rng.uniform(0.65, 0.98))
    dome = spline(
        [(-wide, rim), (-wide * 0.8, top * 0.55), (0.0, top), (wide * 0.8, top * 0.55), (wide, rim), (0.0, rim + 0.14)]
    )
    cap = tint(rng, -0.05, 0.12) if rng.random() < 0.6 else tint(rng)
    parts = [_part(pale, stem, relief=0.14), _part(cap, dome, relief=0.22)]
    for _ in range(int(rng.integers(0, 7))):
        x = rng.uniform(-0.6, 0.6)
        y, radius = rng.uniform(0.1, 0.8) * top * (1 - x * x), rng.uniform(0.06, 0.13)
        parts.append(_part(pale, ellipse(x * wide, y, radius, radius * 0.8), relief=0.04))
    return parts


def tree(rng: np.random.Generator) -> list[Part]:
    """Return a tree: a trunk under tiers of needles or a crown of leaves, green to autumn red."""
    hue, value = rng.choice([rng.uniform(0.22, 0.42), rng.uniform(-0.02, 0.18)], p=[0.7, 0.3]), rng.uniform(0.3, 0.75)
    width = rng.uniform(0.16, 0.3)
    bark = Texture(kind="stripes", color=hsv(0.07, 0.6, 0.15), cycles=5.0, share=0.4)
    trunk = polygon((-width / 2, 0.0), (width / 2, 0.0), (width * 0.7, 1.0), (-width * 0.7, 1.0))
    parts = [_part(hsv(0.07, 0.5, rng.uniform(0.25, 0.55)), trunk, relief=0.07, texture=bark)]
    leaves = Texture(kind="grain", color=hsv(hue, 0.8, 0.2), cycles=1.0, share=0.45)
    if rng.random() < 0.45:
        tiers = int(rng.integers(2, 5))
        for y, wide in zip(
            np.linspace(0.55, -0.45, tiers), np.linspace(rng.uniform(0.6, 0.85), 0.38, tiers), strict=True
        ):
            tier = polygon((-wide, y), (0.0, y - 0.6), (wide, y), (0.0, y + 0.07))
            parts.append(_part(hsv(hue, 0.7, value), tier, relief=0.12, texture=leaves))
        return parts
    for _ in range(int(rng.integers(4, 9))):
        x, y = rng.uniform(-0.42, 0.42), rng.uniform(-0.62, 0.05)
        shade = hsv(hue + rng.normal(0, 0.015), 0.7, value * rng.uniform(0.85, 1.15))
        parts.append(_part(shade, blob(rng, x, y, rng.uniform(0.25, 0.42)), relief=0.14, texture=leaves))
    return parts


THINGS: tuple[Thing, ...] = (balloon, boat, car, fish, flower, house, key, mug, mushroom, tree)
"""The renderers in label order, which is alphabetical."""
