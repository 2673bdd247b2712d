"""Write goldens.npz: what the published references make of a synthetic image.

Run by hand, in an environment of its own, with the name of ImageMagick's command as the argument::

    pip install imagecorruptions scikit-image opencv-python-headless
    python make_goldens.py convert

ImageMagick (6.9.11 Q16 was used) is what the authors of ImageNet-C and CIFAR-10-C blur with, so both parameter sets
come from it; its 8-bit output is truncated. The other three come from imagecorruptions 1.1.2, which has the ImageNet-C
parameters only and in these three equals the authors' code. The two modules it imports and today's releases no longer
carry are supplied here; none of the three corruptions uses them.

The file holds ``image``, the random numbers (``normal``; ``angles``, one per severity) and, for each corruption, five
images, severities 1 to 5.
"""

# ruff: noqa: NPY002 - the reference draws from the legacy global generator

from __future__ import annotations

import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import scipy.ndimage

REFERENCE_NAMES = {"brightness": "brightness", "gaussian_noise": "gaussian_noise", "jpeg": "jpeg_compression"}
ANGLES = (-45.0, -20.1, 3.3, 31.7, 45.0)
MOTION = {
    "imagenet-c": ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)),
    "cifar10-c": ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)),
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


def by_imagemagick(command: str, image: np.ndarray, radius: float, sigma: float, angle: float) -> np.ndarray:
    """Blur with the installed ImageMagick, through binary PPM."""
    header = f"P6\n{image.shape[1]} {image.shape[0]}\n255\n".encode()
    blur = [command, "ppm:-", "-motion-blur", f"{radius}x{sigma}{angle:+}", "-depth", "8", "ppm:-"]
    output = subprocess.run(blur, input=header + image.tobytes(), capture_output=True, check=True).stdout
    return np.frombuffer(output[-image.size :], np.uint8).reshape(image.shape)


def by_imagecorruptions(image: np.ndarray, name: str) -> np.ndarray:
    """Run imagecorruptions at all severities, its generator seeded with 7 each time."""
    interpolation = types.ModuleType("scipy.ndimage.interpolation")
    interpolation.map_coordinates = scipy.ndimage.map_coordinates
    resources = types.ModuleType("pkg_resources")
    resources.resource_filename = lambda *names: ""
    sys.modules["scipy.ndimage.interpolation"] = interpolation
    sys.modules["pkg_resources"] = resources
    from imagecorruptions import corrupt as reference

    results = []
    for severity in range(1, 6):
        np.random.seed(7)
        results.append(reference(image, severity=severity, corruption_name=name))
    return np.stack(results)


def main(imagemagick: str) -> None:
    """Run the references and write the file beside this script."""
    image = synthetic_image()
    np.random.seed(7)
    arrays = {"image": image, "angles": np.array(ANGLES), "normal": np.random.normal(size=image.shape)}
    for name, reference_name in REFERENCE_NAMES.items():
        arrays[f"{name} imagenet-c"] = by_imagecorruptions(image, reference_name)
    for parameters, motions in MOTION.items():
        arrays[f"motion_blur {parameters}"] = np.stack(
            [by_imagemagick(imagemagick, image, *motion, angle) for motion, angle in zip(motions, ANGLES, strict=True)]
        )
    np.savez_compressed(Path(__file__).parent / "goldens.npz", **arrays)


if __name__ == "__main__":
    main(sys.argv[1])
