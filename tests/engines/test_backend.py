"""What a backend says of itself where it does not work."""

from robustmq_trt.engines.backend import Backend, status


def test_doctor_says_why_a_missing_module_does_not_work():
    absent = Backend(
        name="absent", suffixes=(".absent",), module="no_such_module_here", install="pip install it", open=_never
    )

    found = status(absent)

    assert not found.works
    assert "no_such_module_here" in found.reason


def _never(path: str, threads: int | None, simulate: bool):
    raise AssertionError("must not be opened")
