"""Tensors on the wire: the request of one inference, and the check of every reply. Sends nothing itself.

Reference:
    Open Inference Protocol v2, "Inference" and "Binary tensor data extension".
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.errors import TargetChangedError
from .remote_http import Reply, Request
from .remote_metadata import OUTPUT_TYPES, ServerModel
from .remote_retry import ServerError

_HEADER_LENGTH = "Inference-Header-Content-Length"
# A score as JSON text takes at most 25 bytes with its comma; the rest is the reply's frame.
_SCORE_BYTES, _FRAME_BYTES = 40, 64 * 1024
_MOST_CLASSES_UNKNOWN = 100_000
_MOST_WORDED = 4096


@dataclass(frozen=True, kw_only=True)
class Expectation:
    """What a reply must hold.

    Attributes:
        model: What the server said about the model.
        request_id: The id that was sent.
        rows: Images that were sent.
        classes: Scores per image; None where the first reply tells.
        version: The version that earlier replies named; None where none did.
        where: The target, for messages.
    """

    model: ServerModel
    request_id: str
    rows: int
    classes: int | None
    version: str | None
    where: str

    @property
    def most_bytes(self) -> int:
        """Bytes that a sound reply can have."""
        return _FRAME_BYTES + _SCORE_BYTES * self.rows * (self.classes or _MOST_CLASSES_UNKNOWN)


@dataclass(frozen=True, kw_only=True)
class Scores:
    """The content of a sound reply.

    Attributes:
        values: (N, classes) float32, contiguous.
        version: The model version that the reply names, or None.
    """

    values: NDArray[np.float32]
    version: str | None


def encode(batch: NDArray[Any], expected: Expectation, path: str, *, binary: bool) -> Request:
    """Put a batch into a request.

    Args:
        batch: (N, *image) float32 or uint8.
        expected: What the reply must hold.
        path: Path of the model.
        binary: Send it, and ask for the scores, as bytes instead of JSON.
    """
    model = expected.model
    tensor: dict[str, Any] = {
        "name": model.entry.name,
        "shape": list(batch.shape),
        "datatype": model.entry.datatype,
    }
    output: dict[str, Any] = {"name": model.exit.name}
    document = {"id": expected.request_id, "inputs": [tensor], "outputs": [output]}
    # "C" keeps what is contiguous; the protocol's bytes are little-endian.
    values = np.require(batch, dtype=batch.dtype.newbyteorder("<"), requirements="C")
    if binary:
        tensor["parameters"] = {"binary_data_size": values.nbytes}
        output["parameters"] = {"binary_data": True}
        head = json.dumps(document).encode()
        headers = {"Content-Type": "application/octet-stream", _HEADER_LENGTH: str(len(head))}
        parts: tuple[Any, ...] = (head, values.reshape(-1).view(np.uint8))
    else:
        entry = f'{json.dumps(tensor)[:-1]}, "data": {_numbers(values.reshape(-1))}}}'
        text = f'{{"id": "{expected.request_id}", "inputs": [{entry}], "outputs": {json.dumps([output])}}}'
        headers, parts = {"Content-Type": "application/json"}, (text.encode(),)
    return Request(method="POST", path=f"{path}/infer", headers=headers, parts=parts, most_bytes=expected.most_bytes)


def _numbers(values: NDArray[Any]) -> str:
    """Write a JSON list; each number is read back as the same one.

    Images come from 256 levels, so a batch holds few different numbers: each is worded once, as short as it can be.
    """
    bits = values.view(f"u{values.dtype.itemsize}")
    distinct, places = np.unique(bits, return_inverse=True)
    if len(distinct) > _MOST_WORDED:
        return json.dumps(values.tolist())
    words = np.array([_word(value) for value in distinct.view(values.dtype)], dtype=object)
    return f"[{','.join(words[places].tolist())}]"


def _word(value: Any) -> str:
    short, whole = str(value), json.dumps(value.item())
    return short if np.isfinite(value) and type(value)(float(short)) == value else whole


def decode(reply: Reply, expected: Expectation) -> Scores:
    """Read the scores out of a reply over HTTP.

    Raises:
        ServerError: If bytes, type, shape, name or id are not what was asked for.
        TargetChangedError: If the reply names another model or version than the ones before.
    """
    return read_scores(*_split(reply, expected), expected)


def read_scores(document: Mapping[str, Any], tail: bytes, expected: Expectation) -> Scores:
    """Read the scores out of a reply's document and the bytes behind it, after every check they can be given.

    Scores that are not finite are handed out as they are.

    Raises:
        ServerError: If bytes, type, shape, name or id are not what was asked for.
        TargetChangedError: If the reply names another model or version than the ones before.
    """
    _check_identity(document, expected)
    output = _output(document, expected)
    datatype, shape = output.get("datatype"), output.get("shape")
    if datatype != expected.model.exit.datatype:
        raise _bad(expected, f"scores of {expected.model.exit.datatype}, got {_short(datatype)}")
    wanted = [expected.rows, expected.classes or "classes"]
    if not _is_row_shape(shape, expected):
        raise _bad(expected, f"scores of shape {wanted}, got {_short(shape)}")
    assert isinstance(shape, list)
    values = _values(output, tail, shape, expected)
    version = document.get("model_version")
    return Scores(
        values=np.ascontiguousarray(values.reshape(shape), dtype=np.float32),
        version=version if isinstance(version, str) and version else None,
    )


def _split(reply: Reply, expected: Expectation) -> tuple[dict[str, Any], bytes]:
    """Cut a body into its JSON head and its bytes."""
    named = reply.headers.get(_HEADER_LENGTH.lower())
    length = len(reply.body) if named is None else int(named) if named.isascii() and named.isdigit() else -1
    if not 0 <= length <= len(reply.body):
        raise _bad(expected, f"a JSON head within {len(reply.body):,} bytes, its length is given as {_short(named)}")
    return parse_object(reply.body[:length], expected.where), reply.body[length:]


def parse_object(body: bytes, where: str) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        ServerError: If it is none.
    """
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ServerError(
            f"{where} sent a reply that is no JSON: {str(error)[:100]}. Check what runs there."
        ) from error
    if not isinstance(document, dict):
        raise ServerError(f"{where} sent JSON that is no object. Check what runs there.")
    return document


