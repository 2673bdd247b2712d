from __future__ import annotations

import numpy as np

from robustmq_trt.inputs.resize import resize
from robustmq_trt.inputs.systematic_grid import GRID_DECODERS, GRID_RESIZES, ROBUSTMQ_GRID


def test_the_grid_is_every_decoder_with_every_resize_of_the_paper() -> None:
    pairs = {(cell.decoder, cell.resize) for cell in ROBUSTMQ_GRID.values()}

    assert len(ROBUSTMQ_GRID) == 33
    assert pairs == {(decoder, name) for decoder in GRID_DECODERS for name in GRID_RESIZES}
    assert len({cell.fingerprint for cell in ROBUSTMQ_GRID.values()}) == len(ROBUSTMQ_GRID)


def test_a_cell_squashes_to_256_and_keeps_the_centre() -> None:
    image = np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)

    for name, cell in ROBUSTMQ_GRID.items():
        squashed = resize(image, height=256, width=256, resizer=cell.resize)

        assert cell.name == name
        np.testing.assert_array_equal(cell.load(image), squashed[16:240, 16:240])
