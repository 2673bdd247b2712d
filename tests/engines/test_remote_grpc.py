"""The engine over gRPC against a small server of the test's own: scores, limits, faults, token, restart."""

import socket
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType
from typing import Any

import grpc
import numpy as np
import pytest

from robustmq_trt.core.errors import InputError, RefusedError, TargetChangedError, UnsupportedError
from robustmq_trt.engines.catalog import open_engine
from robustmq_trt.engines.remote import RemoteEngine
from robustmq_trt.engines.remote_retry import Policy, ServerError
from robustmq_trt.engines.remote_statistics import times_apart

HASTY = Policy(deadline_s=3.0, attempts=3, backoff_s=0.01)
WEIGHTS = np.random.default_rng(0).normal(0, 0.1, (3 * 8 * 8, 5)).astype(np.float32)


def linear(images: np.ndarray) -> np.ndarray:
    return images.reshape(len(images), -1).astype(np.float32) @ WEIGHTS


def noise(count: int, side: int = 8) -> np.ndarray:
    return np.random.default_rng(1).normal(0, 1, (count, 3, side, side)).astype(np.float32)


@pytest.fixture
def service(grpc_v2: ModuleType):
    return grpc_v2.Service(score=linear, shape=[-1, 3, 8, 8], classes=5)


@pytest.fixture
def engine(grpc_v2: ModuleType, service):
    with grpc_v2.served(service) as url:
        opened = RemoteEngine.open(url, policy=HASTY)
        yield opened
        opened.close()


@pytest.mark.parametrize("raw", [True, False], ids=["bytes", "numbers"])
@pytest.mark.parametrize(("kind", "step"), [("FP32", 0), ("FP64", 0), ("FP16", 2e-3)])
def test_scores_are_those_that_the_server_computed(grpc_v2: ModuleType, service, kind: str, step: float, raw: bool):
    if kind == "FP16" and not raw:
        kind, step = "FP32", 0  # the protocol has no list for half floats
    service.output_type, service.raw = kind, raw
    with grpc_v2.served(service) as url:
        engine = RemoteEngine.open(url)

        np.testing.assert_allclose(engine.infer(noise(40)), linear(noise(40)), rtol=0, atol=step)
        engine.close()


@pytest.mark.parametrize("raw", [True, False], ids=["bytes", "numbers"])
def test_uint8_images_and_scores_keep_their_levels(grpc_v2: ModuleType, service, raw: bool):
    images = np.random.default_rng(2).integers(0, 256, (9, 3, 8, 8), dtype=np.uint8)
    service.input_type = service.output_type = "UINT8"
    service.score, service.raw = lambda batch: batch.reshape(len(batch), -1)[:, :5], raw
    with grpc_v2.served(service) as url:
        engine = RemoteEngine.open(url)

        np.testing.assert_array_equal(engine.infer(images), images.reshape(9, -1)[:, :5])
        assert engine.spec.output_kind == "uint8-scores"
        engine.close()


def noted(name: str, times: dict[str, float]) -> Callable[..., Any]:
    whole = getattr(grpc._channel.Channel, name)

    def call(*given: Any) -> Any:
        times.setdefault(name, time.monotonic())
        return whole(*given)

    return call


def test_a_channel_is_closed_when_nothing_watches_it_any_more(
    grpc_v2: ModuleType, service, monkeypatch: pytest.MonkeyPatch
):
    """One closed between two looks of grpcio's thread made that die with a stack trace, once in thousands of times."""
    times: dict[str, float] = {}
    with grpc_v2.served(service) as url:
        engine = RemoteEngine.open(url)
        for name in ("unsubscribe", "close"):
            monkeypatch.setattr(grpc._channel.Channel, name, noted(name, times))

        engine.close()
        engine.close()

    assert times["close"] - times["unsubscribe"] > 0.2  # the length of a look


def test_the_server_is_described_and_timed_as_over_http(engine: RemoteEngine):
    before = engine.provenance()
    engine.infer(noise(2))
    said = engine.provenance()

    assert (said["providers"], said["version"], said["transport"]) == (["in-process"], "0", "grpc, binary tensors")
    assert said["address"].startswith("v2+grpc://127.0.0.1:")
    assert said["encrypted"] is False
    assert said["model"]["input"] == ["x", "FP32", [-1, 3, 8, 8]]
    times = times_apart(before, said)
    assert times is not None
    assert (times["requests"], times["server_ms"], times["foreign"]) == (1, 1.0, 0)
    assert "unprovable" in engine.audit().notes[0]