def _check_identity(document: Mapping[str, Any], expected: Expectation) -> None:
    answered, name, version = (document.get(key) for key in ("id", "model_name", "model_version"))
    if answered not in (None, "", expected.request_id):
        raise _bad(expected, f"the reply to request {expected.request_id}, got that to {_short(answered)}")
    if isinstance(name, str) and name and expected.model.name and name != expected.model.name:
        raise changed(expected.where, f"a reply came from model {_short(name)}")
    if expected.version is not None and isinstance(version, str) and version not in ("", expected.version):
        raise changed(
            expected.where, f"version {_short(version)} answered, and version {expected.version!r} was expected"
        )


def _output(document: Mapping[str, Any], expected: Expectation) -> dict[str, Any]:
    outputs = document.get("outputs")
    entries = [entry for entry in outputs if isinstance(entry, dict)] if isinstance(outputs, list) else []
    names = [entry.get("name") for entry in entries]
    if names != [expected.model.exit.name]:
        raise _bad(expected, f"the output '{expected.model.exit.name}' alone, got {_short(names)}")
    return entries[0]


def _is_row_shape(shape: Any, expected: Expectation) -> bool:
    if not isinstance(shape, list) or len(shape) != 2 or not all(type(side) is int for side in shape):
        return False
    most = expected.classes or _MOST_CLASSES_UNKNOWN
    least = expected.classes or 2
    return bool(shape[0] == expected.rows and least <= shape[1] <= most)


def _values(output: Mapping[str, Any], tail: bytes, shape: list[int], expected: Expectation) -> NDArray[Any]:
    parameters = output.get("parameters")
    declared = parameters.get("binary_data_size") if isinstance(parameters, dict) else None
    dtype = np.dtype(OUTPUT_TYPES[expected.model.exit.datatype])
    if declared is None:
        return _from_json(output.get("data"), shape, dtype, expected)
    needed = prod(shape) * dtype.itemsize
    if type(declared) is not int or declared != needed or len(tail) != needed:
        raise _bad(expected, f"{needed:,} bytes of scores, got {len(tail):,} and the size {_short(declared)}")
    return np.frombuffer(tail, dtype)


def _from_json(data: Any, shape: list[int], dtype: np.dtype[Any], expected: Expectation) -> NDArray[Any]:
    try:
        values = np.asarray(data)
    except ValueError as error:
        raise _bad(expected, "numbers in rows of one length") from error
    if values.dtype.kind not in "iuf" or values.size != prod(shape):
        raise _bad(expected, f"{prod(shape):,} numbers, got {values.size:,} of {values.dtype}")
    if dtype.kind == "u" and not ((values >= 0) & (values <= 255) & (values == np.round(values))).all():
        raise _bad(expected, "scores in 0..255")
    with np.errstate(over="ignore"):
        return values.astype(dtype)


def changed(where: str, sentence: str) -> TargetChangedError:
    """Build the error for a server whose model is not the one of the run's beginning."""
    return TargetChangedError(
        f"{where} has changed since the run began: {sentence}. What was not checked any more is not stored. "
        "Run the command again to measure what is served now."
    )


def _bad(expected: Expectation, sentence: str) -> ServerError:
    return ServerError(f"{expected.where} sent a malformed reply: expected {sentence}. Check what runs there.")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:80] + "..."
