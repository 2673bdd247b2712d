"""Servers and connections that fail on purpose: asked again, refused or given up, within the deadline."""

import time
from collections.abc import Callable
from itertools import count
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from robustmq_trt.core.errors import InputError, RefusedError
from robustmq_trt.engines.catalog import open_engine
from robustmq_trt.engines.child import Isolation
from robustmq_trt.engines.remote_retry import Policy, ServerError


def _drip(connection: Any, asked: bytes) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    for _ in range(100):
        connection.sendall(b"{")
        time.sleep(0.05)


def _endless_head(connection: Any, asked: bytes) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\n")
    for number in range(100_000):
        connection.sendall(b"X-%d: %s\r\n" % (number, b"a" * 1000))


def _endless_body(connection: Any, asked: bytes) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    for _ in range(100_000):
        connection.sendall(b" " * 65536)


def _endless_chunks(connection: Any, asked: bytes) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    for _ in range(100_000):
        connection.sendall(b"8000\r\n" + b" " * 0x8000 + b"\r\n")


def _send(text: bytes) -> Callable[[Any, bytes], None]:
    return lambda connection, asked: connection.sendall(text)


@pytest.mark.parametrize("status", [500, 502, 503, 429])
def test_a_passing_fault_is_asked_again(v2: ModuleType, service, status: int, hasty, linear, noise):
    posts = count()

    def bend(method: str, path: str, given: int, headers: dict[str, str], body: bytes):
        if method == "POST" and next(posts) == v2.OPENING_REQUESTS:
            return status, {"Retry-After": "0"}, b'{"error": "busy"}'
        return given, headers, body

    service.bend = bend
    with v2.served(service) as url:
        engine = hasty(url)

        np.testing.assert_array_equal(engine.infer(noise(2)), linear(noise(2)))

        assert engine.provenance()["client"]["retries"] == 1
        engine.close()


def test_a_lasting_fault_ends_in_the_servers_words_and_opens_the_breaker(v2: ModuleType, service, hasty, noise):
    posts = count()

    def bend(method: str, path: str, given: int, headers: dict[str, str], body: bytes):
        if method == "POST" and next(posts) >= v2.OPENING_REQUESTS:
            return 500, {}, b'{"error": "out of \x00memory"}'
        return given, headers, body

    service.bend = bend
    with v2.served(service) as url:
        engine = hasty(url)
        for _ in range(2):
            with pytest.raises(ServerError, match=r"failed after 3 attempts.*status 500.*out of memory"):
                engine.infer(noise(1))
        asked = len(service.requests)

        with pytest.raises(ServerError, match="was not sent: 2 requests in a row had failed"):
            engine.infer(noise(1))

        assert len(service.requests) == asked
        engine.close()


def test_a_refusal_is_not_asked_again(v2: ModuleType, service, hasty, noise):
    posts = count()

    def bend(method: str, path: str, given: int, headers: dict[str, str], body: bytes):
        if method == "POST" and next(posts) >= v2.OPENING_REQUESTS:
            return 400, {}, b'{"error": "wrong shape"}'
        return given, headers, body

    service.bend = bend
    with v2.served(service) as url:
        engine = hasty(url)
        asked = len(service.requests)

        with pytest.raises(ServerError, match=r"refused with status 400.*wrong shape"):
            engine.infer(noise(1))

        assert len(service.requests) == asked + 1
        engine.close()


def test_a_body_cut_short_is_asked_again_and_then_reported(v2: ModuleType, service, hasty, noise):
    posts = count()

    def bend(method: str, path: str, given: int, headers: dict[str, str], body: bytes):
        if method == "POST" and next(posts) >= v2.OPENING_REQUESTS:
            return given, {**headers, "Content-Length": str(len(body) + 10), "Connection": "close"}, body
        return given, headers, body

    service.bend = bend
    with v2.served(service) as url:
        engine = hasty(url)

        with pytest.raises(ServerError, match=r"3 attempts.*the reply ended after \d+ bytes"):
            engine.infer(noise(1))

        engine.close()