def test_the_servers_largest_batch_is_kept(grpc_v2: ModuleType, service):
    service.max_batch = 4
    with grpc_v2.served(service) as url:
        engine = RemoteEngine.open(url)

        np.testing.assert_array_equal(engine.infer(noise(10)), linear(noise(10)))

        assert service.sizes[-3:] == [4, 4, 2]
        engine.close()


def test_a_request_stays_below_what_grpc_servers_take_by_default(grpc_v2: ModuleType, service):
    service.shape, service.score = [-1, 3, 224, 224], lambda batch: batch.reshape(len(batch), -1)[:, :5]
    with grpc_v2.served(service) as url:
        engine = RemoteEngine.open(url)

        np.testing.assert_array_equal(engine.infer(noise(16, 224)), noise(16, 224).reshape(16, -1)[:, :5])

        assert max(service.sizes) * 3 * 224 * 224 * 4 < 4 * 1024 * 1024
        engine.close()


def _without_bytes(reply: Any) -> Any:
    reply.raw_output_contents[:] = [b""]
    return reply


def _output(**values: str) -> Any:
    def change(reply: Any) -> Any:
        for name, value in values.items():
            setattr(reply.outputs[0], name, value)
        return reply

    return change


def _with_another_id(reply: Any) -> Any:
    reply.id = "4711"
    return reply


def _reshaped(*shape: int) -> Any:
    def change(reply: Any) -> Any:
        reply.outputs[0].shape[:] = shape
        return reply

    return change


MALFORMED = {
    "no bytes": _without_bytes,
    "another name": _output(name="z"),
    "another type": _output(datatype="FP64"),
    "another reply's id": _with_another_id,
    "fewer rows": _reshaped(1, 5),
    "negative side": _reshaped(-2, -5),
    "no outputs": lambda reply: type(reply)(id=reply.id, model_name=reply.model_name),
    "empty": lambda reply: b"",
    "cut": lambda reply: reply.SerializeToString()[:-3],
    "text": lambda reply: b"<html>hello</html>",
}


@pytest.mark.parametrize("change", MALFORMED.values(), ids=MALFORMED.keys())
def test_a_malformed_reply_is_refused_in_a_sentence(engine: RemoteEngine, service, change):
    service.bend = lambda context, request, reply: change(reply)

    with pytest.raises(ServerError, match=r"malformed reply: expected|no such message"):
        engine.infer(noise(2))


def test_a_reply_from_another_version_is_a_changed_target(engine: RemoteEngine, service):
    service.version = "2"

    with pytest.raises(TargetChangedError, match="version '2' answered"):
        engine.infer(noise(2))


def test_scores_that_move_are_a_changed_target(engine: RemoteEngine, service):
    service.score = lambda images: linear(images) + 1
    engine.infer(noise(2))

    with pytest.raises(TargetChangedError, match="probe images moved"):
        engine.verify()


@pytest.mark.parametrize("size", [65 << 20, 1 << 20], ids=["above the channel's", "above the batch's"])
def test_a_reply_larger_than_allowed_is_refused(engine: RemoteEngine, service, size: int):
    def swell(context: Any, request: Any, reply: Any) -> Any:
        reply.raw_output_contents[:] = [bytes(size)]
        return reply

    service.bend = swell

    with pytest.raises(ServerError, match=r"larger than max|are allowed"):
        engine.infer(noise(2))


@pytest.mark.parametrize("code", ["UNAVAILABLE", "RESOURCE_EXHAUSTED", "INTERNAL", "ABORTED"])
def test_a_busy_server_is_asked_again(engine: RemoteEngine, service, code: str):
    failures = iter([True, False])

    def fail(method: str, context: Any) -> None:
        if next(failures):
            context.abort(grpc.StatusCode[code], "later")

    service.fail = fail

    np.testing.assert_array_equal(engine.infer(noise(2)), linear(noise(2)))
    assert engine.provenance()["client"]["retries"] == 1


@pytest.mark.parametrize(
    ("code", "advice"), [("INVALID_ARGUMENT", ""), ("UNAUTHENTICATED", "ROBUSTMQ_TOKEN"), ("NOT_FOUND", "name and")]
)
def test_a_refusal_is_final_and_comes_with_its_reason(engine: RemoteEngine, service, code: str, advice: str):
    service.fail = lambda method, context: context.abort(grpc.StatusCode[code], "No.")

    with pytest.raises(ServerError, match=rf"refused with status {code}: No\.($| .*{advice})"):
        engine.infer(noise(2))

    assert engine.provenance()["client"]["retries"] == 0


