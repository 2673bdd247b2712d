"""The backend against TensorRT's real bindings: all it asks of them is there, and where nothing runs it says why."""

import json
from pathlib import Path
from typing import Any

import pytest

from robustmq_trt import assets
from robustmq_trt.core.files import sha256_file

NO_DRIVER = "No NVIDIA driver: libcuda.so.1 cannot be loaded. Run this on a machine with an NVIDIA GPU."
COMMANDS = """
import contextlib, io, json, sys
from robustmq_trt.cli.main import main

def said(arguments):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(arguments)
    return {"code": code, "out": out.getvalue(), "err": err.getvalue()}

print(json.dumps({name: said(arguments) for name, arguments in json.loads(sys.argv[1]).items()}))
"""
HANDED_OVER = """
import inspect, json
import tensorrt as trt
from robustmq_trt.engines.tensorrt_build import _network_flags
from robustmq_trt.engines.tensorrt_module import Complaints, monitor

def overridden(thing):
    given = {name: value for name, value in vars(type(thing)).items() if inspect.isfunction(value)}
    return {name: len(inspect.signature(value).parameters) - 1 for name, value in given.items() if name[0] != "_"}

complaints, steps = Complaints(trt), []
watching = monitor(trt, lambda *told: steps.append(told))
complaints.logger.log(trt.ILogger.ERROR, "No\\n memory.")
complaints.logger.log(trt.ILogger.INFO, "nothing of interest")
if watching is not None:
    watching.phase_start("Building", None, 3)
    assert watching.step_complete("Building", 0) is True
print(json.dumps({
    "complaint": complaints.sentence(), "kinds": [isinstance(complaints.logger, trt.ILogger), trt.__version__],
    "logger": overridden(complaints.logger), "monitor": watching and overridden(watching), "steps": steps,
    "flags": {typing: _network_flags(trt, typing) for typing in ("strong", "weak")},
    "shape": tuple(trt.Dims([-1, 3, 8, 8])),
}))
"""
MISSING_OF_DRIVER = """
import json, operator, sys
from cuda.bindings import driver

def offered(name):
    try:
        return operator.attrgetter(name)(driver) is not None
    except AttributeError:
        return False

print(json.dumps([name for name in sys.argv[1:] if not offered(name)]))
"""
REFUSED = """
import json, sys
from pathlib import Path
import tensorrt as trt
from robustmq_trt.core.errors import RobustMQError
from robustmq_trt.engines.tensorrt import TensorRtEngine
from robustmq_trt.engines.tensorrt_build import BuildSettings, build_plan
from robustmq_trt.engines.tensorrt_module import ready

def said(action):
    try:
        action()
    except RobustMQError as error:
        return str(error)

here = ready()
print(json.dumps([
    said(lambda: build_plan(here, b"model", BuildSettings(), b"", print)),
    said(lambda: TensorRtEngine(Path(sys.argv[1]), here, None, graph=False)),
]))
"""


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    path = tmp_path / "some.plan"
    path.write_bytes(b"anything")
    return path


def test_the_listing_is_what_the_bindings_offer(bindings):
    listing = json.loads(Path(__file__).with_name("tensorrt_api.json").read_text())

    assert bindings.names() == listing[bindings.described["version"]]


def test_every_call_of_the_backend_fits_a_signature(bindings, tensorrt_uses):
    calls = tensorrt_uses.calls()

    assert len(calls) > 30
    assert [call for call in calls if not bindings.takes(*call)] == []


def test_no_signature_takes_what_it_does_not_name(bindings):
    assert bindings.takes("OnnxParser", "parse", 1, {"path"})
    assert not bindings.takes("OnnxParser", "parse", 1, {"folder"})
    assert not bindings.takes("OnnxParser", "parse", 0, set())
    assert not bindings.takes("OnnxParser", "parse", 3, set())


def test_everything_the_backend_writes_is_writable(bindings, tensorrt_uses):
    members = bindings.described["members"]
    written = {use for use in tensorrt_uses.written() if use[1] in members[use[0]]}

    assert tensorrt_uses.written() - written <= tensorrt_uses.ONLY_WHERE_OFFERED
    assert len(written) >= 4
    assert [(owner, name) for owner, name in written if not members[owner][name]["writable"]] == []


def test_the_backends_variables_hold_what_the_methods_give(bindings, tensorrt_uses):
    assigned = tensorrt_uses.assigned()

    assert len(assigned) >= 8
    assert [(kind, *method) for kind, *method in assigned if bindings.gives(*method) != {kind}] == []


def test_the_bindings_take_our_logger_monitor_and_flags(bindings):
    told = bindings.told(HANDED_OVER)

    assert told["complaint"] == "No memory"
    assert told["kinds"] == [True, bindings.described["version"]]
    assert told["shape"] == [-1, 3, 8, 8]
    assert told["steps"] == ([["Building", 1, 3]] if told["monitor"] else [])
    for owner, overridden in (("ILogger", told["logger"]), ("IProgressMonitor", told["monitor"] or {})):
        assert [name for name, size in overridden.items() if not bindings.takes(owner, name, size, ())] == []
    assert (told["flags"]["strong"] > told["flags"]["weak"]) == (bindings.described["version"] != "8.6.1")


@pytest.mark.parametrize("bindings", ["11.4.0.106"], indirect=True)
def test_every_name_of_the_driver_package_exists(bindings, tensorrt_uses):
    names = tensorrt_uses.driver_names("device_cuda.py")

    assert "CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_RELAXED" in names
    assert len(names) >= 20
    assert bindings.told(MISSING_OF_DRIVER, *names, "cuNoSuchThing") == ["cuNoSuchThing"]


@pytest.mark.parametrize("bindings", ["10.16.1.11", "11.4.0.106"], indirect=True)
def test_without_a_driver_every_command_says_so(bindings, plan: Path):
    output = plan.with_name("out") / "model.plan"
    commands = {
        "doctor": ["doctor", "--json"],
        "plan": ["plan", str(assets.model_path()), "-o", str(output)],
        "audit": ["audit", str(plan), "--trust-engine", f"sha256:{sha256_file(plan)}"],
    }

    said = bindings.told(COMMANDS, json.dumps(commands))

    doctor = {backend["name"]: backend for backend in json.loads(said["doctor"]["out"])["backends"]}["tensorrt"]
    assert doctor["works"] is False
    assert doctor["reason"].startswith(NO_DRIVER.rstrip("."))  # and not that the module is not importable
    assert said["plan"]["code"] == said["audit"]["code"] == 2
    assert said["plan"]["err"].splitlines()[-1] == f"robustmq-trt: {NO_DRIVER}"
    assert not output.exists()
    unusable = f"robustmq-trt: Backend 'tensorrt' does not work here: {NO_DRIVER.rstrip('.')}"
    assert said["audit"]["err"].startswith(unusable)


def test_where_tensorrt_does_not_start_its_own_complaint_is_the_message(bindings, plan: Path):
    version = bindings.described["version"]

    said: list[Any] = bindings.told(REFUSED, str(plan), driver=True)

    assert (
        said
        == [
            f"TensorRT {version} does not start on Stand-in GPU: CUDA initialization failure with error: 35. "
            "The driver runs CUDA up to 12.8; a TensorRT built for a newer one needs a newer driver."
        ]
        * 2
    )
