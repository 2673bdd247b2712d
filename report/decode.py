"""JSON data into frozen dataclasses, checked against their annotations; every refusal names the place."""

from __future__ import annotations

import dataclasses
import math
import types
from collections.abc import Mapping
from typing import Any, Literal, Union, cast, get_args, get_origin, get_type_hints

from ..core.errors import InputError

_DEPTH = 8
_LARGEST = 1e15  # beyond it a figure is a mistake, and doubles stop being exact integers


def decode(kind: Any, value: Any, where: str) -> Any:
    """Turn a JSON value into the type an annotation asks for.

    Args:
        kind: ``str``, ``int``, ``float``, ``bool``, a ``Literal``, ``X | None``, ``tuple[X, ...]``,
            ``Mapping[str, Any]`` or a dataclass of these. A ``float`` may be null in JSON, which becomes NaN: it says
            that nothing could be measured.
        value: What ``json.loads`` gave.
        where: The place in the document, for messages.

    Raises:
        InputError: If the value does not fit, a key is missing or one is unknown.

    Example:
        >>> decode(tuple[int, ...], [1, 2], "sizes")
        (1, 2)
    """
    origin = get_origin(kind)
    if dataclasses.is_dataclass(kind):
        return _record(cast(type, kind), value, where)
    if origin is tuple:
        items = _expect(value, list, "a list", where)
        return tuple(decode(get_args(kind)[0], item, f"{where}[{index}]") for index, item in enumerate(items))
    if origin is Literal:
        if not isinstance(value, str) or value not in get_args(kind):
            raise _refusal("one of " + ", ".join(map(repr, get_args(kind))), value, where)
        return value
    if origin in (Union, types.UnionType):
        return None if value is None else decode(get_args(kind)[0], value, where)
    if origin is not None and issubclass(origin, Mapping):
        _check_plain(_expect(value, dict, "an object", where), where, _DEPTH)
        return value
    return _scalar(kind, value, where)


def encode(value: Any) -> Any:
    """Turn dataclasses and tuples back into JSON data; NaN becomes null.

    Example:
        >>> encode((1.5, float("nan")))
        [1.5, None]
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: encode(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: encode(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [encode(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def _record(kind: type, value: Any, where: str) -> Any:
    given = _expect(value, dict, "an object", where)
    hints = get_type_hints(kind)
    fields = {field.name: field for field in dataclasses.fields(kind)}
    for key in given:
        if key not in fields:
            raise InputError(f"Unknown key {key!r} in `{where}` of the report document. Known: {', '.join(fields)}.")
    for name, field in fields.items():
        optional = field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
        if name not in given and not optional:
            raise InputError(f"Key {name!r} is missing in `{where}` of the report document. Write it, or null.")
    return kind(**{name: decode(hints[name], given[name], f"{where}.{name}") for name in fields if name in given})


def _scalar(kind: Any, value: Any, where: str) -> Any:
    if kind is str:
        return _expect(value, str, "a string", where)
    if kind is bool:
        return _expect(value, bool, "true or false", where)
    if kind is float and value is None:
        return math.nan
    if isinstance(value, bool) or not isinstance(value, int if kind is int else int | float):
        raise _refusal("a whole number" if kind is int else "a number or null", value, where)
    if not abs(value) <= _LARGEST:
        raise _refusal("a finite number up to 1e15", value, where)
    return kind(value)


def _check_plain(value: Any, where: str, depth: int) -> None:
    if depth == 0:
        raise InputError(f"`{where}` of the report document nests deeper than {_DEPTH} levels. Flatten it.")
    if isinstance(value, dict | list):
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in pairs:
            _check_plain(item, f"{where}.{key}", depth - 1)
    elif value is not None and not isinstance(value, str | bool):
        _scalar(float, value, where)


def _expect(value: Any, kind: type, words: str, where: str) -> Any:
    if not isinstance(value, kind):
        raise _refusal(words, value, where)
    return value


def _refusal(expected: str, value: Any, where: str) -> InputError:
    shown = repr(value)
    shown = shown if len(shown) <= 60 else shown[:57] + "..."
    return InputError(
        f"Expected {expected} in `{where}` of the report document, got {shown}. Correct it and try again."
    )
