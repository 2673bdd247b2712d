"""The Open Inference Protocol over gRPC: the channel, what a status means, and tensors as bytes."""

from __future__ import annotations

import ssl
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.errors import RefusedError, UnsupportedError
from . import remote_grpc_messages as messages
from .protobuf_wire import Field, decode, encode
from .remote_address import Address
from .remote_credentials import Credentials
from .remote_metadata import STATISTICS, ServerModel, has_configuration, read_model
from .remote_retry import Policy, Retrier, ServerError, TransientError
from .remote_statistics import read_statistics
from .remote_tensors import Expectation, Scores, read_scores
from .remote_wire import values_in

Fields = tuple[Field, ...]

INSTALL = "pip install 'robustmq-trt[grpc]'"
# What a gRPC server takes unless it was told otherwise is 4 MiB; the rest is room for the message's frame.
_REQUEST_BYTES = 4 * 1024 * 1024 - 64 * 1024
_REPLY_BYTES = 64 * 1024 * 1024
_PASSING = frozenset(
    ("UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "ABORTED", "CANCELLED", "INTERNAL", "UNKNOWN")
)
_OPTIONS = (
    ("grpc.max_receive_message_length", _REPLY_BYTES),
    ("grpc.compression_enabled_algorithms_bitset", 1),  # none: what is small on the wire is small in memory
    ("grpc.enable_http_proxy", 0),
    ("grpc.enable_retries", 0),  # attempts are counted here
    ("grpc.service_config_disable_resolution", 1),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
)
# How long the thread by which grpcio watches a channel may look at it after its last watcher has gone: 0.2 s, and some
# to wake up. A channel closed under its eyes makes it die with a stack trace.
_LAST_LOOK_S = 0.3
_DISTRUST = ("certificate verify failed", "certificate_verify_failed", "hostname verification", "peer name")


class GrpcWire:
    """One model behind gRPC, with or without TLS; see :class:`~.remote_wire.Wire`.

    Proxies named in the environment are not used. A connection that broke while nothing was asked is noticed by its
    successor.
    """

    def __init__(self, address: Address, *, credentials: Credentials, policy: Policy) -> None:
        """Open a channel; nothing is connected yet.

        Raises:
            UnsupportedError: If grpcio is not installed.
        """
        self._grpc = _module()
        self._address = address
        self._credentials = credentials
        self._retrier = Retrier(policy)
        self._model: ServerModel | None = None
        self._connections = 0
        self._closed = False
        self._channel = _channel(self._grpc, address)
        self._channel.subscribe(self._note)

    @property
    def transport(self) -> str:
        """What provenance says."""
        return "grpc, binary tensors"

    @property
    def most_values(self) -> int:
        """Values of an image batch that one request may hold."""
        return values_in(_REQUEST_BYTES, self._described)

    @property
    def connections(self) -> int:
        """Connections made so far."""
        return self._connections

    @property
    def breaks(self) -> int:
        """How many of them broke and were made anew."""
        return max(0, self._connections - 1)

    @property
    def retries(self) -> int:
        """Attempts that were repeated so far."""
        return self._retrier.retries

    def describe(self) -> tuple[ServerModel, dict[str, Any]]:
        """Ask what the server says of the model, and its configuration where it shows it."""
        where = f"'{self._address.url}'"
        server = self._call("ServerMetadata", (), {}, messages.SERVER_METADATA)
        model = self._call("ModelMetadata", messages.NAMED_MODEL, self._named, messages.MODEL_METADATA)
        asked = has_configuration(server)
        configuration = self._optional("ModelConfig", messages.CONFIGURATION).get("config", {}) if asked else {}
        self._model = read_model(server, model, configuration, where=where)
        return self._model, configuration

    def ask(self, batch: NDArray[Any], expected: Expectation) -> Scores:
        """Send one inference and check its reply."""
        document = self._call(
            "ModelInfer", messages.INFER_REQUEST, _request(batch, expected, self._address), messages.INFER_REPLY
        )
        size = sum(len(piece) for piece in document.get("raw_output_contents", ()))
        if size > expected.most_bytes:
            raise ServerError(
                f"{expected.where} sent {size:,} bytes of scores where {expected.most_bytes:,} are allowed. "
                "Check what runs there."
            )
        scores: Scores = self._credentials.guard(read_scores, *_as_json(document), expected)
        return scores

    def statistics(self) -> dict[str, dict[str, int]] | None:
        """Give the server's own times; None where it has none."""
        if STATISTICS not in self._described.extensions:
            return None
        return read_statistics(self._optional("ModelStatistics", messages.STATISTICS))

    def close(self) -> None:
        """Close the channel; a second call does nothing."""
        if not self._closed:
            self._closed = True
            self._channel.unsubscribe(self._note)
            time.sleep(_LAST_LOOK_S)
            self._channel.close()

    @property
    def _described(self) -> ServerModel:
        assert self._model is not None, "describe() comes first"
        return self._model

    @property
    def _named(self) -> dict[str, Any]:
        return {"name": self._address.model, "version": self._address.version or ""}

    def _note(self, state: Any) -> None:
        if state is self._grpc.ChannelConnectivity.READY:
            self._connections += 1

    def _optional(self, method: str, reply: Fields) -> dict[str, Any]:
        try:
            return self._call(method, messages.NAMED_MODEL, self._named, reply)
        except ServerError:
            return {}

    def _call(self, method: str, request: Fields, document: dict[str, Any], reply: Fields) -> dict[str, Any]:
        """Send a request until it is answered; give the reply's content."""
        path = f"/{messages.SERVICE}/{method}"
        call = self._channel.unary_unary(path)
        body = encode(request, document)
        bearer = self._credentials.bearer
        metadata = [("authorization", bearer)] if bearer else None

        def attempt(deadline: float) -> bytes:
            try:
                answer: bytes = call(body, timeout=max(0.0, deadline - time.monotonic()), metadata=metadata)
                return answer
            except self._grpc.RpcError as error:
                raise self._failure(what, error) from error

        what = f"{method} at {self._address.url}"
        answer = self._retrier.call(attempt, what=what)
        try:
            return decode(reply, answer)
        except ValueError as error:
            raise ServerError(f"{what} was answered with no such message: {error}. Check what runs there.") from error

    def _failure(self, what: str, error: Any) -> Exception:
        """Tell by a status whether to try again."""
        code, details = error.code().name, self._credentials.excerpt(str(error.details()).encode()).rstrip(".")
        if any(word in details.lower() for word in _DISTRUST):
            return RefusedError(
                f"The certificate of {self._address.origin} is not accepted: {details}. "
                "Name the file of its authority in the environment variable SSL_CERT_FILE."
            )
        if code in _PASSING and "larger than max" not in details:
            return TransientError(f"status {code}: {details}")
        return ServerError(f"{what} was refused with status {code}: {details}.{_advice(code)}")


def _module() -> ModuleType:
    try:
        import grpc
    except ImportError as error:
        raise UnsupportedError(f"A target v2+grpc:// needs grpcio, which is not installed. Run: {INSTALL}") from error
    module: ModuleType = grpc
    return module


def _channel(grpc: ModuleType, address: Address) -> Any:
    target = f"dns:///{address.origin.partition('://')[2]}"
    if not address.is_encrypted:
        return grpc.insecure_channel(target, options=_OPTIONS)
    authorities = ssl.get_default_verify_paths().cafile  # that of SSL_CERT_FILE, where it is set
    roots = Path(authorities).read_bytes() if authorities else None
    return grpc.secure_channel(target, grpc.ssl_channel_credentials(roots), options=_OPTIONS)


def _request(batch: NDArray[Any], expected: Expectation, address: Address) -> dict[str, Any]:
    entry = expected.model.entry
    # "C" keeps what is contiguous; the protocol's bytes are little-endian.
    values = np.require(batch, dtype=batch.dtype.newbyteorder("<"), requirements="C")
    return {
        "model_name": address.model,
        "model_version": address.version or "",
        "id": expected.request_id,
        "inputs": [{"name": entry.name, "datatype": entry.datatype, "shape": batch.shape}],
        "outputs": [{"name": expected.model.exit.name}],
        "raw_input_contents": [values.reshape(-1).view(np.uint8)],
    }


def _as_json(document: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    """Give a reply as HTTP words it: where the scores are bytes, each output says how many of the tail are its own."""
    pieces = document.get("raw_output_contents", [])
    outputs = [dict(output) for output in document.get("outputs", [])]
    for output, piece in zip(outputs, pieces, strict=False):
        output["parameters"] = {"binary_data_size": len(piece)}
    for output in outputs[len(pieces) :]:
        output["data"] = output.pop("contents", {}).get(output.get("datatype"), [])
    return {**document, "outputs": outputs}, b"".join(pieces)


def _advice(code: str) -> str:
    match code:
        case "UNAUTHENTICATED" | "PERMISSION_DENIED":
            return " Put the server's token into the environment variable ROBUSTMQ_TOKEN."
        case "NOT_FOUND":
            return " Check the model's name and version."
        case _:
            return ""
