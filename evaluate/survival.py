"""What survives of an attack in a run: its examples on every route, against the clean images on the same one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..core.record import Record
from .conditions import CLEAN, Condition
from .verdict import route_records, route_shares

if TYPE_CHECKING:
    from .metrics import Study


def survival_records(study: Study, engine: str, condition: Condition) -> list[Record]:
    """Give the metrics of `route_shares` for one engine under one attack on one route.

    Args:
        study: The run; images that could not be asked about in one of the four cells do not count.
        engine: Name of the engine.
        condition: The routed attack.

    Returns:
        One record per metric; none where the attack itself, or a control, was not measured.
    """
    labels = CLEAN.label, condition.base.label, CLEAN.via(condition.route).label, condition.label
    cells = [cell for label in labels if (cell := study.cell(engine, label)) is not None]
    if len(cells) < len(labels):
        return []
    valid = np.logical_and.reduce([cell.valid for cell in cells])
    clean, attacked, clean_routed, routed = (cell.correct[valid] for cell in cells)
    shares = route_shares((clean, attacked), (clean_routed, routed))
    identity = cells[-1].identity
    return route_records(shares, engine=engine, condition=condition.label, seed=study.seed, identity=identity)
