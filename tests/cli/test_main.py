"""The command itself: help, versions, exit codes, JSON errors, a reader that goes away."""

import json
import subprocess
import sys

import pytest

from robustmq_trt import __version__, assets
from robustmq_trt.cli.main import _COMMANDS

RUN = [sys.executable, "-c", "import sys; from robustmq_trt.cli.main import main; sys.exit(main())"]


@pytest.mark.parametrize(
    "name", [command.__name__.rpartition(".")[2].replace("listing", "list").replace("_", "-") for command in _COMMANDS]
)
def test_every_command_explains_itself(command, name):
    code, out, _ = command(name, "--help")

    assert code == 0
    assert f"robustmq-trt {name}" in out


def test_the_version_is_the_package_s(command):
    assert command("--version")[1].strip() == f"robustmq-trt {__version__}"


def test_no_command_is_a_usage_error(command):
    assert command()[0] == 2


def test_an_error_is_json_too_when_json_is_asked_for(command):
    code, out, err = command("build", "missing.onnx", "--calib", ".", "--json")

    document = json.loads(out)
    assert (code, document["exit_code"], document["kind"]) == (2, 2, "InputError")
    assert document["error"] in err


def test_list_and_doctor_speak_json(command):
    kinds = json.loads(command("list", "--json")[1])
    backends = json.loads(command("doctor", "--json")[1])["backends"]

    assert {entry["name"] for entry in kinds["attack"]} >= {"square", "mifgsm", "pgd", "fgsm"}
    abouts = {entry["name"]: entry["about"] for entry in kinds["preset"]}
    assert "emulated: DALI" in abouts["dali"]
    assert "emulated" not in abouts["torchvision"]
    assert {"turbo-fast-dct", "ffmpeg"} <= {entry["name"] for entry in kinds["decoder"] if entry["about"]}
    assert len({entry["about"] for entry in kinds["calibrator"]}) == len(kinds["calibrator"])
    cameras = {entry["name"]: entry["about"] for entry in kinds["camera"]}
    assert cameras["nv12-bt709-as-bt601"].endswith("bt709 limited, chroma repeated, read as bt601 limited")
    assert {backend["name"] for backend in backends if backend["works"]} >= {"onnxruntime"}


def test_doctor_names_what_chooses_other_kernels(command, monkeypatch):
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)

    machine = json.loads(command("doctor", "--json")[1])["machine"]
    _, said, _ = command("doctor")

    assert machine["environment"]["ONEDNN_MAX_CPU_ISA"] == "AVX2"
    assert "OMP_NUM_THREADS" not in machine["environment"]
    assert "set: ONEDNN_MAX_CPU_ISA=AVX2" in said


def test_list_says_how_an_attack_is_set(command):
    about = {row["name"]: row["about"] for row in json.loads(command("list", "--json")[1])["attack"]}

    assert about["rays"].endswith("; eps=8,queries=1000,start=none|mifgsm|difgsm|bsr,inject=model|source|jpeg")
    assert about["mifgsm"].endswith("; eps=8,steps=10")


def test_a_reader_that_goes_away_is_no_error():
    writer = subprocess.Popen([*RUN, "list"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert writer.stdout is not None
    assert writer.stderr is not None
    writer.stdout.close()
    err = writer.stderr.read()
    code = writer.wait(timeout=60)
    writer.stderr.close()

    assert (code, err) == (0, b"")


def test_a_full_disk_behind_stdout_is_a_sentence():
    with open("/dev/full", "wb") as full:  # noqa: PTH123
        done = subprocess.run([*RUN, "list"], stdout=full, stderr=subprocess.PIPE, timeout=60, check=False)

    assert done.returncode == 2
    assert b"No space left" in done.stderr
    assert b"Traceback" not in done.stderr
    assert b"Exception ignored" not in done.stderr


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_a_process_without_streams_works_in_silence(closed):
    shell = ["sh", "-c", f'"$@" {closed}', "sh", *RUN, "list"]

    done = subprocess.run(shell, capture_output=True, timeout=60, check=False)

    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_an_output_that_can_be_no_folder_is_refused(command, tmp_path, engines, place):
    (tmp_path / "file").write_text("in the way")
    output = tmp_path / place
    data = assets.images_dir("eval")

    for line in (
        ("build", "--calib-size", "8", "-o", output, "--json"),
        ("evaluate", engines / "embedded.fp32.onnx", "--data", data, "--suite", "clean", "-o", output, "--json"),
    ):
        code, out, err = command(*line)

        assert (code, json.loads(out)["exit_code"]) == (2, 2)
        assert str(output) in err


def test_an_interruption_before_anything_has_begun_is_no_trace():
    stop = """
import sys
class Stop:
    def find_spec(self, name, path, target=None):
        if name == "robustmq_trt.cli.build":
            raise KeyboardInterrupt
sys.meta_path.insert(0, Stop())
from robustmq_trt.cli.entry import main
sys.exit(main())
"""

    done = subprocess.run([sys.executable, "-c", stop], capture_output=True, timeout=60, check=False)

    assert done.returncode == 130
    assert done.stderr.decode().split() == ["Interrupted.", "Nothing", "was", "begun."]


def test_a_missed_bound_leaves_one_json_document(command, engines):
    code, out, err = command("audit", engines / "embedded.fp32.onnx", "--require-integer", "0.5", "--json")

    assert code == 1
    assert json.loads(out)["integer_coverage"] == 0
    assert "below the required" in err


def test_a_bug_keeps_its_trace(monkeypatch):
    from robustmq_trt.cli import doctor

    def broken(options):
        raise ZeroDivisionError

    monkeypatch.setattr(doctor, "run", broken)

    with pytest.raises(ZeroDivisionError):
        _run_doctor()


def test_only_a_missed_bound_ends_with_1(monkeypatch, capsys):
    from robustmq_trt.cli import doctor
    from robustmq_trt.core.errors import EngineError

    def crashed(options):
        raise EngineError("The engine died.")

    monkeypatch.setattr(doctor, "run", crashed)

    assert _run_doctor() == 3
    assert "The engine died." in capsys.readouterr().err


def _run_doctor():
    from robustmq_trt.cli.main import main

    return main(["doctor"])


def test_audit_prints_the_table_and_fails_below_a_bound(command, engines):
    code, out, _ = command("audit", engines / "embedded.w8a8.onnx")
    float_code, _, err = command("audit", engines / "embedded.fp32.onnx", "--require-integer", "0.5")

    assert code == 0
    assert "QLinearConv" in out
    assert "integer coverage" in out.splitlines()[-1]
    assert float_code == 1
    assert "below the required" in err


def test_lint_says_why_a_file_would_not_build_in_tensorrt(command, engines):
    code, out, _ = command("lint", engines / "embedded.w8a8.onnx")

    assert code == 1
    assert "uint8" in out.lower()


def test_latency_prints_what_is_inside_the_clock(command, engines):
    code, out, _ = command(
        "latency", engines / "embedded.fp32.onnx", engines / "embedded.w8a8.onnx", "--seconds", "0.1", "--json"
    )

    timings = json.loads(out)["timings"]
    assert code == 0
    assert {(t["scenario"], t["scope"]) for t in timings} == {
        (scenario, scope) for scenario in ("single-stream", "offline") for scope in ("engine", "end-to-end")
    }
    assert all(t["definition"] and t["verdict"] in ("stable", "unstable") for t in timings)
