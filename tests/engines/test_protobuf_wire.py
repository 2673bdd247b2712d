"""The wire format against Google's own protobuf, in both directions."""

from types import ModuleType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some

from robustmq_trt.engines import remote_grpc_messages as tables
from robustmq_trt.engines.protobuf_wire import Field, decode, encode

NUMBERS = (Field(number=3, name="shape", kind="integer", repeated=True),)
SHAPES = some.lists(some.integers(-(2**63), 2**63 - 1), max_size=6)


@pytest.fixture(scope="module")
def kinds(grpc_v2: ModuleType):
    return grpc_v2.messages()


def test_a_request_is_read_by_protobuf_as_it_was_meant(kinds):
    images = np.random.default_rng(0).normal(size=(2, 3)).astype(np.float32)
    document = {
        "model_name": "nét",
        "model_version": "",
        "id": "7",
        "raw_input_contents": [memoryview(images.tobytes())],
    }
    document |= {"inputs": [{"name": "x", "datatype": "FP32", "shape": (2, 3)}], "outputs": [{"name": "y"}]}

    read = kinds["InferRequest"].FromString(encode(tables.INFER_REQUEST, document))

    assert (read.model_name, read.model_version, read.id) == ("nét", "", "7")
    assert [(entry.name, entry.datatype, list(entry.shape)) for entry in read.inputs] == [("x", "FP32", [2, 3])]
    assert [entry.name for entry in read.outputs] == ["y"]
    assert read.raw_input_contents == [images.tobytes()]


@given(shape=SHAPES)
def test_whole_numbers_travel_both_ways_to_the_last_bit(kinds, shape: list[int]):
    written = kinds["Signature"](shape=shape).SerializeToString()

    assert decode(NUMBERS, written).get("shape", []) == shape
    assert list(kinds["Signature"].FromString(encode(NUMBERS, {"shape": shape})).shape) == shape


@pytest.mark.parametrize(("name", "key"), [("FP32", "fp32_contents"), ("FP64", "fp64_contents")])
def test_numbers_written_by_protobuf_are_read_to_the_last_bit(kinds, name: str, key: str):
    values = [0.0, -0.0, 1 / 3, 3.4e38, float("inf")] if name == "FP64" else [0.0, -0.5, float(np.float32(1 / 3))]
    reply = kinds["InferReply"](outputs=[{"name": "y", "contents": {key: values}}])

    document = decode(tables.INFER_REPLY, reply.SerializeToString())

    assert document["outputs"][0]["contents"] == {name: values}


def test_fields_nobody_asked_for_are_passed_over(kinds):
    reply = kinds["ConfigReply"](config={"name": "x" * 300, "platform": "p", "max_batch_size": 64, "backend": "b"})

    assert decode(tables.CONFIGURATION, reply.SerializeToString()) == {"config": {"max_batch_size": 64, "backend": "b"}}


@given(data=some.binary(max_size=60))
def test_any_bytes_are_read_or_refused_and_nothing_else(data: bytes):
    try:
        found = decode(tables.INFER_REPLY, data)
    except ValueError:
        return

    assert isinstance(found, dict)


@pytest.mark.parametrize(
    "data",
    [b"\x0a", b"\x0a\x05abc", b"\x0b", b"\x80" * 11, b"\x08\x01", b"\x0a\x01\xff", b"\x0d\x01\x02\x03"],
    ids=["no size", "short", "group", "endless number", "number for text", "no UTF-8", "half a float"],
)
def test_damaged_bytes_are_refused(data: bytes):
    with pytest.raises(ValueError, match=r".+"):
        decode((Field(number=1, name="name"),), data)


def test_half_a_number_in_a_list_is_refused():
    field = Field(number=6, name="FP32", kind="float", repeated=True)

    with pytest.raises(ValueError, match="3 bytes are no list of numbers"):
        decode((field,), b"\x32\x03abc")
