"""Serves an ONNX file by a real KServe, in its own environment: `kserve_server.py FILE NAME PORT GRPC_PORT JSON`."""

import json
import sys

import grpc
import onnxruntime
import uvicorn
from kserve import InferOutput, InferRequest, InferResponse, Model, ModelServer

LOOPBACK = "127.0.0.1"


class OnnxModel(Model):
    """The model in a file, on one thread."""

    def __init__(self, name: str, file: str, signature: dict) -> None:
        super().__init__(name)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        self._signature = signature
        self.ready = True

    def get_input_types(self) -> list[dict]:
        return self._signature["inputs"]

    def get_output_types(self) -> list[dict]:
        return self._signature["outputs"]

    def predict(self, payload: InferRequest, headers: dict | None = None) -> InferResponse:
        (tensor,) = payload.inputs
        (scores,) = self._session.run(None, {tensor.name: tensor.as_numpy()})
        (declared,) = self._signature["outputs"]
        output = InferOutput(declared["name"], list(scores.shape), declared["datatype"])
        output.set_data_from_numpy(scores)
        return InferResponse(payload.id, self.name, [output], requested_outputs=payload.request_outputs)


def bind_to_the_loopback() -> None:
    """Keep KServe from listening on every interface, which it does without an option to say otherwise."""
    configure, make = uvicorn.Config.__init__, grpc.aio.server

    def config(self: uvicorn.Config, app: object, host: str, **rest: object) -> None:
        configure(self, app, host=LOOPBACK, **rest)

    def server(*arguments: object, **rest: object) -> grpc.aio.Server:
        made = make(*arguments, **rest)
        bind = made.add_insecure_port
        made.add_insecure_port = lambda address: bind(f"{LOOPBACK}:{address.rpartition(':')[2]}")
        return made

    uvicorn.Config.__init__, grpc.aio.server = config, server


if __name__ == "__main__":
    bind_to_the_loopback()
    model = OnnxModel(sys.argv[2], sys.argv[1], json.loads(sys.argv[5]))
    server = ModelServer(http_port=int(sys.argv[3]), grpc_port=int(sys.argv[4]), enable_latency_logging=False)
    server.start([model])
