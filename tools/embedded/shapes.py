"""Outlines in object coordinates (x right, y down, about [-1, 1]); colour and light live in ``paint.py``."""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Points: TypeAlias = npt.NDArray[np.float64]

FRACTIONS = np.linspace(0, 1, 33)


def polygon(*corners: tuple[float, float]) -> Points:
    """Return the corners as a (K, 2) float64 outline."""
    return np.array(corners, dtype=np.float64)


def box(x0: float, y0: float, x1: float, y1: float) -> Points:
    """Return an axis-parallel rectangle."""
    return polygon((x0, y0), (x1, y0), (x1, y1), (x0, y1))


def ellipse(x: float, y: float, rx: float, ry: float, *, start: float = 0.0, stop: float = 1.0) -> Points:
    """Return an ellipse, or the sector of it from ``start`` to ``stop`` (turns, clockwise from the right)."""
    angles = 2 * np.pi * (start + (stop - start) * FRACTIONS)
    outline = np.empty((len(angles), 2))
    outline[:, 0], outline[:, 1] = x + rx * np.cos(angles), y + ry * np.sin(angles)
    return outline


def rounded_box(x0: float, y0: float, x1: float, y1: float, *, radius: float) -> Points:
    """Return a rectangle with round corners of ``radius``."""
    corners = ((x1 - radius, y1 - radius), (x0 + radius, y1 - radius), (x0 + radius, y0 + radius))
    centres = (*corners, (x1 - radius, y0 + radius))
    quarters = [ellipse(x, y, radius, radius, start=q / 4, stop=(q + 1) / 4)[::4] for q, (x, y) in enumerate(centres)]
    return np.concatenate(quarters)


def rod(start: tuple[float, float], stop: tuple[float, float], width: float) -> Points:
    """Return a straight bar between two points."""
    a, b = np.array(start), np.array(stop)
    along = (b - a) / max(float(np.hypot(*(b - a))), 1e-9)
    across = np.array([-along[1], along[0]]) * width / 2
    return np.stack([a + across, b + across, b - across, a - across])


def ring(x: float, y: float, rx: float, ry: float, *, width: float) -> tuple[Points, Points]:
    """Return the outer and inner outline of an elliptic ring; painted together, the inner one is a hole."""
    return ellipse(x, y, rx, ry), ellipse(x, y, rx - width, ry - width)


def blob(rng: np.random.Generator, x: float, y: float, radius: float, *, rough: float = 0.15) -> Points:
    """Return a smooth random closed curve around (x, y)."""
    angles = 2 * np.pi * np.linspace(0, 1, 40, endpoint=False)
    waves = [rng.normal() / k * np.cos(k * angles + rng.uniform(0, 2 * np.pi)) for k in (2, 3, 4, 5)]
    radii = radius * np.clip(1 + rough * np.sum(waves, axis=0), 0.4, 1.7)
    return np.stack([x + radii * np.cos(angles), y + radii * np.sin(angles)], axis=1)


def star(x: float, y: float, radius: float, *, points: int, depth: float) -> Points:
    """Return a star whose inner corners lie at ``depth`` times the radius."""
    angles = np.pi * np.arange(2 * points) / points - np.pi / 2
    radii = np.where(np.arange(2 * points) % 2, radius * depth, radius)
    return np.stack([x + radii * np.cos(angles), y + radii * np.sin(angles)], axis=1)


def spline(knots: Sequence[tuple[float, float]], *, samples: int = 6) -> Points:
    """Return the closed Catmull-Rom curve through the knots."""
    p1 = np.array(knots, dtype=np.float64)
    p0, p2, p3 = np.roll(p1, 1, axis=0), np.roll(p1, -1, axis=0), np.roll(p1, -2, axis=0)
    t = np.linspace(0, 1, samples, endpoint=False)[None, :, None]
    a, b, c, d = (p[:, None, :] for p in (p0, p1, p2, p3))
    curve = 0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
    return np.asarray(curve.reshape(-1, 2), dtype=np.float64)


def turned(outline: Points, turns: float, *, about: tuple[float, float] = (0.0, 0.0)) -> Points:
    """Return the outline rotated clockwise by ``turns`` full turns."""
    angle, centre = 2 * np.pi * turns, np.array(about)
    matrix = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return np.asarray((outline - centre) @ matrix + centre)
