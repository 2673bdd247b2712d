"""One HTTP request to one server: keep-alive, TLS, credentials, size caps and redirects. Repeats nothing itself."""

from __future__ import annotations

import http.client
import socket
import ssl
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urljoin, urlsplit

from ..core.errors import RefusedError
from .remote_address import Address, same_origin
from .remote_credentials import Credentials
from .remote_retry import ServerError, TransientError
from .remote_socket import Clock, OversizedError, TimedSocket

HEADER_BYTES = 64 * 1024
_READ_AHEAD = 8192  # what a buffered reader may take of the body while it reads the head
_REDIRECTS = 3
_MOVED = frozenset((301, 302, 303, 307, 308))
_KEEPS_METHOD = frozenset((307, 308))
_CONNECT_SECONDS = 10.0


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is sent.

    Attributes:
        method: ``GET`` or ``POST``.
        path: Path on the server.
        headers: Headers beside those of the connection.
        parts: Pieces of the body, each a contiguous buffer.
        most_bytes: Bytes that the reply's body may have.
    """

    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    parts: Sequence[Any] = ()
    most_bytes: int = 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What came back.

    Attributes:
        status: HTTP status.
        headers: Headers, names in lower case.
        body: The body's bytes.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes


class Transport:
    """The connection to one server.

    Proxies named in the environment are not used, and no redirect to another host, port or scheme is followed.

    Attributes:
        connections: TCP connections made so far.
        breaks: How many of them broke.
    """

    def __init__(self, address: Address, *, credentials: Credentials, clock: Clock = time.monotonic) -> None:
        self._address = address
        self._credentials = credentials
        self._clock = clock
        self._context = ssl.create_default_context() if address.is_encrypted else None
        self._connection: http.client.HTTPConnection | None = None
        self._stream: TimedSocket | None = None
        self.connections = self.breaks = 0

    def exchange(self, request: Request, *, deadline: float) -> Reply:
        """Send one request and read its reply, whatever its status.

        Args:
            request: What is sent.
            deadline: Moment of the clock at which the reply must be here.

        Raises:
            TransientError: If connection, sending or receiving failed or took too long.
            ServerError: If the reply is larger than allowed, or compressed.
            RefusedError: If the server's certificate is not accepted, or it redirects to another host.
        """
        path = request.path
        for _ in range(_REDIRECTS + 1):
            reply = self._once(request, path, deadline)
            if reply.status not in _MOVED:
                return reply
            path = self._moved(request, path, reply)
        raise ServerError(f"{self._address.origin} redirected more than {_REDIRECTS} times. Check the address.")

    def close(self) -> None:
        """Close the connection; the next request makes a new one."""
        if self._connection is not None:
            self._connection.close()
        if self._stream is not None:
            self._stream.abort()
        self._connection = self._stream = None

    def _once(self, request: Request, path: str, deadline: float) -> Reply:
        reused = self._connection is not None
        before = self._stream.received if self._stream is not None else 0
        try:
            return self._attempt(request, path, deadline)
        except ssl.SSLCertVerificationError as error:
            self.close()
            raise RefusedError(
                f"The certificate of {self._address.origin} is not accepted: {error.verify_message}. "
                "Name the file of its authority in the environment variable SSL_CERT_FILE."
            ) from error
        except OversizedError as error:
            self.close()
            raise ServerError(
                f"{self._address.origin} sent a reply larger than the {request.most_bytes:,} bytes allowed to "
                f"{request.method} {path}. Check what runs there."
            ) from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.breaks += 1
            silent = self._stream is None or self._stream.received == before
            self.close()
            stale = reused and silent and isinstance(error, ConnectionError)
            raise TransientError(self._credentials.excerpt(_words(error).encode()), stale=stale) from error

    def _attempt(self, request: Request, path: str, deadline: float) -> Reply:
        connection, stream = self._connected(deadline)
        stream.deadline = deadline
        stream.allowance = HEADER_BYTES + _READ_AHEAD
        response = self._send(connection, request, path)
        stream.allowance += request.most_bytes
        length = response.length
        if length is not None and length > request.most_bytes:
            raise OversizedError
        body = response.read(request.most_bytes + 1) if length is None else response.read()
        if len(body) > request.most_bytes:
            raise OversizedError
        headers = {name.lower(): value for name, value in response.getheaders()}
        if response.will_close:
            self.close()
        if headers.get("content-encoding", "identity") != "identity":
            raise ServerError(f"{self._address.origin} sent a compressed reply that was not asked for.")
        return Reply(status=response.status, headers=headers, body=body)

    def _send(self, connection: http.client.HTTPConnection, request: Request, path: str) -> http.client.HTTPResponse:
        connection.putrequest(request.method, path, skip_accept_encoding=True)
        for name, value in (*self._own_headers().items(), *request.headers.items()):
            connection.putheader(name, value)
        if request.method == "POST":
            connection.putheader("Content-Length", str(sum(memoryview(part).nbytes for part in request.parts)))
        try:
            connection.endheaders()
            for part in request.parts:
                connection.send(memoryview(part).cast("B"))
        except (BrokenPipeError, ConnectionResetError):
            # A server may refuse a request before it has read all of it; its reason is worth more than the reset.
            return connection.getresponse()
        return connection.getresponse()

    def _own_headers(self) -> dict[str, str]:
        bearer = self._credentials.bearer
        return {
            "Accept-Encoding": "identity",
            "User-Agent": "robustmq-trt",
            **({"Authorization": bearer} if bearer else {}),
        }

    def _connected(self, deadline: float) -> tuple[http.client.HTTPConnection, TimedSocket]:
        if self._connection is None or self._stream is None:
            raw = self._opened(min(_CONNECT_SECONDS, deadline - self._clock()))
            self.connections += 1
            self._stream = TimedSocket(raw, deadline=deadline, clock=self._clock)
            self._connection = http.client.HTTPConnection(self._address.host, self._address.port)
            stand_in: Any = self._stream
            self._connection.sock = stand_in
        return self._connection, self._stream

    def _opened(self, seconds: float) -> socket.socket:
        if seconds <= 0:
            raise TimeoutError("timed out")
        raw = socket.create_connection((self._address.host, self._address.port), timeout=seconds)
        try:
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._context is None:
                return raw
            return self._context.wrap_socket(raw, server_hostname=self._address.host)
        except BaseException:
            raw.close()
            raise

    def _moved(self, request: Request, path: str, reply: Reply) -> str:
        target = urljoin(f"{self._address.origin}{path}", reply.headers.get("location", ""))
        if not same_origin(target, self._address):
            other = self._credentials.excerpt(_origin(target).encode())
            raise RefusedError(
                f"{self._address.origin} redirects to another server ({other}), which is not followed. "
                "Give that address as the target if you trust it."
            )
        if request.method != "GET" and reply.status not in _KEEPS_METHOD:
            raise ServerError(f"{self._address.origin} redirects a POST with status {reply.status}. Check the address.")
        parts = urlsplit(target)
        return parts.path + (f"?{parts.query}" if parts.query else "")


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def _words(error: Exception) -> str:
    """Say what went wrong in a connection."""
    match error:
        case TimeoutError():
            return "no complete answer in time"
        case ConnectionRefusedError():
            return "connection refused"
        case http.client.RemoteDisconnected() | ConnectionError():
            return "the connection was closed"
        case http.client.IncompleteRead():
            return f"the reply ended after {len(error.partial):,} bytes of its body"
        case socket.gaierror():
            return f"the host name is not known ({error.strerror})"
        case _:
            return f"{type(error).__name__}: {error}"
