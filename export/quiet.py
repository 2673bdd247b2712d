"""Keeps libraries from talking into our output while they work for us."""

from __future__ import annotations

import ctypes
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_TORCH_LOGGER = "torch.onnx._internal.exporter._registration"  # lists libraries that are not installed


@contextmanager
def quiet_quantizer() -> Iterator[None]:
    """Drop what ONNX Runtime's quantizer logs inside the block; the records of everybody else pass.

    The quantizer calls `logging.warning` itself. On a root logger without handlers that call would also install one,
    for the rest of the process, so a silent one stands in meanwhile.
    """
    root = logging.getLogger()
    handler = logging.NullHandler()
    root.addHandler(handler)
    root.addFilter(_is_foreign)
    try:
        yield
    finally:
        root.removeFilter(_is_foreign)
        root.removeHandler(handler)


def _is_foreign(record: logging.LogRecord) -> bool:
    return "onnxruntime" not in record.pathname.replace("\\", "/").split("/")


@contextmanager
def quiet_exporter() -> Iterator[None]:
    """Silence PyTorch's exporters: deprecation notices, missing libraries, the graph they print when they fail.

    That graph is printed by C++, below `sys.stdout`, so the process' standard output itself points nowhere meanwhile.
    """
    logger = logging.getLogger(_TORCH_LOGGER)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), _no_standard_output():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


@contextmanager
def _no_standard_output() -> Iterator[None]:
    _flush()
    saved = os.dup(1)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    try:
        yield
    finally:
        _flush()
        os.dup2(saved, 1)
        os.close(saved)
        os.close(nowhere)


def _flush() -> None:
    """Empty Python's and C's buffers, each into what standard output is now."""
    sys.stdout.flush()
    with suppress(OSError, TypeError, AttributeError):  # Windows has no library of that kind
        ctypes.CDLL(None).fflush(None)
