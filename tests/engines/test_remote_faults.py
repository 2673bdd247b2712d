"""Servers that misbehave on purpose: each fault ends in a sentence, within the deadline, and never in wrong scores."""

import json
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from robustmq_trt.core.errors import InputError, RefusedError, TargetChangedError
from robustmq_trt.engines.catalog import open_engine
from robustmq_trt.engines.child import Isolation
from robustmq_trt.engines.remote import RemoteEngine
from robustmq_trt.engines.remote_retry import Policy, ServerError

HASTY = Policy(deadline_s=2.0, attempts=3, backoff_s=0.001, failures=2, cooldown_s=60.0)
WEIGHTS = np.random.default_rng(0).normal(0, 0.1, (3 * 8 * 8, 5)).astype(np.float32)


def linear(images: np.ndarray) -> np.ndarray:
    return images.reshape(len(images), -1) @ WEIGHTS


def noise(count: int) -> np.ndarray:
    return np.random.default_rng(1).normal(0, 1, (count, 3, 8, 8)).astype(np.float32)


def opened(url: str, **options: Any) -> RemoteEngine:
    return RemoteEngine.open(url, **{"policy": HASTY, **options})


@pytest.fixture
def service(v2: ModuleType):
    return v2.Service(score=linear, shape=[-1, 3, 8, 8], classes=5)


def _set(**values: Any) -> Callable[[dict[str, Any], bytes], bytes]:
    def change(document: dict[str, Any], tail: bytes) -> bytes:
        document["outputs"][0].update(values)
        return tail

    return change


def _size(number: object) -> Callable[[dict[str, Any], bytes], bytes]:
    return _set(parameters={"binary_data_size": number})


def _top(**values: Any) -> Callable[[dict[str, Any], bytes], bytes]:
    def change(document: dict[str, Any], tail: bytes) -> bytes:
        document.update(values)
        return tail

    return change


