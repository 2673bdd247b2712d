from __future__ import annotations

import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from robustmq_trt.core.errors import InputError, UnsupportedError
from robustmq_trt.inputs.catalog import PRESETS
from robustmq_trt.inputs.dataset import Dataset
from robustmq_trt.inputs.decode import decode
from robustmq_trt.inputs.loader import load_images, stream_images
from robustmq_trt.inputs.sources import open_dataset

CIFAR = PRESETS["cifar10"]


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    """Twelve images of two classes, the fourth of them broken."""
    rng = np.random.default_rng(1)
    for number in range(12):
        path = tmp_path / ("even", "odd")[number % 2] / f"{number:02d}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (20 + number, 30, 3), dtype=np.uint8)).save(path)
    (tmp_path / "even" / "06.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    return open_dataset(tmp_path)


@pytest.mark.parametrize("threads", [1, 4])
def test_images_come_in_order_and_failures_with_a_reason(dataset: Dataset, threads: int) -> None:
    loaded = load_images(dataset, CIFAR, threads=threads)

    good = [sample for sample in dataset.samples if sample.name != "even/06.png"]
    assert loaded.names == tuple(sample.name for sample in good)
    assert loaded.hashes == tuple(sample.sha256 for sample in good)
    assert loaded.labels.tolist() == [0] * 5 + [1] * 6
    assert loaded.images.shape == (11, 32, 32, 3)
    for image, sample in zip(loaded.images, good, strict=True):
        np.testing.assert_array_equal(image, CIFAR.load(sample.read()))
    [(sample, reason)] = loaded.failures
    assert sample.name == "even/06.png"
    assert "damaged header" in reason


@pytest.mark.parametrize("batch", [1, 5, 12, 100])
def test_a_stream_gives_the_same_images_batch_by_batch(dataset: Dataset, batch: int) -> None:
    whole = load_images(dataset, CIFAR, threads=1)

    parts = list(stream_images(dataset, CIFAR, batch=batch, threads=3))

    np.testing.assert_array_equal(np.concatenate([part.images for part in parts]), whole.images)
    assert sum((part.names for part in parts), ()) == whole.names
    assert sum((part.failures for part in parts), ()) == whole.failures
    assert all(len(part.images) + len(part.failures) <= batch for part in parts)


def test_a_stream_left_early_leaves_no_thread(dataset: Dataset) -> None:
    before = threading.active_count()
    stream = stream_images(dataset, CIFAR, batch=2, threads=4)
    next(stream)

    stream.close()  # type: ignore[attr-defined]

    assert threading.active_count() == before


def test_progress_counts_every_sample(dataset: Dataset) -> None:
    calls: list[tuple[int, int]] = []

    load_images(dataset, CIFAR, threads=2, progress=lambda done, total: calls.append((done, total)))

    assert calls == [(done, 12) for done in range(1, 13)]


def test_a_missing_package_is_no_fault_of_the_images(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)

    with pytest.raises(UnsupportedError, match=r"`ffmpeg-bilinear` needs PyAV\. Run: pip install 'robustmq-trt\[dec"):
        load_images(dataset, replace(CIFAR.for_size(16, 16), resize="ffmpeg-bilinear"), threads=1)


def test_no_threads_is_an_input_error(dataset: Dataset) -> None:
    with pytest.raises(InputError, match="Expected `threads`"):
        load_images(dataset, CIFAR, threads=0)
    with pytest.raises(InputError, match="Expected `threads`"):
        next(stream_images(dataset, CIFAR, batch=1, threads=0))


@pytest.mark.realdata
def test_real_photographs_decode_alike_in_both_decoders(realdata: Path) -> None:
    dataset = open_dataset(realdata / "data" / "imagenet600").subset(24, seed=0)

    for sample in dataset.samples:
        content = sample.read()
        assert isinstance(content, bytes)
        np.testing.assert_array_equal(decode(content), decode(content, decoder="opencv"))
