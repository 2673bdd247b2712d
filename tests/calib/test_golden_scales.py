"""Ranges and scales of three nets, written down: a change of decoder, pipeline, calibrator or quantizer shows here.

``python tests/calib/test_golden_scales.py`` writes the files anew (with ROBUSTMQ_DATA set); nothing else does.

Tolerances, as shares of the tensor's largest magnitude; what may differ on another processor is the order of float32
sums. Extremes: 1e-5, a hundred roundings of float32. The others pick from candidates, and a value that close to the
edge of a bin may move the choice to the next one: 1/2048 for percentile (bins are no wider), 4/2048 for entropy (its
candidates lie four bins apart), 1/128 for MSE (its thresholds are 128ths of the peak). Weights' scales: 1e-6 of their
own, two roundings.
"""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, numpy_helper

from robustmq_trt import assets
from robustmq_trt.calib.calibrate import calibrate
from robustmq_trt.core.files import sha256_file, write_json
from robustmq_trt.core.ranges import RangeTable
from robustmq_trt.export.onnx_file import read_model
from robustmq_trt.export.prepare import prepare
from robustmq_trt.export.qdq import quantize
from robustmq_trt.export.signature import classifier_signature
from robustmq_trt.inputs.catalog import find_preset
from robustmq_trt.inputs.loader import load_images
from robustmq_trt.inputs.sources import open_dataset

GOLDEN = Path(__file__).parent / "golden"
METHODS = ("minmax", "percentile", "entropy", "mse")
SEED = 0
TOLERANCE = {"minmax": 1e-5, "percentile": 1 / 2048, "entropy": 4 / 2048, "mse": 1 / 128}
# name -> model, images, preset, n; below ROBUSTMQ_DATA unless None
NETS = {
    "embedded": (None, None, "torchvision", 32),
    "r20": ("models/resnet20_cifar10_float.onnx", "data/cifar10_2000", "cifar10", 64),
    "mobilenet_v2": ("models/mobilenet_v2_float.onnx", "data/imagenet600", "tflite-mobilenet", 8),
}


def observed(name: str, root: Path | None) -> dict[str, Any]:
    """Calibrate a net anew: its ranges by every method, and the weights' scales of the 8-bit file."""
    model_path, folder, preset, count = NETS[name]
    path = assets.model_path() if model_path is None else root / model_path
    data = open_dataset(assets.images_dir("calib") if folder is None else root / folder, unlabelled=True)
    model = prepare(read_model(path)).model
    signature = classifier_signature(model)
    pipeline = find_preset(preset).for_size(signature.height, signature.width)
    data = data.subset(count, SEED)
    tensors = pipeline.tensor(load_images(data, pipeline, threads=1).images)
    found = calibrate(model, lambda: np.array_split(tensors, max(count // 8, 1)), methods=METHODS, threads=1)
    names = {"model_sha256": sha256_file(path), "data_sha256": data.manifest_sha256}
    table = RangeTable(method="minmax", images=count, preset=preset, ranges=found["minmax"], **names)
    return {
        "net": name,
        "n": count,
        "seed": SEED,
        "preset": preset,
        **names,
        "ranges": {method: {tensor: [*map(float, pair)] for tensor, pair in found[method].items()} for method in found},
        "weight_scales": weight_scales(quantize(model, table)),
    }


def weight_scales(quantized: Any) -> dict[str, list[float]]:
    """Give the smallest and the largest scale of every weight, by the name of its scales."""
    stored = {tensor.name: tensor for tensor in quantized.graph.initializer}
    of_weights = {
        node.input[1]
        for node in quantized.graph.node
        if node.op_type == "DequantizeLinear"
        and node.input[0] in stored
        and stored[node.input[0]].data_type == TensorProto.INT8
    }
    scales = {name: numpy_helper.to_array(stored[name]) for name in sorted(of_weights)}
    return {name: [float(values.min()), float(values.max())] for name, values in scales.items()}


def compare(name: str, root: Path | None) -> None:
    golden = json.loads((GOLDEN / f"{name}.json").read_text())

    now = observed(name, root)

    assert {key: now[key] for key in ("n", "seed", "preset", "model_sha256", "data_sha256")} == {
        key: golden[key] for key in ("n", "seed", "preset", "model_sha256", "data_sha256")
    }
    for method, ranges in golden["ranges"].items():
        assert now["ranges"][method].keys() == ranges.keys()
        for tensor, (low, high) in ranges.items():
            peak = max(map(abs, golden["ranges"]["minmax"][tensor]))
            got = now["ranges"][method][tensor]
            assert got == pytest.approx([low, high], rel=0, abs=1.01 * TOLERANCE[method] * peak), (method, tensor)
    assert now["weight_scales"].keys() == golden["weight_scales"].keys()
    for tensor, ends in golden["weight_scales"].items():
        assert now["weight_scales"][tensor] == pytest.approx(ends, rel=1e-6), tensor


def test_the_embedded_net_s_scales_are_what_they_were():
    compare("embedded", None)


@pytest.mark.realdata
@pytest.mark.parametrize("name", ["r20", "mobilenet_v2"])
def test_real_nets_scales_are_what_they_were(realdata, name):
    compare(name, realdata)


if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    for net in NETS:
        write_json(GOLDEN / f"{net}.json", observed(net, Path(os.environ["ROBUSTMQ_DATA"])))
