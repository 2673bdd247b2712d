"""Protocol Buffers' bytes for the few messages of an inference server, by tables. No generated code, no service here.

Reference:
    Protocol Buffers, "Encoding": varints, tags, length-delimited records, packed repeated fields.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["text", "bytes", "integer", "float", "double", "message"]

_VARINT, _EIGHT_BYTES, _RECORD, _FOUR_BYTES = 0, 1, 2, 5
_WIRE: Mapping[Kind, int] = {"integer": _VARINT, "float": _FOUR_BYTES, "double": _EIGHT_BYTES}
_FORMATS = {_FOUR_BYTES: "<f", _EIGHT_BYTES: "<d"}
_LONGEST_VARINT = 10


@dataclass(frozen=True, kw_only=True)
class Field:
    """One field of a message.

    Attributes:
        number: Its number in the message's definition.
        name: Its key in the document.
        kind: What it holds; ``integer`` is int32, int64, uint32, uint64 or bool, read as int64.
        repeated: Whether the document holds a list.
        fields: The fields of a ``message``.
    """

    number: int
    name: str
    kind: Kind = "text"
    repeated: bool = False
    fields: tuple[Field, ...] = ()


def encode(fields: tuple[Field, ...], document: Mapping[str, Any]) -> bytes:
    r"""Write a message.

    Args:
        fields: The message's definition.
        document: Values by field name: str, contiguous buffers, int, dict, or lists of them; no float.

    Example:
        >>> encode((Field(number=1, name="name"),), {"name": "net"})
        b'\n\x03net'
    """
    pieces: list[Any] = []
    for field in fields:
        given = document.get(field.name, ())
        for value in given if field.repeated else (given,) if given != () else ():
            pieces += _written(field, value)
    return b"".join(pieces)


def _written(field: Field, value: Any) -> list[Any]:
    if field.kind == "integer":
        return [_varint(field.number << 3 | _VARINT), _varint(value)]
    content = encode(field.fields, value) if field.kind == "message" else value
    content = content.encode() if isinstance(content, str) else content
    return [_varint(field.number << 3 | _RECORD), _varint(memoryview(content).nbytes), content]


def _varint(value: int) -> bytes:
    rest, found = value & (2**64 - 1), bytearray()  # a negative number is its two's complement in 64 bits
    while rest > 0x7F:
        found.append(rest & 0x7F | 0x80)
        rest >>= 7
    return bytes((*found, rest))


def decode(fields: tuple[Field, ...], data: bytes) -> dict[str, Any]:
    """Read a message; fields that its table does not name are passed over, absent ones are absent from the document.

    A singular message that comes in several pieces is read as its last one, not as their union.

    Raises:
        ValueError: If the bytes are no such message.
    """
    known = {field.number: field for field in fields}
    found: dict[str, Any] = {}
    for number, wire, content in _entries(memoryview(data)):
        field = known.get(number)
        if field is None:
            continue
        values = _read(field, wire, content)
        if field.repeated:
            found.setdefault(field.name, []).extend(values)
        elif values:
            found[field.name] = values[-1]
    return found


def _read(field: Field, wire: int, content: Any) -> list[Any]:
    expected = _WIRE.get(field.kind, _RECORD)
    if wire not in (expected, _RECORD):
        raise ValueError(f"field '{field.name}' comes as wire type {wire}, not {expected}")
    if expected != _RECORD:
        return [content] if wire == expected else _packed(expected, content)
    if field.kind == "message":
        return [decode(field.fields, content)]
    return [str(content, "utf-8") if field.kind == "text" else content]


def _packed(wire: int, content: memoryview) -> list[Any]:
    if wire in _FORMATS:
        form = _FORMATS[wire]
        if len(content) % struct.calcsize(form):
            raise ValueError(f"{len(content)} bytes are no list of numbers")
        return [value for (value,) in struct.iter_unpack(form, content)]
    place, found = 0, []
    while place < len(content):
        value, place = _number(content, place)
        found.append(_signed(value))
    return found


def _entries(data: memoryview) -> Iterator[tuple[int, int, Any]]:
    """Give number, wire type and content of every field in turn."""
    place = 0
    while place < len(data):
        tag, place = _number(data, place)
        wire = tag & 7
        if wire == _VARINT:
            value, place = _number(data, place)
            yield tag >> 3, wire, _signed(value)
            continue
        if wire == _RECORD:
            size, place = _number(data, place)
        elif wire in _FORMATS:
            size = struct.calcsize(_FORMATS[wire])
        else:
            raise ValueError(f"wire type {wire} is not known")
        content = data[place : place + size]
        if len(content) != size:
            raise ValueError(f"a field of {size:,} bytes has {len(content):,}")
        place += size
        yield tag >> 3, wire, content if wire == _RECORD else struct.unpack(_FORMATS[wire], content)[0]


def _number(data: memoryview, place: int) -> tuple[int, int]:
    """Read a varint; give it and the place behind it."""
    value = 0
    for index, byte in enumerate(data[place : place + _LONGEST_VARINT]):
        value |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            return value & (2**64 - 1), place + index + 1
    raise ValueError("a number has no end")


def _signed(value: int) -> int:
    return value - 2**64 if value >= 2**63 else value
