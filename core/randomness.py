"""Random streams that belong to an image, never to a batch, a worker or a run."""

from __future__ import annotations

import hashlib

import numpy as np


def image_stream(seed: int, task: str, image_sha256: str) -> np.random.Generator:
    """Give the random stream of one image in one task.

    The same three arguments give the same numbers on every machine, whatever the batch size, the thread count, the
    order of the images or a resume in between.

    Args:
        seed: The run's seed, any integer.
        task: What the numbers are for, e.g. ``"square:eps=8"``.
        image_sha256: Hash of the image's stored bytes.

    Returns:
        A generator on a Philox counter-based stream (Salmon et al. 2011) keyed by all three.
    """
    digest = hashlib.sha256(f"{seed}\0{task}\0{image_sha256}".encode()).digest()
    key = np.frombuffer(digest[:16], dtype="<u8")
    return np.random.Generator(np.random.Philox(key=key))
