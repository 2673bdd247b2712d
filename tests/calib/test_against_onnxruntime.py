"""Real networks: our ranges beside those of ONNX Runtime's own calibrators on the same images."""

import csv
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from robustmq_trt.calib.calibrate import calibrate
from robustmq_trt.calib.graph import absorbed_tensors

pytestmark = [pytest.mark.realdata, pytest.mark.filterwarnings("ignore::DeprecationWarning")]


@pytest.fixture(scope="module")
def cifar(realdata: Path) -> np.ndarray:
    files = sorted((realdata / "data" / "cifar10_2000").rglob("*.jpg"))[::250]
    pixels = np.stack([np.asarray(Image.open(file), np.float32) for file in files]).transpose(0, 3, 1, 2) / 255
    return np.ascontiguousarray((pixels - 0.45) / 0.225, np.float32)


@pytest.fixture(scope="module")
def photos(realdata: Path) -> np.ndarray:
    folder = realdata / "data" / "imagenet600"
    names = [row[0] for row in csv.reader((folder / "labels.csv").read_text().splitlines())][1::200]
    crops = [np.asarray(crop(Image.open(folder / "images" / Path(name).name)), np.float32) for name in names]
    return np.ascontiguousarray(np.stack(crops).transpose(0, 3, 1, 2) / 127.5 - 1, np.float32)


def crop(image: Image.Image) -> Image.Image:
    scale = 256 / min(image.size)
    width, height = (max(256, round(side * scale)) for side in image.size)
    left, top = (width - 224) // 2, (height - 224) // 2
    resized = image.convert("RGB").resize((width, height), Image.Resampling.BILINEAR)
    return resized.crop((left, top, left + 224, top + 224))


@pytest.fixture(scope="module")
def theirs(tmp_path_factory):
    import onnxruntime
    from onnxruntime.quantization.calibrate import CalibrationMethod, create_calibrator

    class Reader:
        def __init__(self, name: str, images: np.ndarray) -> None:
            self._feeds = iter([{name: images[i : i + 1]} for i in range(len(images))])

        def get_next(self):
            return next(self._feeds, None)

    def run(path: Path, images: np.ndarray, method: str, **options) -> dict[str, tuple[float, float]]:
        augmented = tmp_path_factory.mktemp("augmented") / "model.onnx"
        chosen = getattr(CalibrationMethod, method)
        calibrator = create_calibrator(path, None, str(augmented), chosen, extra_options=options)
        session = onnxruntime.SessionOptions()
        session.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        session.intra_op_num_threads = 1  # some convolutions round differently with more
        calibrator.infer_session = onnxruntime.InferenceSession(str(augmented), session)
        calibrator.collect_data(Reader(onnx.load(path).graph.input[0].name, images))
        data = calibrator.compute_data()
        return {name: tuple(float(np.ravel(end)[0]) for end in data[name].range_value) for name in data.keys()}  # noqa: SIM118

    return run


@pytest.fixture(params=["resnet20_cifar10_float", "mobilenet_v2_float"])
def case(request, realdata):
    images = request.getfixturevalue("cifar" if "cifar" in request.param else "photos")
    return realdata / "models" / f"{request.param}.onnx", images


def test_minmax_equals_onnxruntime_s_on_every_tensor_it_observes(case, theirs):
    path, images = case

    ours = calibrate(onnx.load(path), lambda: [images], methods=["minmax"])["minmax"]

    expected = theirs(path, images, "MinMax")
    assert {name: ours[name] for name in expected} == expected


@pytest.mark.parametrize("percent", [99.999, 99.9])
def test_percentiles_are_within_two_percent_of_onnxruntime_s(percent, case, theirs):
    path, images = case
    model = onnx.load(path)
    # Where the share is a whole number of values, ONNX Runtime's rounded sum of shares may take the next larger value
    # for the last inside; with as few images as here that one can be far off. A hair more asks ours for it.
    exact, next_value = f"percentile:{percent}", f"percentile:{percent + 1e-7}"

    ours = calibrate(model, lambda: [images], methods=[exact, next_value])

    absorbed = absorbed_tensors(model)  # those take the range behind their activation function
    for name, expected in theirs(path, images, "Percentile", percentile=percent).items():
        if name not in absorbed:
            differences = [np.abs(np.subtract(ours[method][name], expected)).max() for method in (exact, next_value)]
            assert min(differences) <= 0.02 * np.abs(expected).max(), name


def test_entropy_is_not_minmax(case):
    path, images = case

    result = calibrate(onnx.load(path), lambda: [images], methods=["entropy", "minmax"])

    narrower = [name for name in result["minmax"] if result["entropy"][name] != result["minmax"][name]]
    assert len(narrower) > len(result["minmax"]) / 4


def test_the_quantizer_never_uses_the_range_of_an_absorbed_tensor(case):
    from onnxruntime.quantization import QuantType
    from onnxruntime.quantization.calibrate import CalibrationMethod, TensorData, TensorsData
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

    path, images = case
    model = onnx.shape_inference.infer_shapes(onnx.load(path))
    ranges = calibrate(model, lambda: [images[:1]], methods=["minmax"])["minmax"]

    def quantized(absorbed: tuple[float, float]) -> bytes:
        table = {**ranges, **dict.fromkeys(absorbed_tensors(model), absorbed)}
        data = {
            name: TensorData(lowest=np.float32(low), highest=np.float32(high)) for name, (low, high) in table.items()
        }
        copy = onnx.ModelProto.FromString(model.SerializeToString())
        tables = TensorsData(CalibrationMethod.MinMax, data)
        types = (QuantType.QInt8, QuantType.QUInt8, tables, [], [], ["Conv", "Relu", "Clip", "Add"])
        result = QDQQuantizer(copy, False, False, *types, {}).quantize_model()
        return result.SerializeToString(deterministic=True)

    assert quantized((-1.0, 1.0)) == quantized((-100.0, 1000.0))
