"""The twin of the embedded vision transformer: against torch's autograd, and without torch by finite differences."""

from types import ModuleType

import numpy as np
import onnx
import pytest

from robustmq_trt.assets import images_dir, model_path
from robustmq_trt.evaluate.twin.twin import Twin
from robustmq_trt.inputs.catalog import PRESETS
from robustmq_trt.inputs.loader import stream_images
from robustmq_trt.inputs.sources import open_dataset

PIPELINE = PRESETS["torchvision"].for_size(64, 64)


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    few = open_dataset(images_dir("eval")).subset(6, 0)
    return np.concatenate([chunk.images for chunk in stream_images(few, PIPELINE, batch=6, threads=1)])


@pytest.fixture(scope="module")
def twin() -> Twin:
    return Twin.open(model_path("vit"), PIPELINE, threads=1)


def losses(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    scores = scores.astype(np.float64)
    peak = scores.max(axis=1)
    return peak + np.log(np.exp(scores - peak[:, None]).sum(axis=1)) - scores[np.arange(len(scores)), labels]


def test_gradients_of_the_vit_are_those_of_torch(twin: Twin, images: np.ndarray, torch_reference: ModuleType) -> None:
    labels = np.arange(len(images))
    batch = PIPELINE.tensor(images)
    reference = torch_reference.TorchModel(onnx.load(model_path("vit")), torch_reference.torch.float64)

    got = twin.gradient_input(batch, labels).gradient.reshape(len(images), -1)

    expected = reference.gradient(batch, labels).reshape(len(images), -1)
    cosines = (got * expected).sum(axis=1) / np.linalg.norm(got, axis=1) / np.linalg.norm(expected, axis=1)
    assert cosines.min() > 0.9999


def test_gradients_of_the_vit_predict_the_change_of_its_loss(twin: Twin, images: np.ndarray) -> None:
    labels = np.arange(len(images))
    batch = PIPELINE.tensor(images)
    found = twin.gradient_input(batch, labels)
    lengths = np.linalg.norm(found.gradient.reshape(len(images), -1), axis=1)
    step = 0.02 * found.gradient / lengths[:, None, None, None]

    above, below = (losses(twin.gradient_input(batch + sign * step, labels).scores, labels) for sign in (1, -1))

    slopes = (above - below) / (2 * 0.02)
    np.testing.assert_allclose(slopes, lengths, rtol=0.05)
