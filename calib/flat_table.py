"""ONNX Runtime's ``calibration.flatbuffers``: a table with one vector of (key, value) string pairs, read by hand.

The library that wrote it does not check offsets; here each one is, so a damaged file ends in a sentence.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

_FIELD_0, _FIELD_1 = 4, 6  # a vtable starts with its own size and the table's, two bytes each


def read_pairs(content: bytes) -> Iterator[tuple[str, str]]:
    """Give the pairs of the table, in the file's order.

    Args:
        content: The file.

    Raises:
        ValueError: If an offset leads outside the file, or text is not UTF-8.

    Reference:
        ``TrtTable { dict: [KeyValue { key: string; value: string; }] }``, CalTableFlatBuffers in ONNX Runtime;
        the encoding is that of the FlatBuffers internals document.
    """
    try:
        vector = _field(content, _follow(content, 0), _FIELD_0)
        (count,) = struct.unpack_from("<I", content, vector)
        if count > len(content) // 4:
            raise ValueError(f"it promises {count} entries in {len(content)} bytes")
        for index in range(count):
            entry = _follow(content, vector + 4 + 4 * index)
            yield _text(content, _field(content, entry, _FIELD_0)), _text(content, _field(content, entry, _FIELD_1))
    except struct.error as error:
        raise ValueError(f"an offset leads outside the file ({error})") from error


def _follow(content: bytes, place: int) -> int:
    (offset,) = struct.unpack_from("<I", content, place)
    return place + int(offset)


def _field(content: bytes, table: int, slot: int) -> int:
    (back,) = struct.unpack_from("<i", content, table)
    vtable = table - int(back)
    if not 0 <= vtable <= len(content) - 2:
        raise ValueError("an offset leads outside the file")
    (size,) = struct.unpack_from("<H", content, vtable)
    offset = struct.unpack_from("<H", content, vtable + slot)[0] if slot < size else 0
    if not offset:
        raise ValueError("an entry lacks its key or value")
    return _follow(content, table + int(offset))


def _text(content: bytes, place: int) -> str:
    (length,) = struct.unpack_from("<I", content, place)
    text = content[place + 4 : place + 4 + int(length)]
    if len(text) != length:
        raise ValueError("a text leads outside the file")
    return text.decode("utf-8")
