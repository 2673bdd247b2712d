from __future__ import annotations

import contextlib
import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, external_data_helper, numpy_helper

from robustmq_trt.core.errors import InputError, RefusedError, RobustMQError, UnsupportedError
from robustmq_trt.export import onnx_file
from robustmq_trt.export.onnx_file import read_model, write_model
from robustmq_trt.export.prepare import prepare
from robustmq_trt.export.signature import classifier_signature


@pytest.fixture
def net(make_net):
    return make_net("conv_bn")


@pytest.fixture
def saved(net, tmp_path) -> Path:
    path = tmp_path / "model.onnx"
    write_model(net, path)
    return path


@pytest.fixture
def external(net, tmp_path) -> Path:
    """A model whose weights lie in `weights.bin` beside it."""
    folder = tmp_path / "external"
    folder.mkdir()
    copy = onnx.ModelProto()
    copy.CopyFrom(net)  # saving moves the weights out of the model it is given
    onnx.save_model(
        copy, str(folder / "model.onnx"), save_as_external_data=True, location="weights.bin", size_threshold=0
    )
    return folder / "model.onnx"


def relocate(path: Path, location: str) -> None:
    """Make the first external tensor of a file name another location."""
    model = onnx.load(str(path), load_external_data=False)
    tensor = next(t for t in model.graph.initializer if t.data_location == TensorProto.EXTERNAL)
    next(entry for entry in tensor.external_data if entry.key == "location").value = location
    path.write_bytes(model.SerializeToString())


def test_a_model_written_reads_back_equal(net, saved):
    assert read_model(saved) == net


def test_writing_the_same_model_gives_the_same_bytes(net, saved, tmp_path):
    write_model(net, tmp_path / "again.onnx")

    assert (tmp_path / "again.onnx").read_bytes() == saved.read_bytes()


def test_a_failed_write_leaves_nothing_behind(net, tmp_path, monkeypatch):
    def too_large(model):
        raise InputError("too large")

    monkeypatch.setattr(onnx_file, "serialize", too_large)

    with pytest.raises(InputError):
        write_model(net, tmp_path / "model.onnx")

    assert list(tmp_path.iterdir()) == []


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"nowhere\.onnx' does not exist"):
        read_model(tmp_path / "nowhere.onnx")


def test_a_folder_is_no_model(tmp_path):
    with pytest.raises(InputError, match="is a folder"):
        read_model(tmp_path)


def test_a_pipe_is_no_model(tmp_path):
    os.mkfifo(tmp_path / "pipe.onnx")

    with pytest.raises(InputError, match="not a regular file"):
        read_model(tmp_path / "pipe.onnx")


