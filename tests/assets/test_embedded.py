import hashlib
import importlib.util
import io
import json
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
from PIL import Image

from robustmq_trt.assets import MODELS, ModelName, class_names, images_dir, model_path

TOOLS = Path(__file__).resolve().parents[2] / "tools" / "embedded"
Pixels = npt.NDArray[np.uint8]


@pytest.fixture(scope="module")
def scene() -> Iterator[ModuleType]:
    sys.path.insert(0, str(TOOLS))  # the scripts import one another as top-level modules
    spec = importlib.util.spec_from_file_location("scene", TOOLS / "scene.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    sys.path.remove(str(TOOLS))


@pytest.fixture(scope="module")
def manifest() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(model_path().with_name("manifest.json").read_text())
    return loaded


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    root = model_path().parent
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in sorted(root.glob("images/*/*/*"))}


def pixels_of(data: bytes) -> Pixels:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def network_input(data: bytes) -> npt.NDArray[np.float32]:
    image = Image.open(io.BytesIO(data)).convert("RGB")
    width, height = image.size
    size = (73, int(height * 73 / width)) if width <= height else (int(width * 73 / height), 73)
    image = image.resize(size, Image.Resampling.BILINEAR)
    left, top = round((size[0] - 64) / 2), round((size[1] - 64) / 2)
    values = np.asarray(image.crop((left, top, left + 64, top + 64)), dtype=np.float32) / 255
    values = (values - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225])
    return np.asarray(values.transpose(2, 0, 1), dtype=np.float32)


def thumbnail(pixels: Pixels) -> npt.NDArray[np.float32]:
    return np.asarray(Image.fromarray(pixels).resize((16, 16), Image.Resampling.BOX), dtype=np.float32).ravel()


def test_images_take_at_most_three_megabytes(files: dict[str, bytes]) -> None:
    assert sum(map(len, files.values())) <= 3_000_000


def test_every_embedded_file_goes_into_the_wheel() -> None:
    root = model_path().parent
    project = Path(__file__).parents[2] / "pyproject.toml"
    settings = tomllib.loads(project.read_text())["tool"]["setuptools"]

    packed = {path for pattern in settings["package-data"]["robustmq_trt.assets"] for path in root.glob(pattern)}

    kept = {path for path in root.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    assert kept - packed == {root / "__init__.py"}


@pytest.mark.parametrize(("name", "most"), [("cnn", 600_000), ("vit", 1_300_000)])
def test_model_files_stay_small(name: ModelName, most: int) -> None:
    assert model_path(name).stat().st_size <= most


def test_folders_of_both_splits_are_the_classes_in_label_order() -> None:
    for split, per_class in (("calib", 10), ("eval", 20)):
        folders = sorted(images_dir(split).iterdir())

        assert tuple(folder.name for folder in folders) == class_names()
        assert {len(list(folder.glob("*.jpg"))) for folder in folders} == {per_class}


def test_manifest_names_every_file_with_its_sha256(manifest: dict[str, Any], files: dict[str, bytes]) -> None:
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}

    assert {row["path"]: row["sha256"] for row in manifest["files"]} == digests


def test_manifest_rows_agree_with_their_paths(manifest: dict[str, Any]) -> None:
    for row in manifest["files"]:
        assert row["path"] == f"images/{row['split']}/{row['class']}/{row['index']:03d}.jpg"


def test_every_image_decodes_to_the_promised_size(files: dict[str, bytes]) -> None:
    shapes = [pixels_of(data).shape for data in files.values()]

    assert all(80 <= min(height, width) <= 160 for height, width, _ in shapes)
    assert {height > width for height, width, _ in shapes} == {True, False}


def test_class_names_are_those_of_the_renderer(scene: ModuleType, manifest: dict[str, Any]) -> None:
    assert class_names() == scene.CLASSES == tuple(manifest["classes"])
    assert list(class_names()) == sorted(class_names())


def test_splits_have_disjoint_random_keys(scene: ModuleType) -> None:
    keys = {
        tuple(scene.stream(split, label, index).bit_generator.state["state"]["key"].tolist())
        for split in scene.SPLITS
        for label in range(10)
        for index in range(3)
    }

    assert len(keys) == len(scene.SPLITS) * 10 * 3


def test_no_two_embedded_images_are_equal(files: dict[str, bytes]) -> None:
    thumbnails = np.stack([thumbnail(pixels_of(data)) for data in files.values()])

    distances = np.abs(thumbnails[:, None] - thumbnails[None]).mean(axis=2) + 255 * np.eye(len(thumbnails))

    assert len({hashlib.sha256(data).digest() for data in files.values()}) == len(files)
    assert distances.min() > 4


