"""Serves an ONNX file by a real Triton, in its own environment: `triton_server.py FILE NAME PORT GRPC_PORT FOLDER`."""

import sys
from pathlib import Path

import numpy as np
import onnxruntime
from pytriton.decorators import batch
from pytriton.model_config import ModelConfig, Tensor
from pytriton.triton import DEFAULT_PROTECTED_ENDPOINTS, Triton, TritonConfig, TritonSecurityConfig

_TYPES = {"tensor(float)": np.float32, "tensor(uint8)": np.uint8}
MAX_BATCH = 64


def serve(file: str, name: str, port: int, grpc_port: int, folder: str) -> None:
    """Serve until the process is ended."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    (entry,), (exit_,) = session.get_inputs(), session.get_outputs()

    @batch
    def score(**tensors):
        return session.run(None, tensors)

    config = TritonConfig(
        http_address="127.0.0.1",
        http_port=port,
        grpc_address="127.0.0.1",
        grpc_port=grpc_port,
        allow_metrics=False,
        exit_timeout_secs=5,
    )
    # This wrapper hides the statistics behind a token of its own; a plain Triton does not.
    hidden = [name for name in DEFAULT_PROTECTED_ENDPOINTS if name != "statistics"]
    security = TritonSecurityConfig(restricted_endpoints=hidden)
    with Triton(config=config, workspace=Path(folder) / "w", security_config=security) as triton:
        triton.bind(
            model_name=name,
            infer_func=score,
            inputs=[Tensor(name=entry.name, dtype=_TYPES[entry.type], shape=tuple(entry.shape[1:]))],
            outputs=[Tensor(name=exit_.name, dtype=_TYPES[exit_.type], shape=tuple(exit_.shape[1:]))],
            config=ModelConfig(max_batch_size=MAX_BATCH),
            strict=True,
        )
        triton.serve()


if __name__ == "__main__":
    serve(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5])
