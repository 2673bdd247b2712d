"""imagecorruptions 1.1.2 for bench_corruptions.py, in its own environment: reads orders on stdin, answers in JSON.

Three names that today's NumPy, scikit-image and setuptools no longer carry are supplied from outside, without which
the package does not import and three corruptions fail; what it computes is its own.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import sys
import time
import types
import warnings
from pathlib import Path
from typing import Any

import cv2
import numpy as np


def main() -> None:
    warnings.simplefilter("ignore")
    cv2.setNumThreads(1)
    folder = Path(str(importlib.util.find_spec("imagecorruptions").origin)).parent
    corrupt = imported(folder)
    image = np.load(sys.argv[1])
    versions = {name: importlib.metadata.version(name) for name in ("imagecorruptions", "numpy", "scikit-image")}
    answer({"frost": str(folder / "frost"), "versions": {**versions, "opencv": cv2.__version__}})
    for line in sys.stdin:
        order = json.loads(line)
        np.random.seed(order["seed"])  # noqa: NPY002 - what the package draws from
        if "save" in order:
            np.save(order["save"], corrupt(image, severity=order["severity"], corruption_name=order["name"]))
            answer({})
            continue
        start = time.process_time_ns()
        for _ in range(order["calls"]):
            corrupt(image, severity=order["severity"], corruption_name=order["name"])
        answer({"ms": (time.process_time_ns() - start) / 1e6 / order["calls"]})


def imported(folder: Path) -> Any:
    """Import the package with the names it misses."""
    import scipy.ndimage
    import skimage.filters

    sys.modules["scipy.ndimage.interpolation"] = types.SimpleNamespace(map_coordinates=scipy.ndimage.map_coordinates)
    sys.modules["pkg_resources"] = types.SimpleNamespace(resource_filename=lambda module, name: str(folder / name))
    np.float_ = np.float64  # noqa: NPY201 - the name the package asks for
    import imagecorruptions
    import imagecorruptions.corruptions

    def gaussian(image: np.ndarray, sigma: float, multichannel: bool = False, **options: Any) -> np.ndarray:
        return skimage.filters.gaussian(image, sigma=sigma, channel_axis=-1 if multichannel else None, **options)

    imagecorruptions.corruptions.gaussian = gaussian
    return imagecorruptions.corrupt


def answer(document: dict[str, Any]) -> None:
    print(json.dumps(document), flush=True)


if __name__ == "__main__":
    main()
