"""Keeps ONNX Runtime's quantizer from talking through the root logger while it works for us."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet_quantizer() -> Iterator[None]:
    """Drop what the quantizer logs inside the block; the records of everybody else pass.

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
