"""A small Open Inference Protocol server over real sockets, serving a function; runs inside the test's process."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np

TYPES = {"FP32": np.dtype("<f4"), "UINT8": np.dtype("u1"), "FP64": np.dtype("<f8"), "FP16": np.dtype("<f2")}


@dataclass
class Service:
    """What is served, and what the tests may bend while it runs.

    `binary` tensors are taken and given, and said to be unless the server is `silent` about it. `bend` may replace any
    answer: it gets method, path, status, headers and body and gives the last three.
    """

    score: Callable[[np.ndarray], np.ndarray]
    shape: list[int]
    classes: int
    name: str = "model"
    version: str = "1"
    input_type: str = "FP32"
    output_type: str = "FP32"
    binary: bool = True
    silent: bool = False
    max_batch: int | None = None
    token: str = ""
    documents: dict[str, Any] = field(default_factory=dict)
    bend: Callable[..., tuple[int, dict[str, str], bytes]] | None = None
    requests: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    connections: int = 0

    @property
    def path(self) -> str:
        return f"/v2/models/{self.name}"

    def document(self, path: str) -> Any:
        """Give what a GET of a path answers, or None."""
        extensions = [
            *(["binary_tensor_data"] if self.binary and not self.silent else []),
            "model_configuration",
            "statistics",
        ]
        found = {
            "/v2": {"name": "in-process", "version": "0", "extensions": extensions},
            self.path: {
                "name": self.name,
                "versions": [self.version],
                "platform": "python",
                "inputs": [{"name": "x", "datatype": self.input_type, "shape": self.shape}],
                "outputs": [{"name": "y", "datatype": self.output_type, "shape": [self.shape[0], self.classes]}],
            },
            f"{self.path}/config": {"max_batch_size": self.max_batch or 0, "backend": "python"},
            f"{self.path}/stats": {
                "model_stats": [
                    {
                        "inference_stats": {
                            phase: {"count": len(self.sizes), "ns": 1_000_000 * len(self.sizes)}
                            for phase in ("success", "queue", "compute_input", "compute_infer", "compute_output")
                        }
                    }
                ]
            },
            **self.documents,
        }
        return found.get(path.replace(f"/versions/{self.version}", ""))

    def infer(self, body: bytes, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        """Answer an inference request."""
        if not self.binary and "inference-header-content-length" in headers:
            return 500, {}, b"Internal Server Error"
        length = int(headers.get("inference-header-content-length", len(body)))
        document, tail = json.loads(body[:length]), body[length:]
        tensor = document["inputs"][0]
        dtype = TYPES[tensor["datatype"]]
        values = np.frombuffer(tail, dtype) if "parameters" in tensor else np.array(tensor["data"]).astype(dtype)
        images = values.reshape(tensor["shape"])
        if self.max_batch is not None and len(images) > self.max_batch:
            return 400, {}, json.dumps({"error": f"at most {self.max_batch} images"}).encode()
        self.sizes.append(len(images))
        scores = self.score(images).astype(TYPES[self.output_type])
        output = {"name": "y", "datatype": self.output_type, "shape": list(scores.shape)}
        reply = {"id": document["id"], "model_name": self.name, "model_version": self.version, "outputs": [output]}
        if not self.binary:
            output["data"] = scores.ravel().tolist()
            return 200, {}, json.dumps(reply).encode()
        output["parameters"] = {"binary_data_size": scores.nbytes}
        head = json.dumps(reply).encode()
        return 200, {"Inference-Header-Content-Length": str(len(head))}, head + scores.tobytes()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one packet: two would wait for each other for 40 ms
    server: Any

    def setup(self) -> None:
        super().setup()
        self.server.service.connections += 1

    def do_GET(self) -> None:
        found = self.server.service.document(self.path)
        self._answer(404 if found is None else 200, {}, json.dumps(found or {"error": "unknown"}).encode())

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self._answer(*self.server.service.infer(body, headers))

    def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        service = self.server.service
        service.requests.append((self.command, self.path, {k.lower(): v for k, v in self.headers.items()}))
        if service.token and self.headers.get("Authorization") != f"Bearer {service.token}":
            status, headers, body = 401, {}, f"bad header {self.headers.get('Authorization')}".encode()
        if service.bend is not None:
            status, headers, body = service.bend(self.command, self.path, status, headers, body)
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            if value:
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        pass  # clients of these tests break connections on purpose


@contextmanager
def served(service: Service, *, certificate: str | None = None) -> Iterator[str]:
    """Serve on a free port of the loopback for as long as a block lasts; gives the model's URL."""
    server = _Server(("127.0.0.1", 0), _Handler)
    server.service = service
    scheme = "http"
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        scheme = "https"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"{scheme}://127.0.0.1:{server.server_port}/{service.name}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def edited(change: Callable[[dict[str, Any], bytes], bytes]) -> Callable[..., tuple[int, dict[str, str], bytes]]:
    """Give a `bend` that changes the JSON head and the bytes behind it of every inference reply after the first.

    `change` may alter the head in place and gives the bytes. Answers to the opening's probes stay as they are.
    """
    seen = []

    def bend(
        method: str, path: str, status: int, headers: dict[str, str], body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        if method != "POST" or status != 200:
            return status, headers, body
        seen.append(path)
        if len(seen) <= OPENING_REQUESTS:
            return status, headers, body
        length = int(headers["Inference-Header-Content-Length"])
        document = json.loads(body[:length])
        tail = change(document, body[length:])
        head = json.dumps(document).encode()
        return status, {**headers, "Inference-Header-Content-Length": str(len(head))}, head + tail

    return bend


OPENING_REQUESTS = 3


@contextmanager
def raw_server(answer: Callable[[Any, bytes], None]) -> Iterator[str]:
    """Answer every connection by a function of the socket and the first bytes that came; gives the origin."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(0.05)
    over = threading.Event()

    def accept() -> None:
        while not over.is_set():
            try:
                connection, _ = listener.accept()
            except TimeoutError:
                continue
            with connection, suppress(OSError):
                connection.settimeout(5)
                answer(connection, connection.recv(65536))

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        over.set()
        thread.join()
        listener.close()