def test_an_idle_connection_that_the_server_closed_costs_no_attempt(v2: ModuleType, service, hasty, linear, noise):
    service.bend = lambda method, path, status, headers, body: (status, {**headers, "X-Closed": "silently"}, body)
    with v2.served(service) as url:
        engine = hasty(url, policy=Policy(attempts=1, deadline_s=2.0))
        engine._wire._http._stream._raw.shutdown(2)  # what a server's idle timeout looks like from here

        np.testing.assert_array_equal(engine.infer(noise(2)), linear(noise(2)))

        assert engine.provenance()["client"]["probe_checks"] == 1  # who knows who answers now
        engine.close()


@pytest.mark.parametrize(
    ("answer", "match"),
    [
        (lambda connection, asked: None, "the connection was closed"),
        (_send(b"\x00\x01\x02 nonsense\r\n\r\n"), "failed after 2 attempts"),
        (_send(b"HTTP/1.1 200 OK\r\nContent-Length: 5000000\r\n\r\n"), "larger than"),
        (_send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"), "failed after 2 attempts"),
        (_send(b"HTTP/1.1 200 OK\r\n" + b"a" * 70_000 + b"\r\n\r\n"), "failed after 2 attempts|larger than"),
        (_send(b"HTTP/1.1 204 No Content\r\n\r\n"), "status 204"),
        (_endless_head, "failed after 2 attempts|larger than"),
        (_endless_body, "larger than"),
        (_endless_chunks, "larger than"),
        (_drip, "no complete answer in time"),
        (lambda connection, asked: time.sleep(0.8), "no complete answer in time"),
    ],
)
def test_a_server_that_speaks_no_http_is_given_up_within_the_deadline(v2: ModuleType, answer, match: str, hasty):
    policy = Policy(deadline_s=0.4, attempts=2, backoff_s=0.001)
    with v2.raw_server(answer) as origin:
        began = time.monotonic()

        with pytest.raises(InputError, match=match):
            hasty(f"{origin}/model", policy=policy)

        assert time.monotonic() - began < 5  # the deadline, and the patience of a busy machine


def test_the_deadline_of_isolated_engines_holds_for_servers_too(v2: ModuleType):
    with v2.raw_server(lambda connection, asked: time.sleep(0.5)) as origin:
        limits = Isolation(call_seconds=0.2)

        with pytest.raises(InputError, match=r"in at most 0\.2 s.*no complete answer in time"):
            open_engine(f"v2:{origin}/model", isolate=limits)


def test_nobody_at_the_port_is_the_users_mistake(v2: ModuleType, hasty):
    with v2.raw_server(lambda *_: None) as origin:
        pass

    with pytest.raises(InputError, match=r"failed after 3 attempts.*connection refused.*Check the server"):
        hasty(f"{origin}/model")


class TestRedirects:
    @pytest.mark.parametrize("location", ["http://127.0.0.1:9/v2", "https://127.0.0.1/v2", "//example.invalid/v2", ""])
    def test_none_is_followed_to_another_server(self, v2: ModuleType, service, location: str, hasty):
        service.bend = lambda method, path, status, headers, body: (302, {"Location": location or "ftp://a/b"}, b"")
        with v2.served(service) as url, pytest.raises(RefusedError, match="redirects to another server"):
            hasty(url)

    def test_one_on_the_same_server_is_followed(self, v2: ModuleType, service, hasty):
        def bend(method: str, path: str, status: int, headers: dict[str, str], body: bytes):
            if path == "/v2":
                return 307, {"Location": "/elsewhere"}, b""
            return status, headers, body

        service.bend, service.documents = bend, {"/elsewhere": service.document("/v2")}
        with v2.served(service) as url:
            engine = hasty(url)

            assert engine.provenance()["providers"] == ["in-process"]
            engine.close()

    def test_a_circle_is_left(self, v2: ModuleType, service, hasty):
        service.bend = lambda method, path, status, headers, body: (301, {"Location": path}, b"")
        with v2.served(service) as url, pytest.raises(InputError, match="redirected more than 3 times"):
            hasty(url)
