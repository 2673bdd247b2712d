"""The engine inspector's JSON, made up in the documented words of both schemas; no GPU has written these."""

import json
from typing import Any

import pytest

from robustmq_trt.core.errors import InputError
from robustmq_trt.engines.audit import Audit
from robustmq_trt.engines.tensorrt_audit import audit_inspector
from robustmq_trt.engines.tensorrt_inspector import read_layers

INTEGER_TACTIC = "sm80_xmma_fprop_implicit_gemm_interleaved_i8i8_i8i32_f32_nchw_vect_c_32kcrs_vect_c_32"
FLOAT_TACTIC = "sm80_xmma_fprop_implicit_gemm_indexed_tf32f32_tf32f32_f32_nhwckrsc_nchw"


def conv(schema: str, **changes: Any) -> dict[str, Any]:
    """One convolution of 64 maps over 3x3x16 on a 8x8 image: 8 * 8 * 9216 = 589824 MACs."""
    entry = {
        "Name": "conv1 + relu1",
        "LayerType": "CaskConvolution",
        "Inputs": [tensor(schema, "Int8", [2, 16, 8, 8])],
        "Outputs": [tensor(schema, "Int8", [2, 64, 8, 8])],
        "ParameterType": "Convolution",
        "Kernel": [3, 3],
        "Groups": 1,
        "OutMaps": 64,
        "Weights": {"Type": "Int8", "Count": 9216},
        "TacticName": INTEGER_TACTIC,
        "Metadata": "[ONNX Layer: /conv1/Conv]\u001e[ONNX Layer: /relu1/Relu]",
    }
    return {**entry, **changes}


def tensor(schema: str, kind: str, shape: list[int]) -> dict[str, Any]:
    words = {"Int8": "Thirty-two wide channel vectorized row major Int8 format", "Float": "Row major linear FP32"}[kind]
    if schema == "10":
        return {"Name": "t", "Location": "Device", "Dimensions": shape, "Format/Datatype": words}
    return {"Name": "t", "Location": "Device", "Dimensions": shape, "Format": f"{words} (kLINEAR)", "DataType": kind}


def document(schema: str, *layers: Any) -> str:
    ends = (
        {"Bindings": ["x", "y"]}
        if schema == "10"
        else {"I/O Tensors": [{"Name": "x", "IOMode": "Input", "DataType": "Float", "ProfileInfo": []}]}
    )
    return json.dumps({"Layers": list(layers), **ends})


def audited(schema: str, *layers: Any) -> Audit:
    return audit_inspector(document(schema, *layers), identity={"kind": "tensorrt"})


@pytest.fixture(params=["10", "11"])
def schema(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_an_int8_convolution_is_integer_with_its_macs_per_image(schema: str):
    audit = audited(schema, conv(schema))

    (layer,) = audit.layers
    assert (layer.compute, layer.macs, layer.operator) == ("integer", 589824, "Convolution")
    assert layer.name == "/conv1/Conv, /relu1/Relu"
    assert audit.integer_coverage == 1.0


def test_a_float_convolution_is_float(schema: str):
    floats = [tensor(schema, "Float", [1, 16, 8, 8])]
    audit = audited(
        schema, conv(schema, Inputs=floats, Weights={"Type": "Float", "Count": 9216}, TacticName=FLOAT_TACTIC)
    )

    assert [layer.compute for layer in audit.layers] == ["float"]
    assert "no Q/DQ" in audit.layers[0].reason


def test_weights_in_8_bits_before_a_float_kernel_are_only_compressed(schema: str):
    floats = [tensor(schema, "Float", [1, 16, 8, 8])]
    audit = audited(schema, conv(schema, Inputs=floats, TacticName=FLOAT_TACTIC))

    assert (audit.layers[0].compute, audit.layers[0].reason.endswith("only the weights are compressed")) == (
        "float",
        True,
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"TacticName": FLOAT_TACTIC},
        {"Weights": {}, "TacticName": "unnamed_kernel"},
        {"Inputs": [{"Name": "t", "Dimensions": [-1, 16, 8, 8], "Format/Datatype": "N/A due to dynamic shapes"}]},
        {"Inputs": []},
    ],
    ids=["int8 tensors, float kernel", "no weights", "open shapes", "no inputs"],
)
def test_what_contradicts_itself_or_is_hidden_is_unknown(schema: str, changes: dict[str, Any]):
    audit = audited(schema, conv(schema, **changes))

    assert audit.layers[0].compute == "unknown"
    assert audit.integer_coverage == 0.0


def test_a_matrix_product_and_a_deconvolution_count_their_places(schema: str):
    gemm = conv(schema, LayerType="gemm", ParameterType="MatrixMultiply", Weights={"Type": "Int8", "Count": 5120})
    gemm["Outputs"] = [tensor(schema, "Int8", [2, 10])]
    up = conv(schema, ParameterType="Deconvolution", Inputs=[tensor(schema, "Int8", [2, 16, 4, 4])])

    assert [layer.macs for layer in audited(schema, gemm, up).layers] == [5120, 16 * 9216]


def test_layers_that_only_move_or_add_are_no_work(schema: str):
    moves = [
        {
            "Name": "Reformatting CopyNode for Input Tensor 0 to conv1",
            "LayerType": "Reformat",
            "Inputs": [],
            "Outputs": [],
        },
        {
            "Name": "PWN(conv1/add)",
            "LayerType": "PointWiseV2",
            "Inputs": [],
            "Outputs": [tensor(schema, "Float", [1, 4])],
        },
    ]

    audit = audited(schema, conv(schema), *moves)

    assert len(audit.layers) == 1
    assert [(operator.operator, operator.count) for operator in audit.float_operators] == [("PointWiseV2", 1)]


def test_a_fused_region_that_holds_a_convolution_is_unknown(schema: str):
    region = {
        "Name": "{ForeignNode[conv1...fc]}",
        "LayerType": "Myelin",
        "Inputs": [tensor(schema, "Int8", [1, 3, 8, 8])],
    }

    audit = audited(schema, conv(schema), region)

    assert [layer.compute for layer in audit.layers] == ["integer", "unknown"]
    assert audit.integer_coverage == 0.0


def test_a_plan_that_names_its_layers_only_is_unprovable(schema: str):
    audit = audited(schema, "conv1 + relu1", "Reformatting CopyNode for Input Tensor 0 to conv1", "fc MatMul")

    assert [layer.compute for layer in audit.layers] == ["unknown", "unknown"]
    assert audit.notes[0].startswith("unprovable")


@pytest.mark.parametrize("text", ["", "null", "[]", "{}", '{"Layers": 3}', '{"Layers": [3]}', "[" * 100_000])
def test_what_is_no_inspector_json_is_refused(text: str):
    with pytest.raises(InputError, match="gave no list of layers"):
        read_layers(text)


def test_an_audit_survives_the_way_out_of_a_child(schema: str):
    audit = audited(schema, conv(schema), "fc")

    assert Audit.from_json(json.loads(json.dumps(audit.to_json()))) == Audit(
        backend=audit.backend,
        layers=list(audit.layers),
        float_operators=list(audit.float_operators),
        evidence=list(audit.evidence),
        notes=list(audit.notes),
        identity=audit.identity,
    )
