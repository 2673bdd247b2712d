from __future__ import annotations

import sys

import numpy as np
import onnx
import pytest
import torch

from robustmq_trt.core.errors import InputError, UnsupportedError
from robustmq_trt.export.parity import run_onnx
from robustmq_trt.export.prepare import prepare
from robustmq_trt.export.signature import classifier_signature
from robustmq_trt.export.torch_model import export_torch


def torch_scores(module, images):
    with torch.inference_mode():
        return module.eval()(torch.from_numpy(images)).numpy()


def test_an_export_answers_as_torch_does_at_any_batch(here, capfd):
    path_before = list(sys.path)

    exported = export_torch("usermodel:Net", size=(16, 12))

    assert sys.path == path_before
    assert capfd.readouterr() == ("", "")
    assert exported.parity.images >= 8
    assert exported.parity.top1_agreement == 1.0
    assert exported.parity.max_abs_difference < 1e-5
    prepared = prepare(exported.model)
    assert prepared.notes == ()
    signature = classifier_signature(prepared.model)
    assert (signature.height, signature.width, signature.classes, signature.fixed_batch) == (16, 12, 5, None)
    assert "BatchNormalization" not in {node.op_type for node in prepared.model.graph.node}
    images = np.random.default_rng(1).normal(size=(5, 3, 16, 12)).astype(np.float32)
    expected = torch_scores(sys.modules["usermodel"].Net(), images)
    for count in (1, 3, 5):
        np.testing.assert_allclose(run_onnx(prepared.model, images[:count]), expected[:count], rtol=1e-4, atol=1e-5)


def test_a_module_that_dynamo_cannot_trace_is_exported_by_torchscript(here):
    exported = export_torch("usermodel:Untraceable", size=(8, 8))

    assert exported.parity.max_abs_difference < 1e-5
    assert isinstance(exported.model, onnx.ModelProto)


@pytest.mark.parametrize("name", ["Leftover", "Random"])
def test_layers_left_in_training_mode_are_refused(name, here):
    with pytest.raises(InputError, match="depends on the rest of the batch or on chance"):
        export_torch(f"usermodel:{name}", size=(8, 8))


def test_what_no_exporter_can_write_is_refused_quietly(here, capfd):
    with pytest.raises(UnsupportedError, match=r"cannot export the module to ONNX.*eigvalsh"):
        export_torch("usermodel:Unexportable", size=(8, 8))

    assert capfd.readouterr() == ("", "")


def test_a_module_with_two_outputs_is_refused(here):
    with pytest.raises(UnsupportedError, match="gives tuple, expected one tensor"):
        export_torch("usermodel:Pair", size=(8, 8))


def test_a_size_the_module_does_not_take_is_named(here):
    with pytest.raises(InputError, match=r"does not take images of shape \(16, 3, 0, 8\)"):
        export_torch("usermodel:Picky", size=(0, 8))


def test_the_size_of_a_users_module_has_to_be_given(here):
    with pytest.raises(InputError, match="image size of 'usermodel:Net' is unknown"):
        export_torch("usermodel:Net")
