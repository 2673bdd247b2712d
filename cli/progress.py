"""How far a command is, on stderr: a bar on a terminal, a plain line every few seconds elsewhere."""

from __future__ import annotations

import sys
import time
from typing import TextIO

_BAR_CELLS = 24
_PLAIN_SECONDS = 5.0
_REDRAW_SECONDS = 0.1


class Progress:
    """One line that tells what is being done and how much of it is finished."""

    def __init__(self, *, quiet: bool = False, stream: TextIO | None = None) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._quiet = quiet
        self._terminal = self._stream.isatty()
        self._last = 0.0
        self._open = False

    def stage(self, text: str) -> None:
        """Announce the next stage on a line of its own."""
        self._end_line()
        self._last = 0.0
        self._write(f"{text}\n")

    def __call__(self, done: int, total: int, label: str = "") -> None:
        """Show that ``done`` of ``total`` steps are finished; most calls draw nothing."""
        now = time.monotonic()
        every = _REDRAW_SECONDS if self._terminal else _PLAIN_SECONDS
        if now - self._last < every and done < total:
            return
        if self._terminal:
            filled = _BAR_CELLS * done // max(total, 1)
            bar = "#" * filled + "-" * (_BAR_CELLS - filled)
            self._write(f"\r\x1b[K  [{bar}] {done}/{total} {label}")
            self._open = True
            if done >= total:
                self._end_line()
        elif self._last or done >= total:
            self._write(f"  {done}/{total} {label}\n")
        self._last = now

    def close(self) -> None:
        """End an open bar, so that what follows starts on a line of its own."""
        self._end_line()

    def _end_line(self) -> None:
        if self._open:
            self._write("\n")
            self._open = False

    def _write(self, text: str) -> None:
        if not self._quiet:
            self._stream.write(text)
            self._stream.flush()