@pytest.mark.parametrize(
    "content", [b"", b"\0" * 100, b"hello, this is no model", b"\x89PNG\r\n\x1a\n", b"PK\x03\x04aa"]
)
def test_other_files_are_no_models(content, tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(content)

    with pytest.raises(InputError):
        read_model(path)


def test_a_file_over_two_gigabytes_is_refused_unread(tmp_path):
    path = tmp_path / "huge.onnx"
    with path.open("wb") as file:
        file.truncate(onnx_file.MAX_BYTES + 1)  # sparse: takes no space

    with pytest.raises(InputError, match="more than the 2147483647"):
        read_model(path)


@pytest.mark.parametrize("seed", range(120))
def test_damaged_files_raise_nothing_but_our_errors(seed, saved, tmp_path):
    rng = np.random.default_rng(seed)
    content = bytearray(saved.read_bytes())
    if seed % 3 == 0:
        content = content[: rng.integers(1, len(content))]
    elif seed % 3 == 1:
        for position in rng.integers(0, len(content), rng.integers(1, 20)):
            content[position] ^= 1 << rng.integers(8)
    else:  # the structure, not the weights: they are most of the file
        for position in rng.integers(0, 600, 3):
            content[-1 - position] ^= 1 << rng.integers(8)
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(bytes(content))

    with contextlib.suppress(RobustMQError):
        classifier_signature(prepare(read_model(damaged)).model)


def test_custom_operators_are_named(saved):
    model = onnx.load(str(saved))
    model.graph.node[2].domain = "com.vendor"
    model.opset_import.append(onnx.helper.make_opsetid("com.vendor", 1))
    saved.write_bytes(model.SerializeToString())

    with pytest.raises(UnsupportedError, match=r"com\.vendor::Relu.*--custom-ops"):
        read_model(saved)
    assert read_model(saved, custom_ops=True).graph.node[2].domain == "com.vendor"


@pytest.mark.parametrize("version", [1, 6, 99])
def test_an_opset_out_of_range_is_refused(version, saved):
    model = onnx.load(str(saved))
    model.opset_import[0].version = version
    saved.write_bytes(model.SerializeToString())

    with pytest.raises(UnsupportedError, match=f"opset {version}; supported are 7 to"):
        read_model(saved)


def test_a_weight_of_the_wrong_size_is_named(saved):
    model = onnx.load(str(saved))
    model.graph.initializer[0].raw_data = model.graph.initializer[0].raw_data[:-4]
    saved.write_bytes(model.SerializeToString())

    with pytest.raises(InputError, match=r"'w' of shape \[6, 3, 3, 3\] holds 644 bytes, expected 648"):
        read_model(saved)


def test_a_graph_with_a_loop_is_refused_by_the_checker(saved):
    model = onnx.load(str(saved))
    model.graph.node[0].input[0] = "f"
    saved.write_bytes(model.SerializeToString())

    with pytest.raises(InputError, match="checker"):
        read_model(saved)


def test_external_data_in_the_folder_is_loaded_into_memory(net, external):
    model = read_model(external)

    assert not any(external_data_helper.uses_external_data(tensor) for tensor in model.graph.initializer)
    for got, expected in zip(model.graph.initializer, net.graph.initializer, strict=True):
        np.testing.assert_array_equal(numpy_helper.to_array(got), numpy_helper.to_array(expected))


def test_external_data_in_a_folder_below_is_loaded(external):
    (external.parent / "data").mkdir()
    (external.parent / "weights.bin").rename(external.parent / "data/weights.bin")
    model = onnx.load(str(external), load_external_data=False)
    for tensor in model.graph.initializer:
        next(entry for entry in tensor.external_data if entry.key == "location").value = "data/weights.bin"
    external.write_bytes(model.SerializeToString())

    assert len(read_model(external).graph.initializer[0].raw_data) == 648


@pytest.mark.parametrize(
    "location", ["/etc/passwd", "../weights.bin", "a/../../weights.bin", "..\\weights.bin", "C:\\w.bin", "C:w.bin"]
)
def test_external_data_outside_the_folder_is_refused(location, external):
    (external.parent.parent / "weights.bin").write_bytes(b"\0" * 10_000)
    relocate(external, location)

    with pytest.raises(RefusedError, match="not a path below the model's folder") as caught:
        read_model(external)

    assert caught.value.exit_code == 4


def test_a_symbolic_link_out_of_the_folder_is_refused(external):
    outside = external.parent.parent / "secret.bin"
    (external.parent / "weights.bin").rename(outside)
    (external.parent / "weights.bin").symlink_to(outside)

    with pytest.raises(RefusedError, match="link"):
        read_model(external)


def test_a_linked_folder_that_leads_out_is_refused(external):
    outside = external.parent.parent / "elsewhere"
    outside.mkdir()
    (external.parent / "weights.bin").rename(outside / "weights.bin")
    (external.parent / "data").symlink_to(outside)
    relocate(external, "data/weights.bin")

    with pytest.raises(RefusedError, match="link"):
        read_model(external)


def test_a_symbolic_link_inside_the_folder_is_refused_too(external):
    (external.parent / "weights.bin").rename(external.parent / "real.bin")
    (external.parent / "weights.bin").symlink_to("real.bin")

    with pytest.raises(RefusedError, match="symbolic link"):
        read_model(external)


def test_a_hard_link_is_refused(external):
    outside = external.parent.parent / "secret.bin"
    outside.hardlink_to(external.parent / "weights.bin")

    with pytest.raises(RefusedError, match="hard link"):
        read_model(external)


def test_external_data_that_is_missing_or_short_or_a_pipe_is_named(external):
    weights = external.parent / "weights.bin"
    content = weights.read_bytes()

    weights.write_bytes(content[:100])
    with pytest.raises(InputError, match=r"ends at byte 100, expected 648"):
        read_model(external)
    weights.unlink()
    with pytest.raises(InputError, match="No such file"):
        read_model(external)
    os.mkfifo(weights)
    with pytest.raises(InputError, match="not a regular file"):
        read_model(external)


@pytest.mark.parametrize(("key", "value"), [("offset", "-8"), ("length", "many"), ("length", "7"), ("location", "")])
def test_external_entries_that_make_no_sense_are_refused(key, value, external):
    model = onnx.load(str(external), load_external_data=False)
    next(entry for entry in model.graph.initializer[0].external_data if entry.key == key).value = value
    external.write_bytes(model.SerializeToString())

    with pytest.raises(InputError, match="'w'"):
        read_model(external)


def test_external_data_claiming_terabytes_is_refused_before_reading(external):
    model = onnx.load(str(external), load_external_data=False)
    model.graph.initializer[0].dims[:] = [1 << 20, 1 << 20]
    external.write_bytes(model.SerializeToString())

    with pytest.raises(InputError, match="exceeds"):
        read_model(external)


def test_external_data_in_attributes_and_subgraphs_is_watched_too(tmp_path):
    model = onnx.parser.parse_model("""<ir_version: 8, opset_import: ["" : 17]>
    net (float[2] x, bool on) => (float[2] y) {
        y = If (on) <
            then_branch = a () => (float[2] p) { c = Constant<value = float[2] {1.0, 2.0}>() p = Add(x, c) },
            else_branch = b () => (float[2] q) { q = Neg(x) }
        >
    }""")
    branch = next(a for a in model.graph.node[0].attribute if a.name == "then_branch")
    constant = branch.g.node[0].attribute[0].t
    constant.CopyFrom(numpy_helper.from_array(np.float32([1, 2])))
    external_data_helper.set_external_data(constant, "../secret.bin")
    constant.ClearField("raw_data")
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())

    with pytest.raises(RefusedError):
        read_model(path)
