"""Pictures made of arithmetic: what the goldens were made from, and stand-ins for the photographs of frost."""

from pathlib import Path

import cv2
import numpy as np

FROST_FILES = ("frost1.png", "frost2.png", "frost3.png", "frost4.jpg", "frost5.jpg", "frost6.jpg")


def synthetic_image(side: int) -> np.ndarray:
    """Make ramps, stripes, speckle, and flat patches with grey, black and white among them: (side, side, 3) uint8."""
    rows, columns = np.mgrid[0:side, 0:side]
    speckle = (rows * 7919 + columns * 104729 + rows * columns * 31) % 61
    ramp = rows * 200 // side
    image = np.stack([ramp + speckle, columns * 250 // side, 255 - ramp // 2 - columns * 120 // side + speckle], axis=2)
    unit = side // 8
    image[unit : 2 * unit, unit : 3 * unit] = (200, 120, 40)
    image[3 * unit : 4 * unit, unit : 2 * unit] = 0
    image[3 * unit : 4 * unit, 2 * unit : 3 * unit] = 255
    image[3 * unit : 4 * unit, 3 * unit : 4 * unit] = 93
    image[:, 6 * unit : 7 * unit] = np.where(rows[:, 6 * unit : 7 * unit, None] % 2 == 0, 10, 230)
    return np.clip(image, 0, 255).astype(np.uint8)


def write_frost(folder: Path) -> None:
    """Write six pictures under the names of the photographs of frost; PNG whatever the name says."""
    for number, name in enumerate(FROST_FILES):
        rows, columns = np.mgrid[0:260, 0:300]
        waves = [(rows * (number + 2) + columns * (channel + 1) + rows * columns // 50) % 256 for channel in range(3)]
        _, encoded = cv2.imencode(".png", np.stack(waves, axis=2).astype(np.uint8))
        (folder / name).write_bytes(encoded.tobytes())
