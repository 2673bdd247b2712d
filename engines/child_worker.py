"""The other side of a child process: limits itself, opens one engine, answers the parent's calls until it hangs up.

Started as ``python -m robustmq_trt.engines.child_worker SOCKET MEMORY LIFELINE BYTES`` by ``child_process``.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from queue import SimpleQueue
from typing import Any

import numpy as np

from ..core.errors import EngineError, RobustMQError
from .child_limits import limit_resources
from .child_wire import SharedBlock, WireError, after, receive, send
from .protocol import Engine

Arguments = dict[str, Any]


class Server:
    """Answers calls on one engine.

    Every public method is a call; it takes the call's arguments and gives JSON data.
    """

    def __init__(self, block: SharedBlock, report: Callable[[Any], None]) -> None:
        self._block, self._report = block, report
        self._engine: Engine | None = None

    def open(self, arguments: Arguments) -> Arguments:
        """Open the engine by the function named ``opener``."""
        opener = _function(arguments["opener"])
        told = (arguments[name] for name in ("backend", "path", "threads", "simulate"))
        self._engine = opener(*told, *arguments["operators"])
        engine = self._opened()
        return {"spec": engine.spec.to_json(), "provenance": dict(engine.provenance())}

    def infer(self, arguments: Arguments) -> Arguments:
        """Score the batch that lies at ``offset`` of the shared memory; the scores go behind it."""
        offset, engine = arguments["offset"], self._opened()
        batch = self._block.array(tuple(arguments["shape"]), arguments["dtype"], offset)
        began = time.perf_counter_ns()
        scores = np.asarray(engine.infer(batch), np.float32)
        ended = time.perf_counter_ns()
        self._block.array(scores.shape, np.float32, offset + after(batch.nbytes))[...] = scores
        return {"shape": list(scores.shape), "ns": ended - began}

    def audit(self, arguments: Arguments) -> Arguments:
        """Give the engine's audit."""
        return self._opened().audit().to_json()

    def run(self, arguments: Arguments) -> Any:
        """Run the function named ``function``, for work that needs a process but no engine.

        It is given its arguments and ``report``, by which it tells how far it is.
        """
        return _function(arguments["function"])(**arguments["arguments"], report=self._report)

    def _opened(self) -> Engine:
        if self._engine is None:
            raise EngineError("No engine is open.")
        return self._engine


def serve(channel: socket.socket, block: SharedBlock) -> None:
    """Answer calls until the other side hangs up; what an engine raises becomes an answer.

    Messages are read and sent beside the engine, which has left the caches cold: each line between two batches of a
    queue is time in which it waits.
    """
    calls: SimpleQueue[Arguments | None] = SimpleQueue()
    answers: SimpleQueue[Arguments] = SimpleQueue()
    threading.Thread(target=_read, args=(channel, calls), daemon=True).start()
    threading.Thread(target=_write, args=(channel, answers), daemon=True).start()
    server = Server(block, report=lambda progress: answers.put({"progress": progress}))
    while (message := calls.get()) is not None:
        answers.put(_answer(server, message))


def _read(channel: socket.socket, calls: SimpleQueue[Arguments | None]) -> None:
    with suppress(WireError):
        while True:
            calls.put(receive(channel))
    calls.put(None)


def _write(channel: socket.socket, answers: SimpleQueue[Arguments]) -> None:
    with suppress(WireError):
        while True:
            send(channel, answers.get())


def _answer(server: Server, message: Arguments) -> Arguments:
    try:
        return {"value": getattr(server, message["call"])(message)}
    except RobustMQError as error:
        return {"error": str(error), "kind": type(error).__name__}
    except Exception as error:  # a runtime may raise anything
        return {"error": f"{type(error).__name__}: {error}", "kind": "EngineError"}


def _function(name: str) -> Callable[..., Any]:
    module, _, function = name.partition(":")
    found: Callable[..., Any] = getattr(import_module(module), function)
    return found


def _end_with_the_parent(lifeline: int) -> None:
    """End this process as soon as the parent's end of the pipe is closed, also while an engine computes or hangs."""

    def watch() -> None:
        os.read(lifeline, 1)
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()


def main() -> None:
    """Serve the parent named by the command line."""
    channel, block, lifeline, memory = (int(text) for text in sys.argv[1:5])
    limit_resources(memory)
    _end_with_the_parent(lifeline)
    serve(socket.socket(fileno=channel), SharedBlock(block))
    os._exit(0)  # native libraries have crashed while Python took them down


if __name__ == "__main__":
    main()
