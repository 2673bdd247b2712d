"""A run goes on where one of its cells cannot be measured."""

from dataclasses import dataclass

from robustmq_trt import assets
from robustmq_trt.core.errors import EngineError
from robustmq_trt.core.store import Store
from robustmq_trt.engines.onnxruntime import OnnxRuntimeEngine
from robustmq_trt.evaluate.attacks.catalog import parse_attack
from robustmq_trt.evaluate.plan import Plan, Run, Surrogate
from robustmq_trt.evaluate.runner import run
from robustmq_trt.evaluate.suites import corruption_condition
from robustmq_trt.evaluate.target import Target
from robustmq_trt.inputs.catalog import find_preset
from robustmq_trt.inputs.sources import open_dataset


@dataclass
class Exhausted:
    """A source of gradients whose runtime fails on every batch."""

    def gradient(self, images, labels):
        raise EngineError("The backward graph failed on 3 images: out of memory")

    scored_gradient = gradient


def test_a_surrogate_that_fails_costs_its_cell_alone(tmp_path):
    plan = Plan(conditions=[parse_attack("fgsm:eps=4"), corruption_condition("fog:1")])
    pipeline = find_preset("torchvision").for_size(64, 64)
    engine = OnnxRuntimeEngine.open(assets.model_path())
    target = Target(name="cnn", engine=engine, pipeline=pipeline, identity={}, batch=8)
    photos = open_dataset(assets.images_dir("eval")).subset(6, 0)
    surrogate = Surrogate(source=Exhausted(), sha256="0" * 64)

    with Store(tmp_path / "results.sqlite") as store:
        run(Run(plan=plan, targets=[target], dataset=photos, surrogate=surrogate), store)
        found = {task.condition: (task.status, task.reason) for task in store.tasks()}

    assert [status for status, _ in found.values()] == ["measured", "failed", "measured"]
    assert "out of memory" in next(reason for status, reason in found.values() if status == "failed")
