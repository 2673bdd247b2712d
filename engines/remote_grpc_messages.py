"""The messages of the Open Inference Protocol over gRPC that a client of classifiers needs, as tables.

Reference:
    Open Inference Protocol v2, "gRPC" (`inference.GRPCInferenceService`); Triton's extensions "model configuration"
    and "statistics" for the last two.
"""

from __future__ import annotations

from .protobuf_wire import Field

SERVICE = "inference.GRPCInferenceService"

_NAME, _DATATYPE = Field(number=1, name="name"), Field(number=2, name="datatype")
_SHAPE = Field(number=3, name="shape", kind="integer", repeated=True)
_SIGNATURE = (_NAME, _DATATYPE, _SHAPE)

NAMED_MODEL = (_NAME, Field(number=2, name="version"))
SERVER_METADATA = (
    _NAME,
    Field(number=2, name="version"),
    Field(number=3, name="extensions", repeated=True),
)
MODEL_METADATA = (
    _NAME,
    Field(number=2, name="versions", repeated=True),
    Field(number=3, name="platform"),
    Field(number=4, name="inputs", kind="message", repeated=True, fields=_SIGNATURE),
    Field(number=5, name="outputs", kind="message", repeated=True, fields=_SIGNATURE),
)
_IDENTITY = (
    Field(number=1, name="model_name"),
    Field(number=2, name="model_version"),
    Field(number=3, name="id"),
)
INFER_REQUEST = (
    *_IDENTITY,
    Field(number=5, name="inputs", kind="message", repeated=True, fields=_SIGNATURE),
    Field(number=6, name="outputs", kind="message", repeated=True, fields=(_NAME,)),
    Field(number=7, name="raw_input_contents", kind="bytes", repeated=True),
)
_CONTENTS = (
    Field(number=4, name="UINT8", kind="integer", repeated=True),
    Field(number=6, name="FP32", kind="float", repeated=True),
    Field(number=7, name="FP64", kind="double", repeated=True),
)
INFER_REPLY = (
    *_IDENTITY,
    Field(
        number=5,
        name="outputs",
        kind="message",
        repeated=True,
        fields=(*_SIGNATURE, Field(number=5, name="contents", kind="message", fields=_CONTENTS)),
    ),
    Field(number=6, name="raw_output_contents", kind="bytes", repeated=True),
)
CONFIGURATION = (
    Field(
        number=1,
        name="config",
        kind="message",
        fields=(
            Field(number=4, name="max_batch_size", kind="integer"),
            Field(number=17, name="backend"),
            Field(number=25, name="runtime"),
        ),
    ),
)
_DURATION = (Field(number=1, name="count", kind="integer"), Field(number=2, name="ns", kind="integer"))
_PHASES = {1: "success", 3: "queue", 4: "compute_input", 5: "compute_infer", 6: "compute_output"}
STATISTICS = (
    Field(
        number=1,
        name="model_stats",
        kind="message",
        repeated=True,
        fields=(
            Field(
                number=6,
                name="inference_stats",
                kind="message",
                fields=tuple(
                    Field(number=number, name=phase, kind="message", fields=_DURATION)
                    for number, phase in _PHASES.items()
                ),
            ),
        ),
    ),
)