def test_a_server_that_hangs_costs_the_deadline(grpc_v2: ModuleType, service):
    with grpc_v2.served(service) as url:
        engine = RemoteEngine.open(url, policy=Policy(deadline_s=0.3, attempts=9, backoff_s=0.01))
        service.fail = lambda method, context: time.sleep(0.6)

        with pytest.raises(ServerError, match=r"DEADLINE_EXCEEDED"):
            engine.infer(noise(2))

        engine.close()


def test_nobody_at_the_address_is_the_users_mistake():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    with pytest.raises(InputError, match=r"failed after 3 attempts.*UNAVAILABLE"):
        RemoteEngine.open(f"v2+grpc://127.0.0.1:{port}/net", policy=HASTY)


def test_a_model_the_server_has_not_is_the_users_mistake(grpc_v2: ModuleType, service):
    with grpc_v2.served(service) as url, pytest.raises(InputError, match="NOT_FOUND: no such model"):
        RemoteEngine.open(url + "2")


def _infer_for_a_while(engine: RemoteEngine) -> None:
    for _ in range(100):  # the connection's end is reported by another thread
        engine.infer(noise(2))
        time.sleep(0.02)


def test_another_model_behind_a_restart_is_noticed(grpc_v2: ModuleType, service):
    with ExitStack() as first:
        url = first.enter_context(grpc_v2.served(service))
        engine = RemoteEngine.open(url, policy=Policy(deadline_s=20.0, attempts=50, backoff_s=0.05))
        engine.infer(noise(2))
    service.score = lambda images: linear(images) * 1.5

    with grpc_v2.served(service, port=int(url.rsplit(":")[-1].partition("/")[0])):
        with pytest.raises(TargetChangedError):
            _infer_for_a_while(engine)

        assert engine._wire.breaks == 1
        engine.close()


def test_the_token_is_sent_and_never_repeated(grpc_v2: ModuleType, service, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ROBUSTMQ_TOKEN", "s3cret")
    with grpc_v2.served(service) as url:
        engine = RemoteEngine.open(url)
        service.fail = lambda method, context: context.abort(
            grpc.StatusCode.UNAUTHENTICATED, str(dict(context.invocation_metadata()))
        )

        with pytest.raises(ServerError, match=r"Bearer \*\*\*") as caught:
            engine.infer(noise(2))

        assert {given["authorization"] for _, given in service.calls} == {"Bearer s3cret"}
        assert "s3cret" not in str(caught.value)
        engine.close()


def test_a_token_leaves_this_machine_encrypted_only(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ROBUSTMQ_TOKEN", "s3cret")

    with pytest.raises(RefusedError, match="clear text"):
        RemoteEngine.open("v2+grpc://192.0.2.1:8001/net")


def test_proxies_of_the_environment_are_not_used(grpc_v2: ModuleType, service, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("http_proxy", "http://192.0.2.1:1")
    monkeypatch.setenv("grpc_proxy", "http://192.0.2.1:1")
    with grpc_v2.served(service) as url:
        RemoteEngine.open(url, policy=HASTY).close()


def test_tls_is_checked_against_the_authority_that_is_named(
    grpc_v2: ModuleType, service, certificate: str, monkeypatch: pytest.MonkeyPatch
):
    pem = Path(certificate).read_bytes()
    with grpc_v2.served(service, certificate=(pem, pem)) as url:
        with pytest.raises(RefusedError, match="SSL_CERT_FILE"):
            RemoteEngine.open(url, policy=HASTY)
        assert service.calls == []

        monkeypatch.setenv("SSL_CERT_FILE", certificate)
        engine = RemoteEngine.open(url, policy=HASTY)

        np.testing.assert_array_equal(engine.infer(noise(2)), linear(noise(2)))
        assert engine.provenance()["encrypted"]
        engine.close()


def test_without_grpcio_the_install_line_is_given(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "grpc", None)

    with pytest.raises(UnsupportedError, match=r"pip install 'robustmq-trt\[grpc\]'"):
        open_engine("v2+grpc://127.0.0.1:1/net")
    with pytest.raises(UnsupportedError, match=r"pip install 'robustmq-trt\[grpc\]'"):
        RemoteEngine.open("v2+grpc://127.0.0.1:1/net")
