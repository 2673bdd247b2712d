"""Write goldens.npz: what imagecorruptions 1.1.2, the published reference, makes of a synthetic image.

Run by hand, in an environment of its own: ``pip install imagecorruptions scikit-image opencv-python-headless``. The two
modules the reference imports and today's releases no longer carry are supplied here; none of the four corruptions uses
them. It has the ImageNet-C parameters only. The file holds ``image``, the random numbers (``normal``, ``angles``, one
angle per severity) and, for each corruption, five images, severities 1 to 5.
"""

# ruff: noqa: NPY002 - the reference draws from the legacy global generator

from __future__ import annotations

import sys
import types
from pathlib import Path

import numpy as np
import scipy.ndimage

REFERENCE_NAMES = {
    "brightness": "brightness",
    "gaussian_noise": "gaussian_noise",
    "jpeg": "jpeg_compression",
    "motion_blur": "motion_blur",
}


def synthetic_image() -> np.ndarray:
    """Make ramps, stripes, speckle, and flat patches with black and white among them: (32, 40, 3) uint8."""
    rows, columns = np.mgrid[0:32, 0:40]
    speckle = (rows * 7919 + columns * 104729 + rows * columns * 31) % 61
    image = np.stack([rows * 7 + speckle, columns * 6, 255 - rows * 3 - columns * 3 + speckle], axis=2)
    image[8:16, 8:20] = (200, 120, 40)
    image[18:24, 4:12] = 0
    image[18:24, 12:20] = 255
    image[:, 30:34] = np.where(rows[:, 30:34, None] % 2 == 0, 10, 230)
    return np.clip(image, 0, 255).astype(np.uint8)


def main() -> None:
    """Run the reference and write the file beside this script."""
    interpolation = types.ModuleType("scipy.ndimage.interpolation")
    interpolation.map_coordinates = scipy.ndimage.map_coordinates
    sys.modules["scipy.ndimage.interpolation"] = interpolation
    resources = types.ModuleType("pkg_resources")
    resources.resource_filename = lambda *names: ""
    sys.modules["pkg_resources"] = resources
    from imagecorruptions import corrupt as reference

    image = synthetic_image()
    arrays = {"image": image}
    np.random.seed(7)
    arrays["normal"] = np.random.normal(size=image.shape)
    angles = []
    for name, reference_name in REFERENCE_NAMES.items():
        results = []
        for severity in range(1, 6):
            np.random.seed(7 if name == "gaussian_noise" else severity)
            results.append(reference(image, severity=severity, corruption_name=reference_name))
            if name == "motion_blur":
                np.random.seed(severity)
                angles.append(np.random.uniform(-45, 45))
        arrays[name] = np.stack(results)
    np.savez_compressed(Path(__file__).parent / "goldens.npz", angles=np.array(angles), **arrays)


if __name__ == "__main__":
    main()
