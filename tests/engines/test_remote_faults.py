"""Replies that are wrong on purpose: each ends in a sentence, and never in wrong scores."""

import json
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from robustmq_trt.core.errors import InputError, TargetChangedError
from robustmq_trt.engines.remote_retry import ServerError


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
def test_a_malformed_reply_is_refused_in_a_sentence(v2: ModuleType, service, change, hasty, noise):
    service.bend = v2.edited(change)
    with v2.served(service) as url:
        engine = hasty(url)

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
    v2: ModuleType, service, headers: dict[str, str], body: bytes, match: str, hasty, noise
):
    answers = count()
    service.bend = lambda method, path, status, given, sent: (
        (status, given, sent) if method == "GET" or next(answers) < v2.OPENING_REQUESTS else (200, headers, body)
    )
    with v2.served(service) as url:
        engine = hasty(url)

        with pytest.raises(ServerError, match=match):
            engine.infer(noise(2))

        engine.close()


def test_scores_that_are_not_finite_are_handed_out_as_they_are(v2: ModuleType, service, hasty, noise):
    service.bend = v2.edited(lambda document, tail: np.float32(["nan", "inf", 1, 2, 3] * 2).tobytes())
    with v2.served(service) as url:
        engine = hasty(url)

        assert not np.isfinite(engine.infer(noise(2))).all()
        engine.close()


def test_a_model_that_gives_no_finite_scores_at_all_is_not_opened(v2: ModuleType, service, hasty):
    service.score = lambda images: np.full((len(images), 5), np.nan)
    with v2.served(service) as url, pytest.raises(InputError, match="not finite"):
        hasty(url)


def test_a_reply_larger_than_scores_can_be_is_not_read(v2: ModuleType, service, hasty, noise):
    service.bend = v2.edited(lambda document, tail: tail + bytes(10_000_000))
    with v2.served(service) as url:
        engine = hasty(url)

        with pytest.raises(ServerError, match=r"larger than the .* bytes allowed"):
            engine.infer(noise(2))

        engine.close()


def test_two_hundred_spoilt_replies_are_refused_or_read_but_never_crash(v2: ModuleType, service, hasty, noise):
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
        engine = hasty(url, watch_every=10**9)
        for _ in range(spoilt):
            engine._watch._failure = None  # a flipped version reads like a changed model; go on all the same
            try:
                assert engine.infer(noise(2)).shape == (2, 5)
            except (ServerError, TargetChangedError):
                refused += 1
        engine.close()
    assert refused > spoilt / 2


@pytest.mark.parametrize("number", range(20))
def test_spoilt_metadata_is_read_or_refused_but_never_crashes(v2: ModuleType, service, number: int, hasty):
    rng = np.random.default_rng(number)
    values = [None, True, -1, 2**70, 1.5, "x", [], {}, [None], {"name": 1}, [[[]]], [{"name": "x"}]]
    document = json.loads(json.dumps(service.document(service.path)))
    place = document if number % 2 else document[("inputs", "outputs")[number % 4 // 2]][0]
    keys = [key for key in place if key not in ("versions", "platform")]
    place[keys[int(rng.integers(len(keys)))]] = values[int(rng.integers(len(values)))]
    service.documents = {service.path: document}
    with v2.served(service) as url, suppress(InputError):  # UnsupportedError among them
        hasty(url).close()
