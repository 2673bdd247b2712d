"""A connected socket under one deadline and one allowance of bytes. Knows nothing of HTTP."""

from __future__ import annotations

import io
import socket
import time
from collections.abc import Callable
from typing import Any, Literal

Clock = Callable[[], float]


class OversizedError(Exception):
    """The other side sent more bytes than it was allowed to."""


class TimedSocket:
    """A socket whose waits all end at one deadline, however slowly the bytes drip, and that takes no more than allowed.

    A socket's own timeout starts anew with every byte; this one does not. It stands in for the socket of an
    ``http.client.HTTPConnection``.

    Attributes:
        deadline: Moment of ``clock`` at which every wait ends.
        allowance: Bytes that may still be received.
        received: Bytes received so far.
    """

    def __init__(self, raw: socket.socket, *, deadline: float, clock: Clock = time.monotonic) -> None:
        self._raw = raw
        self._clock = clock
        self._files = 0
        self._closing = False
        self.deadline = deadline
        self.allowance = 0
        self.received = 0

    def sendall(self, data: Any) -> None:
        """Send every byte of a contiguous buffer.

        Raises:
            TimeoutError: If the deadline passes first.
            OSError: If the connection breaks.
        """
        rest = memoryview(data).cast("B")
        while rest:
            self._raw.settimeout(self._left())
            rest = rest[self._raw.send(rest) :]

    def receive_into(self, buffer: Any) -> int:
        """Receive what is there into a buffer; 0 at the end of the stream.

        Raises:
            TimeoutError: If the deadline passes first.
            OversizedError: If more came than the allowance.
            OSError: If the connection breaks.
        """
        self._raw.settimeout(self._left())
        count = self._raw.recv_into(buffer)
        self.received += count
        self.allowance -= count
        if self.allowance < 0:
            raise OversizedError
        return count

    def makefile(self, mode: Literal["rb"]) -> io.BufferedReader:
        """Give the receiving side as a file, as ``socket.makefile`` does."""
        self._files += 1
        return io.BufferedReader(_Receiver(self))

    def close(self) -> None:
        """Close the connection as soon as no file of it is read any more, as a real socket does."""
        self._closing = True
        if self._files <= 0:
            self._raw.close()

    def abort(self) -> None:
        """Close the connection now."""
        self._raw.close()

    def release(self) -> None:
        """Note that a file of this connection was closed."""
        self._files -= 1
        if self._closing:
            self.close()

    def _left(self) -> float:
        left = self.deadline - self._clock()
        if left <= 0:
            raise TimeoutError("timed out")
        return left


class _Receiver(io.RawIOBase):
    def __init__(self, owner: TimedSocket) -> None:
        self._owner = owner

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._owner.receive_into(buffer)

    def close(self) -> None:
        if not self.closed:
            super().close()
            self._owner.release()
