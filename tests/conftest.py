"""What every test may ask for: the real data, a seeded generator, and libraries of custom operators."""

import os
import shutil
import subprocess
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import pytest


@pytest.fixture(scope="session")
def realdata() -> Path:
    """Folder with the real images and models (`models/`, `data/`)."""
    folder = os.environ.get("ROBUSTMQ_DATA")
    if not folder:
        pytest.skip("needs the real images and models: set ROBUSTMQ_DATA to their folder")
    path = Path(folder).resolve()
    if not (path / "models").is_dir():
        pytest.skip(f"ROBUSTMQ_DATA is '{folder}', which has no folder 'models'")
    return path


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def operator_library() -> Path:
    """A real library of custom operators, onnxruntime-extensions, which is not imported: that would load it here."""
    spec = find_spec("onnxruntime_extensions")
    assert spec is not None, "needs onnxruntime-extensions: pip install 'robustmq-trt[test]'"
    (library,) = Path(str(spec.origin)).parent.glob("_extensions_pydll*.so")
    return library


@pytest.fixture
def with_custom_relus() -> Callable[[Path, Path], Path]:
    """Write a model whose every Relu is the second output of that library's NegPos; gives the second path."""

    def write(source: Path, path: Path) -> Path:
        model = onnx.load(source)
        model.opset_import.append(onnx.helper.make_opsetid("ai.onnx.contrib", 1))
        for node in model.graph.node:
            if node.op_type == "Relu":
                node.op_type, node.domain = "NegPos", "ai.onnx.contrib"
                node.output.insert(0, f"{node.output[0]}_negative")
        onnx.save(model, path)
        return path

    return write


@pytest.fixture(params=["crash", "hollow", "text"])
def bad_library(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, str]:
    """A library that crashes when it is loaded, has no operator, or is none; and what is said of it."""
    path = tmp_path / f"{request.param}.so"
    if request.param == "text":
        path.write_text("no library")
        return path, "cannot load the operator library 'text.so'"
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("needs a C compiler called cc")
    crash = "#include <stdlib.h>\n__attribute__((constructor)) static void load(void) { abort(); }\n"
    hollow = "void *RegisterCustomOps(void *options, const void *api) { return 0; }\n"
    source = path.with_suffix(".c")
    source.write_text(crash if request.param == "crash" else hollow)
    subprocess.run([compiler, "-shared", "-fPIC", "-o", path, source], check=True)
    return path, "died in 'open'.*SIGABRT" if request.param == "crash" else "NegPos.*not a registered"
