"""A classifier of two classes parted by a plane, whose smallest distance is known in every norm."""

from collections.abc import Callable, Mapping

import numpy as np
import pytest

from robustmq_trt.core.randomness import image_stream
from robustmq_trt.evaluate.attacks.protocol import Answer, AttackResult, Goal, Image
from robustmq_trt.evaluate.attacks.query_catalog import QUERY_ATTACKS

AgainstPlane = Callable[..., AttackResult]


@pytest.fixture
def against_plane() -> AgainstPlane:
    """Run a query attack on one image; an attack that needs labels alone sees nothing else."""

    def run(
        name: str,
        settings: Mapping[str, int],
        image: Image,
        *,
        weights: np.ndarray,
        bias: float,
        start: Image | None = None,
    ) -> AttackResult:
        """Answer with ``bias + weights . (query - image)``, the margin of the image's own class, to the end."""
        entry = QUERY_ATTACKS[name]
        attack = entry.make(settings)
        state = attack.begin(image, Goal(0), image_stream(0, attack.task, ""), start)
        canvas, queries = image.copy(), 0
        while not state.done:
            state.propose(canvas)
            queries += 1
            margin = float(bias + (weights * (canvas.astype(int) - image)).sum())
            seen = margin if entry.needs == "scores" else float(margin >= 0) - float(margin < 0)
            state.tell(Answer(np.float32([seen, 0]), seen, wrong=margin < 0))
        return state.result(queries)

    return run
