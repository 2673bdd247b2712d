"""The kernels' own time in a plan, by CUDA events, at its smallest, best and largest batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from .tensorrt import TensorRtEngine
from .tensorrt_build import PLAN_FILE, Report

_PERCENTILES = (50, 90, 99)


def measure(folder: str, runs: int, graph: bool, report: Report) -> dict[str, Any]:
    """Time ``engine.plan`` of a folder on noise.

    Args:
        folder: The folder.
        runs: Timed runs for each batch size.
        graph: Launch as a CUDA graph.
        report: Is told which batch is timed.

    Returns:
        Batch size, as text, to percentiles in milliseconds and the number of runs.
    """
    opened = TensorRtEngine.open(Path(folder) / PLAN_FILE, graph=graph)
    limits, found = opened.limits, {}
    for count in sorted({limits.smallest, limits.best, limits.largest}):
        report({"phase": f"timing batch {count}", "step": 0, "steps": 0})
        noise = np.random.default_rng(0).integers(0, 256, (count, *opened.spec.image_shape))
        batch = noise.astype(np.uint8) if opened.spec.dtype == "uint8" else (noise / 127.5 - 1).astype(np.float32)
        times = opened.device_milliseconds(batch, runs)
        found[str(count)] = {
            **{f"p{share}_ms": float(np.percentile(times, share)) for share in _PERCENTILES},
            "runs": len(times),
        }
    opened.close()
    return found
