"""What the engine of a server asks of a transport; HTTP and gRPC are the two. Knows neither."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .remote_metadata import ServerModel
from .remote_tensors import Expectation, Scores


class Wire(Protocol):
    """The way to one model on one server, with its retries.

    Attributes:
        transport: Its name and how tensors travel, in words.
        most_values: Values of an image batch that one request may hold.
        connections: Connections made so far.
        breaks: How many of them broke, after which another model may answer.
        retries: Attempts that were repeated so far.
    """

    @property
    def transport(self) -> str: ...  # noqa: D102

    @property
    def most_values(self) -> int: ...  # noqa: D102

    @property
    def connections(self) -> int: ...  # noqa: D102

    @property
    def breaks(self) -> int: ...  # noqa: D102

    @property
    def retries(self) -> int: ...  # noqa: D102

    def describe(self) -> tuple[ServerModel, dict[str, Any]]:
        """Ask what the server says of the model, and its configuration where it shows it; called first.

        Raises:
            ServerError: If the server does not answer, or not as it should.
            UnsupportedError: If it describes no model with one input and one output.
        """

    def ask(self, batch: NDArray[Any], expected: Expectation) -> Scores:
        """Send one inference and check its reply.

        Raises:
            ServerError: If the server does not answer, or not as it should.
            TargetChangedError: If the reply names another model or version than the ones before.
        """

    def statistics(self) -> dict[str, dict[str, int]] | None:
        """Give the server's own times; None where it has none."""

    def close(self) -> None:
        """Close the connection."""


def values_in(size_bytes: int, model: ServerModel) -> int:
    """Give the number of a model's input values that fit into so many bytes."""
    return size_bytes // np.dtype("u1" if model.entry.datatype == "UINT8" else "f4").itemsize
