"""Starts the real servers, each in its own environment and on the loopback only, and stops them."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
import make

NAME = "classifier"
_READY_SECONDS = 120.0


@contextmanager
def running(
    server: str, model: Path, signature: dict[str, Any], folder: Path, *, scheme: str = "http"
) -> Iterator[str]:
    """Serve an ONNX file for as long as a block lasts; gives the URL of the model.

    Args:
        server: ``triton``, ``mlserver`` or ``kserve``.
        model: The file.
        signature: ``inputs`` and ``outputs`` as the protocol's metadata words them; Triton reads them, the others are
            told.
        folder: Where logs and settings go.
        scheme: ``http`` or ``v2+grpc``, for the URL; both are served.
    """
    environment = make.folder_of(server)
    if environment is None:
        raise FileNotFoundError(f"No environment of {server}: {make.COMMAND}")
    folder.mkdir(parents=True, exist_ok=True)
    port, grpc_port = _free_port(), _free_port()
    path = f"{environment / 'bin'}{os.pathsep}{os.environ['PATH']}"
    # Triton's processes talk through Unix sockets, whose paths have to be short.
    with tempfile.TemporaryDirectory(prefix="v2-") as short, (folder / "log.txt").open("w") as log:
        if server == "triton":
            argv = _triton(environment, model.resolve(), short, port, grpc_port)
        elif server == "kserve":
            argv = _kserve(environment, model.resolve(), signature, port, grpc_port)
        else:
            argv = _mlserver(environment, model.resolve(), signature, folder, port, grpc_port)
        # A process group of its own, so that the server's children can be ended with it. Not a session: Linux deals
        # processor time out by session, and servers would be timed with a share that a direct run does not get.
        process = subprocess.Popen(
            argv, cwd=folder, env={**os.environ, "PATH": path}, stdout=log, stderr=log, process_group=0
        )
        try:
            _wait(process, port, folder / "log.txt")
            yield f"{scheme}://127.0.0.1:{port if scheme == 'http' else grpc_port}/{NAME}"
        finally:
            stop(process)


def signature(entry: str, image_shape: Sequence[int], output: str, classes: int) -> dict[str, Any]:
    """Word a float classifier's signature as the protocol's metadata does."""
    return {
        "inputs": [{"name": entry, "datatype": "FP32", "shape": [-1, *image_shape]}],
        "outputs": [{"name": output, "datatype": "FP32", "shape": [-1, classes]}],
    }


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a server and its children."""
    for ending in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, ending)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(15)


def _triton(environment: Path, model: Path, folder: str, port: int, grpc_port: int) -> Sequence[str]:
    script = Path(__file__).with_name("triton_server.py")
    return [str(environment / "bin" / "python"), str(script), str(model), NAME, str(port), str(grpc_port), folder]


def _kserve(environment: Path, model: Path, signature: dict[str, Any], port: int, grpc_port: int) -> Sequence[str]:
    script, python = Path(__file__).with_name("kserve_server.py"), environment / "bin" / "python"
    return [str(python), str(script), str(model), NAME, str(port), str(grpc_port), json.dumps(signature)]


def _mlserver(
    environment: Path, model: Path, signature: dict[str, Any], folder: Path, port: int, grpc_port: int
) -> Sequence[str]:
    shutil.copy(Path(__file__).with_name("mlserver_model.py"), folder)
    settings = {
        "host": "127.0.0.1",
        "http_port": port,
        "grpc_port": grpc_port,
        "metrics_port": _free_port(),
        "parallel_workers": 0,
        "debug": False,
    }
    described = {
        "name": NAME,
        "implementation": "mlserver_model.OnnxModel",
        "platform": "onnxruntime",
        "parameters": {"uri": str(model), "version": "1"},
        **signature,
    }
    (folder / "settings.json").write_text(json.dumps(settings))
    (folder / "model-settings.json").write_text(json.dumps(described))
    return [str(environment / "bin" / "mlserver"), "start", str(folder)]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    until = time.monotonic() + _READY_SECONDS
    while time.monotonic() < until and process.poll() is None:
        with contextlib.suppress(OSError, http.client.HTTPException):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
            connection.request("GET", f"/v2/models/{NAME}/ready")
            status = connection.getresponse().status
            connection.close()
            if status == 200:
                return
        time.sleep(0.2)
    raise RuntimeError(f"The server did not become ready:\n{log.read_text()[-3000:]}")
