"""The Open Inference Protocol over HTTP: its documents, its binary tensors or JSON, and what a status means."""

from __future__ import annotations

import time
from typing import Any

from numpy.typing import NDArray

from .remote_address import Address
from .remote_credentials import Credentials
from .remote_http import Reply, Request, Transport
from .remote_metadata import STATISTICS, ServerModel, has_configuration, read_model
from .remote_retry import Policy, Retrier, ServerError, TransientError
from .remote_statistics import read_statistics
from .remote_tensors import Expectation, Scores, decode, encode, parse_object
from .remote_wire import values_in

_PASSING = frozenset((408, 425, 429, 500, 502, 503, 504))
_REQUEST_BYTES = 48 * 1024 * 1024  # Triton refuses requests above 64 MiB
_JSON_BYTES_PER_VALUE = 24
_TRIAL_SECONDS = 30.0
_LONGEST_WAIT_S = 60.0


class RestWire:
    """One model behind HTTP or HTTPS; see :class:`~.remote_wire.Wire`."""

    def __init__(self, address: Address, *, credentials: Credentials, policy: Policy) -> None:
        self._address = address
        self._credentials = credentials
        self._http = Transport(address, credentials=credentials)
        self._retrier = Retrier(policy)
        self._trial_seconds = min(_TRIAL_SECONDS, policy.deadline_s)
        self._model: ServerModel | None = None
        self._binary: bool | None = None  # whether tensors travel as bytes; None until the server has said or shown it

    @property
    def transport(self) -> str:
        """``http, binary tensors`` or ``http, json``."""
        return "http, binary tensors" if self._binary else "http, json"

    @property
    def most_values(self) -> int:
        """Values of an image batch that one request may hold."""
        binary = values_in(_REQUEST_BYTES, self._described)
        return binary if self._binary else _REQUEST_BYTES // _JSON_BYTES_PER_VALUE

    @property
    def connections(self) -> int:
        """Connections made so far."""
        return self._http.connections

    @property
    def breaks(self) -> int:
        """How many of them broke."""
        return self._http.breaks

    @property
    def retries(self) -> int:
        """Attempts that were repeated so far."""
        return self._retrier.retries

    def describe(self) -> tuple[ServerModel, dict[str, Any]]:
        """Ask what the server says of the model, and its configuration where it shows it."""
        server = self._get("/v2")
        model = self._get(self._address.path)
        configuration = self._optional(f"{self._address.path}/config") if has_configuration(server) else {}
        self._model = read_model(server, model, configuration, where=f"'{self._address.url}'")
        self._binary = True if self._model.binary else None
        return self._model, configuration

    def ask(self, batch: NDArray[Any], expected: Expectation) -> Scores:
        """Send one inference and check its reply."""
        if self._binary is None:
            shown = self._tried(batch, expected)
            self._binary = shown is not None
            if shown is not None:
                return shown
        reply = self._send(encode(batch, expected, self._address.path, binary=self._binary))
        scores: Scores = self._credentials.guard(decode, reply, expected)
        return scores

    def statistics(self) -> dict[str, dict[str, int]] | None:
        """Give the server's own times; None where it has none."""
        if STATISTICS not in self._described.extensions:
            return None
        return read_statistics(self._optional(f"{self._address.path}/stats"))

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    @property
    def _described(self) -> ServerModel:
        assert self._model is not None, "describe() comes first"
        return self._model

    def _tried(self, batch: NDArray[Any], expected: Expectation) -> Scores | None:
        """Send the first inference as bytes to a server that does not say whether it takes them.

        KServe takes them and is silent. MLServer does not; its error costs one request, and JSON is what is left.
        """
        request = encode(batch, expected, self._address.path, binary=True)
        try:
            reply = self._http.exchange(request, deadline=time.monotonic() + self._trial_seconds)
            return decode(reply, expected) if reply.status == 200 else None
        except (TransientError, ServerError):
            return None

    def _send(self, request: Request) -> Reply:
        """Send a request until it is answered; give the reply of status 200."""

        def attempt(deadline: float) -> Reply:
            reply = self._http.exchange(request, deadline=deadline)
            if reply.status in _PASSING:
                raise TransientError(self._status(reply), wait_s=_retry_after(reply))
            return reply

        what = f"{request.method} {self._address.origin}{request.path}"
        reply = self._retrier.call(attempt, what=what)
        if reply.status != 200:
            raise ServerError(f"{what} was refused with {self._status(reply)}.{_advice(reply.status)}")
        return reply

    def _status(self, reply: Reply) -> str:
        excerpt = self._credentials.excerpt(reply.body)
        return f"status {reply.status}" + (f": {excerpt}" if excerpt else "")

    def _get(self, path: str) -> dict[str, Any]:
        body = self._send(Request(method="GET", path=path)).body
        text = self._credentials.redact(body.decode("utf-8", "replace"))
        return parse_object(text.encode(), f"{self._address.origin}{path}")

    def _optional(self, path: str) -> dict[str, Any]:
        try:
            return self._get(path)
        except ServerError:
            return {}


def _retry_after(reply: Reply) -> float | None:
    asked = reply.headers.get("retry-after", "")
    return min(float(asked), _LONGEST_WAIT_S) if asked.isascii() and asked.isdigit() and len(asked) < 10 else None


def _advice(status: int) -> str:
    match status:
        case 401 | 403:
            return " Put the server's token into the environment variable ROBUSTMQ_TOKEN."
        case 404:
            return " Check the model's name and version."
        case _:
            return ""
