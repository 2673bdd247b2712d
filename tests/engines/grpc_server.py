"""A small Open Inference Protocol server over gRPC, in the test's process; its messages are protobuf's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

TYPES = {"FP32": np.dtype("<f4"), "UINT8": np.dtype("u1"), "FP64": np.dtype("<f8"), "FP16": np.dtype("<f2")}
CONTENTS = {"FP32": "fp32_contents", "FP64": "fp64_contents", "UINT8": "uint_contents"}
OPENING_REQUESTS = 3
_SERVICE = "inference.GRPCInferenceService"
# As open_inference_grpc.proto and Triton's grpc_service.proto number them; a star marks what is repeated.
_MESSAGES = {
    "Named": "1 name string, 2 version string",
    "ServerMetadata": "1 name string, 2 version string, 3* extensions string",
    "Signature": "1 name string, 2 datatype string, 3* shape int64",
    "ModelMetadata": "1 name string, 2* versions string, 3 platform string, 4* inputs Signature, 5* outputs Signature",
    "Contents": "1* bool_contents bool, 2* int_contents int32, 3* int64_contents int64, 4* uint_contents uint32, "
    "5* uint64_contents uint64, 6* fp32_contents float, 7* fp64_contents double, 8* bytes_contents bytes",
    "Tensor": "1 name string, 2 datatype string, 3* shape int64, 5 contents Contents",
    "Requested": "1 name string",
    "InferRequest": "1 model_name string, 2 model_version string, 3 id string, 5* inputs Tensor, 6* outputs Requested, "
    "7* raw_input_contents bytes",
    "InferReply": "1 model_name string, 2 model_version string, 3 id string, 5* outputs Tensor, "
    "6* raw_output_contents bytes",
    "Config": "1 name string, 2 platform string, 4 max_batch_size int32, 17 backend string, 25 runtime string",
    "ConfigReply": "1 config Config",
    "Duration": "1 count uint64, 2 ns uint64",
    "Times": "1 success Duration, 2 fail Duration, 3 queue Duration, 4 compute_input Duration, "
    "5 compute_infer Duration, 6 compute_output Duration",
    "ModelTimes": "1 name string, 2 version string, 3 last_inference uint64, 6 inference_stats Times",
    "Statistics": "1* model_stats ModelTimes",
}


def messages() -> dict[str, Any]:
    """Build the message classes by protobuf itself."""
    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="test.proto", package="test", syntax="proto3")
    for name, fields in _MESSAGES.items():
        entry = file.message_type.add(name=name)
        for words in fields.split(", "):
            number, key, kind = words.split()
            label = kinds.LABEL_REPEATED if number.endswith("*") else kinds.LABEL_OPTIONAL
            added = entry.field.add(name=key, number=int(number.rstrip("*")), label=label)
            if kind in _MESSAGES:
                added.type, added.type_name = kinds.TYPE_MESSAGE, f".test.{kind}"
            else:
                added.type = getattr(kinds, f"TYPE_{kind.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"test.{name}")) for name in _MESSAGES}


@dataclass
class Service:
    """What is served, and what the tests may bend while it runs.

    `bend` may replace the answer to any inference after those of the opening: it gets the call's context, the request
    and the reply, and gives the reply or the bytes to send in its place. `fail` gets method and context first.
    """

    score: Callable[[np.ndarray], np.ndarray]
    shape: list[int]
    classes: int
    name: str = "model"
    version: str = "1"
    input_type: str = "FP32"
    output_type: str = "FP32"
    raw: bool = True
    max_batch: int = 0
    extensions: tuple[str, ...] = ("model_configuration", "statistics")
    bend: Callable[[Any, Any, Any], Any] | None = None
    fail: Callable[[str, Any], None] | None = None
    calls: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    kinds: dict[str, Any] = field(default_factory=messages)

    def answer(self, method: str, request: Any, context: Any) -> Any:
        """Give the reply to one call."""
        self.calls.append((method, dict(context.invocation_metadata())))
        if self.fail is not None:
            self.fail(method, context)
        if (
            method != "ServerMetadata"
            and getattr(request, "model_name", "") + getattr(request, "name", "") != self.name
        ):
            context.abort(grpc.StatusCode.NOT_FOUND, "no such model")
        return getattr(self, method)(request, context)

    def ServerMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802
        return self.kinds["ServerMetadata"](name="in-process", version="0", extensions=self.extensions)

    def ModelMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802
        signature = self.kinds["Signature"]
        return self.kinds["ModelMetadata"](
            name=self.name,
            versions=[self.version],
            platform="python",
            inputs=[signature(name="x", datatype=self.input_type, shape=self.shape)],
            outputs=[signature(name="y", datatype=self.output_type, shape=[self.shape[0], self.classes])],
        )

    def ModelConfig(self, request: Any, context: Any) -> Any:  # noqa: N802
        return self.kinds["ConfigReply"](config={"max_batch_size": self.max_batch, "backend": "python"})

    def ModelStatistics(self, request: Any, context: Any) -> Any:  # noqa: N802
        spent = {"count": len(self.sizes), "ns": 1_000_000 * len(self.sizes)}
        phases = ("success", "queue", "compute_input", "compute_infer", "compute_output")
        times = {"inference_stats": dict.fromkeys(phases, spent)}
        return self.kinds["Statistics"](model_stats=[{"name": self.name, **times}])

    def ModelInfer(self, request: Any, context: Any) -> Any:  # noqa: N802
        (tensor,), (content,) = request.inputs, request.raw_input_contents
        images = np.frombuffer(content, TYPES[tensor.datatype]).reshape(tensor.shape)
        self.sizes.append(len(images))
        scores = self.score(images).astype(TYPES[self.output_type])
        output = {"name": "y", "datatype": self.output_type, "shape": scores.shape}
        if not self.raw:
            output["contents"] = {CONTENTS[self.output_type]: scores.ravel().tolist()}
        reply = self.kinds["InferReply"](
            model_name=self.name,
            model_version=self.version,
            id=request.id,
            outputs=[output],
            raw_output_contents=[scores.tobytes()] if self.raw else [],
        )
        return reply if self.bend is None or len(self.sizes) <= OPENING_REQUESTS else self.bend(context, request, reply)


class _Handler(grpc.GenericRpcHandler):
    def __init__(self, service: Service) -> None:
        self._service = service

    def service(self, details: Any) -> Any:
        origin, _, method = details.method.rpartition("/")
        wanted = {"ServerMetadata": "ServerMetadata", "ModelInfer": "InferRequest"}.get(method, "Named")
        if origin != f"/{_SERVICE}" or not hasattr(self._service, method):
            return None
        return grpc.unary_unary_rpc_method_handler(
            lambda request, context: self._service.answer(method, request, context),
            request_deserializer=self._service.kinds[wanted].FromString,
            response_serializer=lambda reply: reply if isinstance(reply, bytes) else reply.SerializeToString(),
        )


@contextmanager
def served(service: Service, *, port: int = 0, certificate: tuple[bytes, bytes] | None = None) -> Iterator[str]:
    """Serve on the loopback for as long as a block lasts; gives the model's URL. `certificate` is key and chain."""
    server = grpc.server(ThreadPoolExecutor(2), handlers=[_Handler(service)], options=[("grpc.so_reuseport", 0)])
    scheme = "v2+grpc"
    if certificate is None:
        port = server.add_insecure_port(f"127.0.0.1:{port}")
    else:
        port = server.add_secure_port(f"127.0.0.1:{port}", grpc.ssl_server_credentials([certificate]))
        scheme = "v2+grpcs"
    server.start()
    try:
        yield f"{scheme}://127.0.0.1:{port}/{service.name}"
    finally:
        server.stop(None).wait()
