"""How parent and child talk: JSON over a socket, arrays through memory that both map. Nothing is ever unpickled."""

from __future__ import annotations

import json
import math
import mmap
import os
import socket
import struct
import tempfile
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

_HEAD = struct.Struct(">Q")
_MAX_BYTES = 64 << 20  # an audit of a large model takes less than one of these
_ALIGNMENT = 64


class WireError(Exception):
    """The other side is gone."""


class NonsenseError(WireError):
    """What the other side sent is no message."""


def send(channel: socket.socket, document: Any) -> None:
    """Send one JSON document.

    Raises:
        WireError: If the other side is gone.
    """
    content = json.dumps(document).encode()
    try:
        channel.sendall(_HEAD.pack(len(content)) + content)
    except OSError as error:
        raise WireError(str(error)) from error


def receive(channel: socket.socket, *, seconds: float | None = None) -> Any:
    """Wait for one JSON document.

    Args:
        channel: The socket.
        seconds: Deadline for the whole message, or None to wait for ever.

    Raises:
        WireError: If the other side is gone.
        NonsenseError: If what came is no message.
        TimeoutError: If the deadline has passed.
    """
    until = None if seconds is None else time.monotonic() + seconds
    (length,) = _HEAD.unpack(_exactly(channel, _HEAD.size, until))
    if length > _MAX_BYTES:
        raise NonsenseError(f"a message of {length} bytes")
    try:
        return json.loads(_exactly(channel, length, until))
    except (ValueError, RecursionError) as error:
        raise NonsenseError(f"a message that is no JSON: {error}") from error


def _exactly(channel: socket.socket, count: int, until: float | None) -> bytes:
    parts: list[bytes] = []
    while count:
        if until is not None:
            channel.settimeout(max(until - time.monotonic(), 1e-3))
        try:
            part = channel.recv(min(count, 1 << 20))
        except TimeoutError:
            raise
        except OSError as error:
            raise WireError(str(error)) from error
        if not part:
            raise WireError("the connection was closed")
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


class SharedBlock:
    """Memory that parent and child map through one file descriptor; it has no name and dies with both.

    The parent owns the size. Where the system can seal it, the child can't shrink it under the parent's feet, which
    would kill the parent at its next access.
    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._map: mmap.mmap | None = None

    @classmethod
    def create(cls) -> SharedBlock:
        """Give an empty block."""
        if not hasattr(os, "memfd_create"):
            with tempfile.TemporaryFile() as file:
                return cls(os.dup(file.fileno()))
        import fcntl

        descriptor = os.memfd_create("robustmq-engine", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
        return cls(descriptor)

    def grow(self, size: int) -> None:
        """Make the block at least ``size`` bytes long; only the parent does."""
        if os.fstat(self.descriptor).st_size < size:
            os.ftruncate(self.descriptor, size)

    def array(self, shape: tuple[int, ...], dtype: Any, offset: int = 0) -> NDArray[Any]:
        """Give a view of the block as an array.

        Raises:
            ValueError: If the block is shorter.
        """
        end = offset + math.prod(shape) * np.dtype(dtype).itemsize
        if self._map is None or len(self._map) < end:
            self._map = mmap.mmap(self.descriptor, os.fstat(self.descriptor).st_size)
        return np.ndarray(shape, dtype, buffer=self._map, offset=offset)

    def close(self) -> None:
        """Give the memory back as soon as no array shows it any more."""
        self._map = None
        if self.descriptor >= 0:
            os.close(self.descriptor)
        self.descriptor = -1


def after(size: int) -> int:
    """Give the first offset behind ``size`` bytes where an array may begin."""
    return -(-size // _ALIGNMENT) * _ALIGNMENT
