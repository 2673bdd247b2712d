from __future__ import annotations

import sys
import types
from pathlib import Path

import pytest
import torch

from robustmq_trt.core.errors import InputError, RefusedError, UnsupportedError
from robustmq_trt.export.torch_source import load_source


def test_a_users_module_comes_in_eval_mode_and_the_path_is_restored(here):
    before = list(sys.path)

    found = load_source("usermodel:Net", None)

    assert sys.path == before
    assert not found.module.training
    assert found.size is None


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("usermodel", "Expected 'module:callable'"),
        ("usermodel:", "Expected 'module:callable'"),
        ("nomodule:Net", "No module named 'nomodule'"),
        ("usermodel:Nothing", "has no attribute 'Nothing'"),
        ("usermodel:number", "gives a int, expected a torch.nn.Module"),
        ("usermodel:broken", "RuntimeError: no such checkpoint"),
        ("usermodel:with_argument", "missing 1 required positional argument"),
    ],
)
def test_sources_that_do_not_fit_are_named(source, message, here):
    with pytest.raises(InputError, match=message):
        load_source(source, None)


@pytest.mark.parametrize("key", [None, "state_dict", "model"])
def test_weights_are_loaded_whatever_wraps_them(key, here):
    state = {
        f"module.{name}": value + 1 for name, value in load_source("usermodel:Net", None).module.state_dict().items()
    }
    torch.save({key: state} if key else state, here / "weights.pt")

    loaded = load_source("usermodel:Net", here / "weights.pt").module.state_dict()

    assert all(torch.equal(loaded[name.removeprefix("module.")], value) for name, value in state.items())


def test_weights_that_do_not_fit_are_named(here):
    torch.save({"conv.weight": torch.zeros(1)}, here / "weights.pt")

    with pytest.raises(InputError, match="do not fit the model"):
        load_source("usermodel:Net", here / "weights.pt")


def test_a_file_without_a_state_dict_is_named(here):
    torch.save(torch.zeros(1), here / "weights.pt")

    with pytest.raises(UnsupportedError, match="holds a Tensor, expected a state dict"):
        load_source("usermodel:Net", here / "weights.pt")


def test_a_missing_and_a_damaged_weights_file_are_named(here):
    (here / "weights.pt").write_bytes(b"PK\x03\x04 not an archive")

    with pytest.raises(InputError, match="cannot be read"):
        load_source("usermodel:Net", here / "weights.pt")
    with pytest.raises(InputError, match="do not exist"):
        load_source("usermodel:Net", here / "none.pt")


class Payload:
    def __reduce__(self):
        return (Path.touch, (Path("executed"),))


def test_a_weights_file_with_code_is_refused_and_not_run(here):
    torch.save({"x": Payload()}, here / "weights.pt")

    with pytest.raises(RefusedError, match="holds more than tensors"):
        load_source("usermodel:Net", here / "weights.pt")

    assert not (here / "executed").exists()


@pytest.fixture
def pool():
    return torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())


def test_a_torchvision_name_is_built_with_pretrained_weights_unless_own_are_given(here, pool, monkeypatch):
    asked = []
    library = types.ModuleType("torchvision")
    library.models = types.ModuleType("torchvision.models")
    library.models.get_model = lambda name, weights: asked.append((name, weights)) or pool
    monkeypatch.setitem(sys.modules, "torchvision", library)
    monkeypatch.setitem(sys.modules, "torchvision.models", library.models)
    torch.save({}, here / "weights.pt")

    found = load_source("torchvision:tinynet", None)
    load_source("torchvision:tinynet", here / "weights.pt")

    assert asked == [("tinynet", "DEFAULT"), ("tinynet", None)]
    assert found.size == (224, 224)


def test_a_timm_model_takes_its_size_from_its_configuration(pool, monkeypatch):
    pool.pretrained_cfg = {"input_size": (3, 24, 32)}
    library = types.ModuleType("timm")
    library.create_model = lambda name, pretrained: pool
    monkeypatch.setitem(sys.modules, "timm", library)

    assert load_source("timm:tinynet", None).size == (24, 32)


def test_a_name_the_library_does_not_know_is_refused(monkeypatch):
    def create_model(name, pretrained):
        raise RuntimeError("Unknown model (tinynet)")

    library = types.ModuleType("timm")
    library.create_model = create_model
    monkeypatch.setitem(sys.modules, "timm", library)

    with pytest.raises(InputError, match=r"timm does not give 'tinynet': Unknown model"):
        load_source("timm:tinynet", None)


@pytest.mark.parametrize("package", ["torchvision", "timm"])
def test_a_missing_library_is_named_with_its_install_line(package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setitem(sys.modules, f"{package}.models", None)

    with pytest.raises(UnsupportedError, match=f"pip install {package}"):
        load_source(f"{package}:resnet18", None)


def test_without_torch_the_install_line_is_given(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)

    with pytest.raises(UnsupportedError, match=r"pip install 'robustmq-trt\[torch\]'"):
        load_source("usermodel:Net", None)
