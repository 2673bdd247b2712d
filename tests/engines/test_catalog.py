from pathlib import Path

import pytest

from robustmq_trt.core.errors import UnsupportedError
from robustmq_trt.engines.catalog import BACKENDS, Backend, _status, doctor, find_backend


@pytest.mark.parametrize(
    ("target", "owner"),
    [
        ("a.plan", "TensorRT"),
        ("a.ENGINE", "TensorRT"),
        ("a.xml", "OpenVINO"),
        ("a.tflite", "LiteRT"),
        ("v2+http://host:8000/NAME", "Open Inference Protocol"),
    ],
)
def test_formats_of_later_versions_are_named_and_refused(target: str, owner: str):
    with pytest.raises(UnsupportedError, match=f"{owner} backend .* not available in this version"):
        find_backend(target)


@pytest.mark.parametrize("target", ["model.pt", "model", "http://host/model.onnx"])
def test_unknown_ending_is_refused_with_the_known_ones(target: str):
    with pytest.raises(UnsupportedError, match=r"No backend takes .*\.onnx"):
        find_backend(target)


def test_suffix_is_matched_in_any_case():
    assert find_backend(Path("A.ONNX")).name == "onnxruntime"


def test_no_two_backends_take_the_same_suffix():
    suffixes = [suffix for backend in BACKENDS for suffix in backend.suffixes]

    assert len(suffixes) == len(set(suffixes))


def test_doctor_reports_every_backend_with_version_or_reason():
    for status in doctor():
        assert bool(status.version) == status.works
        assert bool(status.reason) != status.works
        assert status.install.startswith("pip install")


def test_doctor_says_why_a_missing_module_does_not_work():
    absent = Backend(
        name="absent", suffixes=(".absent",), module="no_such_module_here", install="pip install it", open=_never
    )

    status = _status(absent)

    assert not status.works
    assert "no_such_module_here" in status.reason


def _never(path: Path, threads: int | None, simulate: bool):
    raise AssertionError("must not be opened")