MALFORMED = {
    "empty body though 200": lambda document, tail: b"",
    "no bytes and says so": lambda document, tail: _size(0)(document, b""),
    "half the bytes": lambda document, tail: tail[: len(tail) // 2],
    "more bytes": lambda document, tail: tail + tail,
    "wrong size": _size(4),
    "size as text": _size("40"),
    "size true": _size(True),
    "wrong type": _set(datatype="INT64"),
    "no type": _set(datatype=None),
    "fewer rows": _set(shape=[1, 5]),
    "more classes": _set(shape=[2, 6]),
    "three sides": _set(shape=[1, 2, 5]),
    "shape as text": _set(shape="2,5"),
    "negative side": _set(shape=[-2, -5]),
    "shape of floats": _set(shape=[2.0, 5.0]),
    "another name": _set(name="z"),
    "another reply's id": _top(id="4711"),
    "no outputs": _top(outputs=[]),
    "two outputs": lambda document, tail: _top(outputs=document["outputs"] * 2)(document, tail),
    "outputs of text": _top(outputs=["y"]),
    "json text for numbers": _set(parameters={}, data=["1"] * 10),
    "json nulls": _set(parameters={}, data=[None] * 10),
    "json too few": _set(parameters={}, data=[1.0] * 9),
    "json ragged": _set(parameters={}, data=[[1.0], [1.0, 2.0]]),
    "json huge integers": _set(parameters={}, data=[10**400] * 10),
    "json truths": _set(parameters={}, data=[True] * 10),
}


@pytest.mark.parametrize("change", MALFORMED.values(), ids=MALFORMED.keys())
def test_a_malformed_reply_is_refused_in_a_sentence(v2: ModuleType, service, change):
    service.bend = v2.edited(change)
    with v2.served(service) as url:
        engine = opened(url)

        with pytest.raises(ServerError, match="malformed reply: expected"):
            engine.infer(noise(2))

        engine.close()


@pytest.mark.parametrize(
    ("headers", "body", "match"),
    [
        ({"Inference-Header-Content-Length": "99999"}, b"{}", "JSON head"),
        ({"Inference-Header-Content-Length": "-1"}, b"{}", "JSON head"),
        ({"Inference-Header-Content-Length": "x"}, b"{}", "JSON head"),
        ({}, b"<html>hello</html>", "no JSON"),
        ({}, b"\xff\xfe", "no JSON"),
        ({}, b"[" * 60_000, "no JSON"),
        ({}, b"[1]", "no object"),
        ({}, b"{}", "expected the output"),
        ({"Content-Encoding": "gzip"}, b"{}", "compressed"),
    ],
)
def test_a_reply_that_is_no_answer_is_refused(
    v2: ModuleType, service, headers: dict[str, str], body: bytes, match: str
):
    answers = count()
    service.bend = lambda method, path, status, given, sent: (
        (status, given, sent) if method == "GET" or next(answers) < v2.OPENING_REQUESTS else (200, headers, body)
    )
    with v2.served(service) as url:
        engine = opened(url)

        with pytest.raises(ServerError, match=match):
            engine.infer(noise(2))

        engine.close()


def test_scores_that_are_not_finite_are_handed_out_as_they_are(v2: ModuleType, service):
    service.bend = v2.edited(lambda document, tail: np.float32(["nan", "inf", 1, 2, 3] * 2).tobytes())
    with v2.served(service) as url:
        engine = opened(url)

        assert not np.isfinite(engine.infer(noise(2))).all()
        engine.close()


def test_a_model_that_gives_no_finite_scores_at_all_is_not_opened(v2: ModuleType, service):
    service.score = lambda images: np.full((len(images), 5), np.nan)
    with v2.served(service) as url, pytest.raises(InputError, match="not finite"):
        opened(url)


@pytest.mark.parametrize("status", [500, 502, 503, 429])
def test_a_passing_fault_is_asked_again(v2: ModuleType, service, status: int):
    posts = count()

    def bend(method: str, path: str, given: int, headers: dict[str, str], body: bytes):
        if method == "POST" and next(posts) == v2.OPENING_REQUESTS:
            return status, {"Retry-After": "0"}, b'{"error": "busy"}'
        return given, headers, body

    service.bend = bend
    with v2.served(service) as url:
        engine = opened(url)

        np.testing.assert_array_equal(engine.infer(noise(2)), linear(noise(2)))

        assert engine.provenance()["client"]["retries"] == 1
        engine.close()


def test_a_lasting_fault_ends_in_the_servers_words_and_opens_the_breaker(v2: ModuleType, service):
    posts = count()

    def bend(method: str, path: str, given: int, headers: dict[str, str], body: bytes):
        if method == "POST" and next(posts) >= v2.OPENING_REQUESTS:
            return 500, {}, b'{"error": "out of \x00memory"}'
        return given, headers, body

    service.bend = bend
    with v2.served(service) as url:
        engine = opened(url)
        for _ in range(HASTY.failures):
            with pytest.raises(ServerError, match=r"failed after 3 attempts.*status 500.*out of memory"):
                engine.infer(noise(1))
        asked = len(service.requests)

        with pytest.raises(ServerError, match="was not sent: 2 requests in a row had failed"):
            engine.infer(noise(1))

        assert len(service.requests) == asked
        engine.close()


def test_a_refusal_is_not_asked_again(v2: ModuleType, service):
    posts = count()

    def bend(method: str, path: str, given: int, headers: dict[str, str], body: bytes):
        if method == "POST" and next(posts) >= v2.OPENING_REQUESTS:
            return 400, {}, b'{"error": "wrong shape"}'
        return given, headers, body

    service.bend = bend
    with v2.served(service) as url:
        engine = opened(url)
        asked = len(service.requests)

        with pytest.raises(ServerError, match=r"refused with status 400.*wrong shape"):
            engine.infer(noise(1))

        assert len(service.requests) == asked + 1
        engine.close()


def test_a_body_cut_short_is_asked_again_and_then_reported(v2: ModuleType, service):
    posts = count()

    def bend(method: str, path: str, given: int, headers: dict[str, str], body: bytes):
        if method == "POST" and next(posts) >= v2.OPENING_REQUESTS:
            return given, {**headers, "Content-Length": str(len(body) + 10), "Connection": "close"}, body
        return given, headers, body

    service.bend = bend
    with v2.served(service) as url:
        engine = opened(url)

        with pytest.raises(ServerError, match=r"3 attempts.*the reply ended after \d+ bytes"):
            engine.infer(noise(1))

        engine.close()


def test_an_idle_connection_that_the_server_closed_costs_no_attempt(v2: ModuleType, service):
    service.bend = lambda method, path, status, headers, body: (status, {**headers, "X-Closed": "silently"}, body)
    with v2.served(service) as url:
        engine = opened(url, policy=Policy(attempts=1, deadline_s=2.0))
        engine._wire._http._stream._raw.shutdown(2)  # what a server's idle timeout looks like from here

        np.testing.assert_array_equal(engine.infer(noise(2)), linear(noise(2)))

        assert engine.provenance()["client"]["probe_checks"] == 1  # who knows who answers now
        engine.close()


def test_a_reply_larger_than_scores_can_be_is_not_read(v2: ModuleType, service):
    service.bend = v2.edited(lambda document, tail: tail + bytes(10_000_000))
    with v2.served(service) as url:
        engine = opened(url)

        with pytest.raises(ServerError, match=r"larger than the .* bytes allowed"):
            engine.infer(noise(2))

        engine.close()


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
def test_a_server_that_speaks_no_http_is_given_up_within_the_deadline(v2: ModuleType, answer, match: str):
    policy = Policy(deadline_s=0.4, attempts=2, backoff_s=0.001)
    with v2.raw_server(answer) as origin:
        began = time.monotonic()

        with pytest.raises(InputError, match=match):
            opened(f"{origin}/model", policy=policy)

        assert time.monotonic() - began < 5  # the deadline, and the patience of a busy machine


def test_the_deadline_of_isolated_engines_holds_for_servers_too(v2: ModuleType):
    with v2.raw_server(lambda connection, asked: time.sleep(0.5)) as origin:
        limits = Isolation(call_seconds=0.2)

        with pytest.raises(InputError, match=r"in at most 0\.2 s.*no complete answer in time"):
            open_engine(f"v2:{origin}/model", isolate=limits)


def test_nobody_at_the_port_is_the_users_mistake(v2: ModuleType):
    with v2.raw_server(lambda *_: None) as origin:
        pass

    with pytest.raises(InputError, match=r"failed after 3 attempts.*connection refused.*Check the server"):
        opened(f"{origin}/model")


class TestRedirects:
    @pytest.mark.parametrize("location", ["http://127.0.0.1:9/v2", "https://127.0.0.1/v2", "//example.invalid/v2", ""])
    def test_none_is_followed_to_another_server(self, v2: ModuleType, service, location: str):
        service.bend = lambda method, path, status, headers, body: (302, {"Location": location or "ftp://a/b"}, b"")
        with v2.served(service) as url, pytest.raises(RefusedError, match="redirects to another server"):
            opened(url)

    def test_one_on_the_same_server_is_followed(self, v2: ModuleType, service):
        def bend(method: str, path: str, status: int, headers: dict[str, str], body: bytes):
            if path == "/v2":
                return 307, {"Location": "/elsewhere"}, b""
            return status, headers, body

        service.bend, service.documents = bend, {"/elsewhere": service.document("/v2")}
        with v2.served(service) as url:
            engine = opened(url)

            assert engine.provenance()["providers"] == ["in-process"]
            engine.close()

    def test_a_circle_is_left(self, v2: ModuleType, service):
        service.bend = lambda method, path, status, headers, body: (301, {"Location": path}, b"")
        with v2.served(service) as url, pytest.raises(InputError, match="redirected more than 3 times"):
            opened(url)


class TestChangedModel:
    def test_it_is_noticed_after_so_many_images_and_ends_all_further_work(self, v2: ModuleType, service):
        with v2.served(service) as url:
            engine = opened(url, watch_every=16)
            engine.infer(noise(8))
            service.score = lambda images: linear(images) * 1.01

            with pytest.raises(TargetChangedError, match="probe images moved by"):
                engine.infer(noise(8))
            with pytest.raises(TargetChangedError, match="Run the command again"):
                engine.infer(noise(1))

            engine.close()

    def test_it_is_noticed_by_a_check_between_two_cells(self, v2: ModuleType, service):
        with v2.served(service) as url:
            engine = opened(url)
            engine.infer(noise(8))
            engine.verify()
            service.score = lambda images: linear(images) * 1.01
            engine.infer(noise(8))

            with pytest.raises(TargetChangedError):
                engine.verify()

            engine.close()

    def test_one_that_gives_no_numbers_any_more_has_changed_too(self, v2: ModuleType, service):
        with v2.served(service) as url:
            engine = opened(url)
            service.score = lambda images: np.full((len(images), 5), np.nan)
            engine.infer(noise(1))

            with pytest.raises(TargetChangedError):
                engine.verify()

            engine.close()

    def test_another_version_in_a_reply_is_a_change(self, v2: ModuleType, service):
        with v2.served(service) as url:
            engine = opened(url)
            service.version = "2"

            with pytest.raises(TargetChangedError, match="version '2' answered"):
                engine.infer(noise(1))
            with pytest.raises(TargetChangedError):
                engine.verify()

            engine.close()

    def test_wandering_bits_are_no_change(self, v2: ModuleType, service):
        rng = np.random.default_rng(3)
        service.score = lambda images: linear(images) * (1 + rng.normal(0, 1e-6, (len(images), 5)))
        with v2.served(service) as url:
            engine = opened(url, watch_every=1)
            for _ in range(20):
                engine.infer(noise(1))

            assert engine.provenance()["client"]["probe_checks"] == 20
            engine.close()

    def test_nothing_is_asked_where_nothing_was_scored(self, v2: ModuleType, service):
        with v2.served(service) as url:
            engine = opened(url)
            engine.verify()

            assert engine.provenance()["client"]["probe_checks"] == 0
            engine.close()


def test_two_hundred_spoilt_replies_are_refused_or_read_but_never_crash(v2: ModuleType, service):
    """Truncated and bit-flipped replies: a sentence, or scores of the right shape where the flip hit a number."""
    rng = np.random.default_rng(4)
    posts, spoilt = count(), 200

    def bend(method: str, path: str, status: int, headers: dict[str, str], body: bytes):
        if method != "POST" or next(posts) < v2.OPENING_REQUESTS:
            return status, headers, body
        damaged = bytearray(body)
        if rng.random() < 0.5:
            del damaged[int(rng.integers(len(damaged))) :]
        else:
            for place in rng.integers(0, len(damaged), 3):
                damaged[place] ^= 1 << int(rng.integers(8))
        return status, headers, bytes(damaged)

    service.bend = bend
    refused = 0
    with v2.served(service) as url:
        engine = opened(url, watch_every=10**9)
        for _ in range(spoilt):
            engine._watch._failure = None  # a flipped version reads like a changed model; go on all the same
            try:
                assert engine.infer(noise(2)).shape == (2, 5)
            except (ServerError, TargetChangedError):
                refused += 1
        engine.close()
    assert refused > spoilt / 2


@pytest.mark.parametrize("number", range(20))
def test_spoilt_metadata_is_read_or_refused_but_never_crashes(v2: ModuleType, service, number: int):
    rng = np.random.default_rng(number)
    values = [None, True, -1, 2**70, 1.5, "x", [], {}, [None], {"name": 1}, [[[]]], [{"name": "x"}]]
    document = json.loads(json.dumps(service.document(service.path)))
    place = document if number % 2 else document[("inputs", "outputs")[number % 4 // 2]][0]
    keys = [key for key in place if key not in ("versions", "platform")]
    place[keys[int(rng.integers(len(keys)))]] = values[int(rng.integers(len(values)))]
    service.documents = {service.path: document}
    with v2.served(service) as url, suppress(InputError):  # UnsupportedError among them
        opened(url).close()
