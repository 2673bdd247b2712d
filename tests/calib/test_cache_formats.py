"""Foreign calibration tables: ONNX Runtime's as its own writer writes them, TensorRT's as one was published."""

import json
import math
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robustmq_trt.calib.cache_formats import read_ranges
from robustmq_trt.calib.flat_table import read_pairs
from robustmq_trt.core.errors import InputError
from robustmq_trt.core.ranges import RangeTable

RANGES = {"input": (-2.5, 1.25), "relu 1": (0.0, 6.0), "a:b": (-0.1, 0.3)}

# The first lines of a cache that a user of TensorRT 8.2 published (NVIDIA/TensorRT issue 2958).
TENSORRT = """TRT-8205-EntropyCalibration2
input: 3b810a13
onnx::Conv_329: 3c96d93c
(Unnamed Layer* 22) [Constant]_output: 3a4b050c
"""


@pytest.fixture
def written(tmp_path):
    """What ONNX Runtime's `write_calibration_table` leaves in a folder."""
    from onnxruntime.quantization import calibrate
    from onnxruntime.quantization.quant_utils import write_calibration_table

    data = {
        name: calibrate.TensorData(lowest=np.float32(low), highest=np.float32(high))
        for name, (low, high) in RANGES.items()
    }
    write_calibration_table(data, dir=str(tmp_path))
    return tmp_path


def exactly(ranges):
    return {name: pytest.approx(bounds, rel=1e-7) for name, bounds in ranges.items()}


def test_onnxruntime_json_keeps_both_ends(written):
    found = read_ranges(written / "calibration.json")

    assert (found.format, found.symmetric) == ("onnxruntime-json", False)
    assert found.table.ranges == exactly(RANGES)
    assert (found.table.method, found.table.images) == ("unknown", 0)


@pytest.mark.parametrize("kind", ["cache", "flatbuffers"])
def test_onnxruntime_tables_of_one_value_mirror_the_larger_end(written, kind):
    found = read_ranges(written / f"calibration.{kind}")

    assert found.symmetric
    assert found.table.ranges == exactly({"input": (-1.25, 1.25), "relu 1": (-6, 6), "a:b": (-0.3, 0.3)})


def test_the_cache_of_a_whole_calibration_names_its_method(tmp_path):
    from onnxruntime.quantization import calibrate

    ends = {name: (np.array(low, np.float32), np.array(high, np.float32)) for name, (low, high) in RANGES.items()}
    calibrate.save_tensors_data(
        calibrate.TensorsData(calibrate.CalibrationMethod.MinMax, ends), tmp_path / "calibration.json"
    )

    found = read_ranges(tmp_path / "calibration.json")

    assert found.table.ranges == exactly(RANGES)
    assert found.table.method == "minmax"


def test_a_tensorrt_cache_gives_127_scales_to_either_side(tmp_path):
    path = tmp_path / "calibration.cache"
    path.write_text(TENSORRT)

    found = read_ranges(path)

    scale = struct.unpack(">f", bytes.fromhex("3b810a13"))[0]
    assert (found.format, found.symmetric) == ("tensorrt", True)
    assert found.table.method == "EntropyCalibration2"
    assert found.table.ranges["input"] == (-127 * scale, 127 * scale) == pytest.approx((-0.500122, 0.500122), rel=1e-6)
    assert list(found.table.ranges) == ["input", "onnx::Conv_329", "(Unnamed Layer* 22) [Constant]_output"]


@given(st.dictionaries(st.sampled_from(["x", "a b", "c: d", "é"]), st.floats(0, 2.0**100, width=32), min_size=1))
def test_a_tensorrt_cache_is_read_bit_for_bit(tmp_path_factory, scales):
    path = tmp_path_factory.mktemp("caches") / "calibration.cache"
    lines = [f"{name}: {struct.pack('>f', scale).hex()}" for name, scale in scales.items()]
    path.write_text("\n".join(["TRT-100100-MinMaxCalibration", *lines]), encoding="utf-8")

    ranges = read_ranges(path).table.ranges

    assert {name: high for name, (_, high) in ranges.items()} == {name: 127 * scale for name, scale in scales.items()}


def test_our_own_table_is_read_too(tmp_path):
    table = RangeTable(
        method="mse", images=3, model_sha256="m", data_sha256="d", preset="cifar10", ranges={"x": (-1.0, 2.0)}
    )
    table.save(tmp_path / "ranges.json")

    found = read_ranges(tmp_path / "ranges.json")

    assert (found.format, found.table) == ("robustmq", table)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xd8\xff\xe0\x00\x10JFIF",
        b"not a table",
        b"[]",
        b"[1]",
        b"{}",
        b'{"x": 1}',
        b'{"x": {"lowest": {"data": [1, 2]}, "highest": {"data": 1}}}',
        b'{"x": {"lowest": 2, "highest": 1}}',
        b'{"x": {"lowest": 0, "highest": NaN}}',
        b'{"x": [1, 2, 3]}',
        b'{"CLS": "TensorsData"}',
        b"{" * 100_000,
        b"[" * 100_000,
        b"x inf\n",
        b"1.5\n",
        b"x \xff\n",
        b"TRT-8601-EntropyCalibration2\n",
        b"TRT-8601\nx: 3b810a13",
        b"TRT-8601-EntropyCalibration2\nx: 3b810a",
        b"TRT-8601-EntropyCalibration2\nx 3b810a13",
        b"TRT-8601-EntropyCalibration2\nx: 7fc00000",
        b"TRT-8601-EntropyCalibration2\n: 3b810a13",
        b"\x00" * 64,
    ],
    ids=range(24),
)
def test_what_is_no_table_is_refused_in_a_sentence(tmp_path, content):
    path = tmp_path / "table"
    path.write_bytes(content)

    with pytest.raises(InputError, match="is not a complete calibration table"):
        read_ranges(path)


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        read_ranges(tmp_path / "none.json")
    with pytest.raises(InputError, match="cannot be read"):
        read_ranges(tmp_path)


def test_no_damage_to_a_flatbuffers_table_escapes_the_sentence(written):
    content = (written / "calibration.flatbuffers").read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(500):
        damaged = bytearray(content[: rng.integers(1, len(content) + 1)])
        damaged[rng.integers(len(damaged))] = rng.integers(256)
        try:
            pairs = list(read_pairs(bytes(damaged)))
        except ValueError:
            continue
        assert all(isinstance(text, str) for pair in pairs for text in pair)


def test_a_table_of_ranges_that_never_fire_is_read_as_zero(tmp_path):
    (tmp_path / "t").write_text(json.dumps({"x": {"lowest": 0.0, "highest": 0.0}}))

    assert read_ranges(tmp_path / "t").table.ranges == {"x": (0.0, 0.0)}
    assert not math.isnan(read_ranges(tmp_path / "t").table.ranges["x"][0])
