"""A server as a backend: any that speaks the Open Inference Protocol v2 (Triton, MLServer, KServe, OVMS)."""

from __future__ import annotations

import time
from collections.abc import Mapping
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError, TargetChangedError, UnsupportedError
from ..core.files import sha256_json
from .audit import Audit
from .protocol import Batch, EngineSpec, OutputKind
from .remote_address import Address, parse_address
from .remote_audit import audit_server
from .remote_credentials import Credentials, token_from_environment
from .remote_grpc import GrpcWire
from .remote_metadata import read_spec
from .remote_rest import RestWire
from .remote_retry import Policy, ServerError
from .remote_tensors import Expectation
from .remote_watch import EVERY_IMAGES, Watch, probe_images
from .remote_wire import Wire

__version__ = "Open Inference Protocol v2"

_SUM_TOLERANCE = 5e-3


class RemoteEngine:
    """A classifier behind a server.

    Build it with :meth:`open`. Threads, kernels and batching inside the server are its own affair and unknown here.
    """

    def __init__(self, address: Address, *, token: str | None, policy: Policy, watch_every: int) -> None:
        self._address = address
        self._where = f"'{address.url}'"
        self._wire = _wire(address, token, policy)
        self._ids = count(1)
        self._version = address.version
        self._closed = False
        self._traffic = {"requests": 0, "images": 0, "ns": 0}
        try:
            self._model, self._configuration = self._wire.describe()
            self._spec = read_spec(self._model, classes=None, output_kind="logits", where=self._where)
            self._watch = Watch(self._ask, probe_images(self._spec), where=self._where, every=watch_every)
        except BaseException:
            self._wire.close()
            raise
        answers = self._watch.answers
        self._spec = read_spec(self._model, classes=answers.shape[1], output_kind=_kind(answers), where=self._where)
        self._known_breaks = self._wire.breaks

    @classmethod
    def open(
        cls,
        url: str,
        *,
        threads: int | None = None,
        simulate: bool = False,
        policy: Policy | None = None,
        watch_every: int = EVERY_IMAGES,
    ) -> RemoteEngine:
        """Connect to a model on a server, read its metadata and ask it for the probe images.

        Args:
            url: ``http://HOST:PORT/MODEL[/versions/V]``, or with https, v2+grpc, v2+grpcs in front. A token in
                ``ROBUSTMQ_TOKEN`` is sent along.
            threads: Taken for the sake of the other backends; a server decides for itself.
            simulate: Must be False: what a server runs is not ours to choose.
            policy: Deadline, attempts, and when to give up.
            watch_every: Images after which the probes are asked again.

        Raises:
            InputError: If the address is none, the server does not answer, or its answers are no classifier's scores.
            UnsupportedError: If its model is no classifier of images with one input and one output, ``simulate``, or
                grpcio is not installed for v2+grpc.
            RefusedError: If its certificate is not accepted, it redirects to another host, or the token would travel in
                clear text.
        """
        if simulate:
            raise UnsupportedError("A server cannot be told to simulate. Simulate the file that is served instead.")
        if threads is not None and threads < 1:
            raise InputError(f"Expected `threads` of at least 1, got {threads}.")
        address = parse_address(url)
        try:
            return cls(address, token=token_from_environment(), policy=policy or Policy(), watch_every=watch_every)
        except ServerError as error:
            raise InputError(str(error)) from error
        except TargetChangedError as error:
            raise InputError(f"'{address.url}' does not answer with the version asked for: {error}") from error

    @property
    def spec(self) -> EngineSpec:
        """The engine's signature."""
        return self._spec

    def infer(self, batch: Batch) -> NDArray[np.float32]:
        """Score a batch, in several requests where it is larger than the server takes at once; see ``Engine.infer``.

        Raises:
            InputError: If shape or type differ from the spec, or the engine is closed.
            ServerError: If the server does not answer, or not as it should.
            TargetChangedError: If the model on the server was replaced; then every further call says so too.
        """
        spec = self._spec
        if batch.dtype != spec.dtype or batch.shape[1:] != spec.image_shape or not self._fits(len(batch)):
            raise InputError(spec.refusal(batch))
        if self._closed:
            raise InputError(f"The engine of {self._where} is closed. Open it again.")
        self._watch.stop_if_changed()
        rows = self._rows
        try:
            scores = [self._ask(batch[start : start + rows]) for start in range(0, len(batch), rows)]
        except TargetChangedError as error:
            self._watch.fail(error)
            raise
        doubtful = self._wire.breaks != self._known_breaks
        self._watch.note(len(batch), doubtful=doubtful)
        self._known_breaks = self._wire.breaks
        return scores[0] if len(scores) == 1 else np.concatenate(scores)

    def verify(self) -> None:
        """Check that the scores since the last check came from the model that was opened.

        Raises:
            TargetChangedError: If the model on the server was replaced.
            ServerError: If the server does not answer.
        """
        if not self._closed:
            self._watch.verify()

    def audit(self) -> Audit:
        """Say that a server's arithmetic is unprovable, and what it declares."""
        return audit_server(self._model, self._configuration, self.provenance())

    def provenance(self) -> Mapping[str, Any]:
        """Say as JSON data what runs here, as far as the server tells, and what the client has seen of it."""
        model = self._model
        return {
            "backend": "remote",
            "kind": "remote",
            "version": model.server_version,
            "providers": [model.server],
            "threads": None,
            "optimization": "unknown",
            "address": self._address.url,
            "transport": self._wire.transport,
            "encrypted": self._address.is_encrypted,
            "extensions": list(model.extensions),
            "max_batch": model.max_batch,
            "model": model.to_json(),
            "model_version": self._version,
            "probes_sha256": self._watch.digest,
            "served_sha256": sha256_json({"model": model.to_json(), "probes": self._watch.digest}),
            "client": {
                **self._traffic,
                "retries": self._wire.retries,
                "connections": self._wire.connections,
                "probe_checks": self._watch.checks,
            },
            "server_statistics": None if self._closed else self._wire.statistics(),
        }

    def close(self) -> None:
        """Close the connection; a second call does nothing."""
        self._closed = True
        self._wire.close()

    def _fits(self, number: int) -> bool:
        return number > 0 and self._spec.fixed_batch in (None, number)

    @property
    def _rows(self) -> int:
        """Most images in one request."""
        if self._spec.fixed_batch is not None:
            return self._spec.fixed_batch
        values = self._spec.height * self._spec.width * self._spec.channels
        fitting = max(1, self._wire.most_values // values)
        return fitting if self._model.max_batch is None else min(fitting, self._model.max_batch)

    def _ask(self, batch: NDArray[Any]) -> NDArray[np.float32]:
        """Send one inference and check its reply."""
        expected = Expectation(
            model=self._model,
            request_id=str(next(self._ids)),
            rows=len(batch),
            classes=self._spec.classes or None,
            version=self._version,
            where=self._where,
        )
        began = time.perf_counter_ns()
        scores = self._wire.ask(batch, expected)
        self._traffic["ns"] += time.perf_counter_ns() - began
        self._traffic["requests"] += 1
        self._traffic["images"] += len(batch)
        self._version = self._version or scores.version
        return scores.values


def _wire(address: Address, token: str | None, policy: Policy) -> Wire:
    kind = GrpcWire if address.scheme.startswith("v2+grpc") else RestWire
    return kind(address, credentials=Credentials(token, address), policy=policy)


def _kind(answers: NDArray[np.float32]) -> OutputKind:
    """Tell probabilities from logits by the answers to the probes: rows in [0, 1] that sum to one."""
    sums = answers.sum(axis=1)
    return "probabilities" if bool((answers >= 0).all() and (np.abs(sums - 1) < _SUM_TOLERANCE).all()) else "logits"
