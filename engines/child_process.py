"""One child process that answers calls: started clean, killed at its deadline, its death told as a sentence."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from ..core.errors import EngineError, InputError, RefusedError, RobustMQError, ThresholdError, UnsupportedError
from .child_limits import default_memory_bytes, scrubbed
from .child_wire import NonsenseError, SharedBlock, WireError, receive, send

WORKER = "robustmq_trt.engines.child_worker"
_KINDS: dict[str, type[RobustMQError]] = {
    kind.__name__: kind
    for kind in (RobustMQError, InputError, UnsupportedError, RefusedError, ThresholdError, EngineError)
}
_LAST_WORDS_BYTES = 4096
_MESSAGE_SIGNS = 1000
_DEATH_SECONDS = 5.0


class ChildProcess:
    """A Python process of its own, with a private folder, a socket and a block of shared memory.

    Its environment is scrubbed, its resources are limited, what it prints goes to a file of its own, and it ends when
    the parent does, whatever the parent died of.

    Attributes:
        pid: Its process id.
        folder: Its private folder, the working directory; removed at the end.
        block: Memory that both sides map.
    """

    def __init__(self, name: str, *, files: Mapping[str, bytes], memory_bytes: int | None = None) -> None:
        self._name = name
        self.folder = Path(tempfile.mkdtemp(prefix="robustmq-child-"))
        for file, content in files.items():
            (self.folder / Path(file).name).write_bytes(content)
        self.block = SharedBlock.create()
        self._channel, theirs = socket.socketpair()
        alive, self._lifeline = os.pipe()
        arguments = [str(n) for n in (theirs.fileno(), self.block.descriptor, alive)]
        with (self.folder / ".stderr").open("wb") as stderr:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", WORKER, *arguments, str(memory_bytes or default_memory_bytes())],
                stdin=subprocess.DEVNULL,
                stdout=stderr,
                stderr=stderr,
                cwd=self.folder,
                env=scrubbed(os.environ, str(self.folder)),
                pass_fds=(theirs.fileno(), self.block.descriptor, alive),
                start_new_session=True,  # an interrupt at the terminal is the parent's to handle
            )
        theirs.close()
        os.close(alive)
        self.pid = self._process.pid
        self._unread = 0
        self._end = weakref.finalize(
            self, _end, self._process, self._channel, self._lifeline, self.block, str(self.folder)
        )

    @property
    def alive(self) -> bool:
        """Whether nobody has ended the child yet; one that died by itself is alive until a call has said so."""
        return bool(self._end.alive)

    def call(
        self,
        name: str,
        arguments: Mapping[str, Any],
        *,
        seconds: float,
        progress: Callable[[Any], None] | None = None,
    ) -> Any:
        """Make one call and wait for its answer.

        Args:
            name: A public method of the worker's server.
            arguments: What it takes, as JSON data.
            seconds: Deadline of the whole call.
            progress: Is given what the call reports on its way.

        Raises:
            EngineError: If the child died, was silent for ``seconds``, or answered nonsense; it is gone then.
            RobustMQError: Of the kind the child raised.
        """
        self.post(name, arguments)
        return self.answer(name, seconds=seconds, progress=progress)

    def post(self, name: str, arguments: Mapping[str, Any]) -> None:
        """Make one call and leave its answer to :meth:`answer`; the child takes the calls one after the other.

        Raises:
            EngineError: If the child died; it is gone then.
        """
        try:
            send(self._channel, {"call": name, **arguments})
        except WireError as error:
            self._raise_death(name, 0.0, error)
        except BaseException:
            self.kill()  # half a message
            raise
        self._unread += 1

    def answer(self, name: str, *, seconds: float, progress: Callable[[Any], None] | None = None) -> Any:
        """Wait for the answer to the oldest call without one.

        Args:
            name: What was called, for the errors.
            seconds: Deadline from now on.
            progress: Is given what the call reports on its way.

        Raises:
            EngineError: If the child died, was silent for ``seconds``, or answered nonsense; it is gone then.
            RobustMQError: Of the kind the child raised.
        """
        started = time.monotonic()
        try:
            answer = receive(self._channel, seconds=seconds)
            while isinstance(answer, dict) and "progress" in answer:
                if progress is not None:
                    progress(answer["progress"])
                answer = receive(self._channel, seconds=max(seconds - (time.monotonic() - started), 1e-3))
        except TimeoutError:
            self.kill()
            raise EngineError(
                f"'{self._name}' gave no answer to '{name}' within {seconds:g} s and was ended."
            ) from None
        except WireError as error:
            self._raise_death(name, time.monotonic() - started, error)
        except BaseException:
            self.kill()  # its answer, still to come, would be taken for the next call's
            raise
        self._unread -= 1
        if not isinstance(answer, dict) or not {"value", "error"} & answer.keys():
            self.kill()
            raise EngineError(f"'{self._name}' answered '{name}' with something that is no answer, and was ended.")
        if "error" in answer:
            raise _KINDS.get(str(answer.get("kind")), EngineError)(plain(str(answer["error"])))
        return answer["value"]

    def drop(self, *, seconds: float) -> None:
        """Read the answers still to come and forget them; a child that does not give them in time is ended."""
        while self._unread and self.alive:
            with suppress(RobustMQError):
                self.answer("infer", seconds=seconds)

    def kill(self) -> None:
        """End the child at once and remove its folder; a second call does nothing."""
        self._end()

    def _raise_death(self, call: str, seconds: float, error: WireError) -> NoReturn:
        if not isinstance(error, NonsenseError):
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_DEATH_SECONDS)
        code, words = self._process.poll(), self._last_words()
        self.kill()
        how = f"sent {error}, and was ended" if code is None else _how(code)
        said = f" Its last words: {words}." if words else ""
        raise EngineError(f"'{self._name}' died in '{call}' after {seconds:.1f} s: it {how}.{said}") from None

    def _last_words(self) -> str:
        with suppress(OSError):
            content = (self.folder / ".stderr").read_bytes()[-_LAST_WORDS_BYTES:]
            lines = [line.strip() for line in content.decode(errors="replace").splitlines() if line.strip()]
            return plain(lines[-1])[:300].rstrip(".") if lines else ""
        return ""


def plain(text: str) -> str:
    """Give a text from a child without signs that a terminal would act on, and not too long."""
    return "".join(sign if sign.isprintable() else " " for sign in text)[:_MESSAGE_SIGNS]


def _how(code: int) -> str:
    if code >= 0:
        return f"ended with code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"


def _end(
    process: subprocess.Popen[bytes], channel: socket.socket, lifeline: int, block: SharedBlock, folder: str
) -> None:
    channel.close()
    os.close(lifeline)
    with suppress(OSError):
        process.kill()
    process.wait()
    block.close()
    shutil.rmtree(folder, ignore_errors=True)
