from pathlib import Path

import pytest

from robustmq_trt.core.errors import InputError, UnsupportedError
from robustmq_trt.engines.catalog import (
    BACKENDS,
    doctor,
    find_backend,
    open_engine,
    split_target,
)


@pytest.mark.parametrize("scheme", ["v2+grpc", "v2+grpcs"])
def test_a_server_over_grpc_is_named_by_its_scheme(scheme: str):
    assert find_backend(f"{scheme}://host:8001/NAME").name == "v2+grpc"


@pytest.mark.parametrize("target", ["model.pt", "model", "http://host/model.onnx", "v2+http://host:8000/NAME"])
def test_unknown_ending_is_refused_with_the_known_ones(target: str):
    with pytest.raises(UnsupportedError, match=r"No backend takes .*\.onnx"):
        find_backend(target)


def test_suffix_is_matched_in_any_case():
    assert find_backend(Path("A.ONNX")).name == "onnxruntime"


def test_no_two_backends_take_the_same_suffix():
    suffixes = [suffix for backend in BACKENDS for suffix in backend.suffixes]

    assert len(suffixes) == len(set(suffixes))


@pytest.mark.parametrize("name", [*(backend.name for backend in BACKENDS), "simulation"])
def test_every_backend_can_be_named_in_front_of_a_path(name: str):
    assert split_target(f"{name}:folder/model.onnx") == (name, "folder/model.onnx")


@pytest.mark.parametrize(
    "target",
    [
        "model.onnx",
        "./openvino:model.onnx",
        "C:/models/model.onnx",
        "v2+http://host:8000/NAME",
        "openvino://host/model.onnx",
        "nobody:model.onnx",
    ],
)
def test_what_names_no_backend_stays_whole(target: str):
    assert split_target(target) == (None, target)


def test_a_named_backend_takes_files_that_belong_to_another_by_suffix():
    assert find_backend("openvino:model.onnx").name == "openvino"
    assert find_backend("simulation:model.onnx").name == "onnxruntime"


def test_a_named_backend_refuses_files_it_cannot_read():
    with pytest.raises(UnsupportedError, match=r"'onnxruntime' does not take 'model\.xml'.*\.onnx"):
        find_backend("onnxruntime:model.xml")


@pytest.mark.parametrize("target", ["v2:model.onnx", "v2:ftp://host/NAME", "onnxruntime:http://host/NAME"])
def test_servers_and_files_are_not_mistaken_for_each_other(target: str):
    with pytest.raises(UnsupportedError, match="does not take"):
        find_backend(target)


def test_a_misspelt_backend_is_corrected():
    with pytest.raises(InputError, match="Did you mean 'openvino'"):
        find_backend("openvno:model.onnx")


def test_an_existing_file_with_a_colon_in_its_name_is_a_file(
    qdq_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    qdq_model.rename(tmp_path / "nobody:model.onnx")
    monkeypatch.chdir(tmp_path)

    engine = open_engine("nobody:model.onnx", threads=1)

    assert engine.provenance()["model"] == "nobody:model.onnx"


def test_a_prefix_chooses_what_runs_one_file(qdq_model: Path):
    targets = ["onnxruntime:", "simulation:", "openvino:", ""]

    kinds = [open_engine(f"{prefix}{qdq_model}", threads=1).provenance()["kind"] for prefix in targets]

    assert kinds == ["onnxruntime", "onnxruntime-simulation", "openvino", "onnxruntime"]


def test_doctor_reports_every_backend_with_version_or_reason():
    for status in doctor():
        assert bool(status.version) == status.works
        assert bool(status.reason) != status.works
        assert status.install.startswith("pip install")