def test_no_training_image_resembles_an_embedded_one(
    scene: ModuleType, manifest: dict[str, Any], files: dict[str, bytes]
) -> None:
    embedded = np.stack([thumbnail(pixels_of(data)) for data in files.values()])
    indices = np.linspace(manifest["train"]["first_index"], manifest["train"]["last_index"], 20).astype(int)

    for label in range(10):
        for index in indices:
            trained = thumbnail(scene.render(label, scene.stream("train", label, int(index))))
            assert np.abs(embedded - trained).mean(axis=1).min() > 4


def test_rendering_again_gives_the_embedded_pixels(
    scene: ModuleType, manifest: dict[str, Any], files: dict[str, bytes]
) -> None:
    for row in manifest["files"][::10]:
        rng = scene.stream(row["split"], class_names().index(row["class"]), row["index"])

        rendered = scene.render(class_names().index(row["class"]), rng)

        shipped = pixels_of(files[row["path"]])
        assert shipped.shape == rendered.shape
        assert np.abs(shipped.astype(float) - rendered).mean() < 8  # JPEG loss of noisy pixels at quality 80


@pytest.mark.parametrize("name", MODELS)
def test_models_are_right_on_90_to_99_percent_of_the_evaluation_images(
    manifest: dict[str, Any], files: dict[str, bytes], name: ModelName
) -> None:
    rows = [row for row in manifest["files"] if row["split"] == "eval"]
    labels = [class_names().index(row["class"]) for row in rows]
    session = onnxruntime.InferenceSession(model_path(name), providers=["CPUExecutionProvider"])

    logits = session.run(["logits"], {"input": np.stack([network_input(files[row["path"]]) for row in rows])})[0]

    assert logits.shape == (200, 10)
    assert 0.90 <= float(np.mean(logits.argmax(axis=1) == labels)) <= 0.99


@pytest.mark.parametrize("name", MODELS)
def test_manifest_and_models_agree_on_the_training_images(manifest: dict[str, Any], name: ModelName) -> None:
    facts = {entry.key: entry.value for entry in onnx.load(model_path(name)).metadata_props}

    assert manifest["train"]["sha256"] == facts["train.sha256"]
    assert manifest["train"]["count"] == 10 * int(facts["train.per_class"])


@pytest.mark.parametrize("name", MODELS)
def test_manifest_names_the_models_by_their_sha256(manifest: dict[str, Any], name: ModelName) -> None:
    path = model_path(name)

    assert manifest["models"][path.name]["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("script", ["train_vit.py", "vit.py"])
def test_the_transformer_was_made_by_the_scripts_beside_it(manifest: dict[str, Any], script: str) -> None:
    facts = {entry.key: entry.value for entry in onnx.load(model_path("vit")).metadata_props}
    digest = hashlib.sha256((TOOLS / script).read_bytes()).hexdigest()

    assert manifest["models"]["vit.onnx"][f"train.script.{script}"] == facts[f"train.script.{script}"] == digest


@pytest.mark.parametrize("name", MODELS)
def test_models_pass_the_checker_and_hold_their_weights_themselves(name: ModelName) -> None:
    model = onnx.load(model_path(name), load_external_data=False)

    onnx.checker.check_model(model, full_check=True)

    assert model.ir_version <= 10
    assert model.opset_import[0].version >= 17
    assert all(weight.data_location == onnx.TensorProto.DEFAULT for weight in model.graph.initializer)


def test_the_networks_have_the_operators_they_are_embedded_for() -> None:
    kinds = {name: {node.op_type for node in onnx.load(model_path(name)).graph.node} for name in MODELS}

    assert kinds["cnn"] == {"Add", "Conv", "Flatten", "Gemm", "GlobalAveragePool", "Relu"}
    assert kinds["vit"] >= {"Erf", "LayerNormalization", "MatMul", "Softmax", "Split", "Transpose"}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("batch", [1, 3])
def test_models_take_any_batch(batch: int, name: ModelName) -> None:
    session = onnxruntime.InferenceSession(model_path(name), providers=["CPUExecutionProvider"])

    logits = session.run(["logits"], {"input": np.zeros((batch, 3, 64, 64), np.float32)})[0]

    assert logits.shape == (batch, 10)
    assert logits.dtype == np.float32
