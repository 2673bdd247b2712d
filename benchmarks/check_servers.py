"""Record: the tests against real servers, and an evaluation whose rows through each server are those of the file.

The embedded model behind a real Triton, MLServer and KServe, clean, corrupted and attacked on the embedded images.
Needs ROBUSTMQ_SERVERS (tests/engines/servers/make.py).

    python benchmarks/check_servers.py [--images 48] [--queries 60] [--json FILE]
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from robustmq_trt import assets
from robustmq_trt.core.provenance import cpu, package_versions
from robustmq_trt.core.store import Store
from robustmq_trt.engines.onnxruntime import OnnxRuntimeEngine

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "engines" / "servers"))
import launch  # noqa: E402  # lies beside the tests that share it

ROBUSTMQ = [sys.executable, "-c", "import sys; from robustmq_trt.cli.main import main; sys.exit(main(sys.argv[1:]))"]


def tested() -> dict:
    """Run the marked tests and give their outcomes."""
    command = [sys.executable, "-m", "pytest", "-v", "-m", "servers", "-p", "no:cacheprovider"]
    result = subprocess.run(
        [*command, "tests/engines/test_real_servers.py"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    outcomes = dict(re.findall(r"::(\S+) (PASSED|FAILED|SKIPPED|ERROR)", result.stdout))
    if not outcomes:
        outcomes = {name: word for word, name in re.findall(r"(PASSED|FAILED|SKIPPED|ERROR) \S+::(\S+)", result.stdout)}
    return {"exit_code": result.returncode, "outcomes": outcomes}


def evaluated(server: str, arguments: argparse.Namespace, folder: Path) -> dict:
    """Evaluate the file and the server that serves it; compare row by row."""
    direct = OnnxRuntimeEngine.open(assets.model_path(), threads=1)
    signature = launch.signature("input", direct.spec.image_shape, "logits", direct.spec.classes)
    direct.close()
    run = folder / f"run-{server}"
    with launch.running(server, assets.model_path(), signature, folder / server) as url:
        conditions = ["--corruption", "jpeg:3", "--attack", f"square:eps=8,queries={arguments.queries}"]
        data = ["--data", assets.images_dir("eval"), "--images", arguments.images, "--threads", 1, "--latency", 0]
        command = [*ROBUSTMQ, "evaluate", assets.model_path(), f"v2:{url}", *data, *conditions, "-o", run]
        subprocess.run([str(part) for part in command], check=True, capture_output=True)
    with Store(run / "results.sqlite") as store:
        rows = {(task.condition, task.engine): task.rows for task in store.tasks()}
        setting = store.document("setting")
    engines = sorted({engine for _, engine in rows})
    assert len(engines) == 2, engines
    compared = {
        condition: {"images": len(found), "equal_rows": sum(a == b for a, b in zip(found, other, strict=True))}
        for condition, found, other in (
            (name, rows[name, engines[0]], rows[name, engines[1]]) for name in sorted({name for name, _ in rows})
        )
    }
    (said,) = (one for one in setting["provenance"]["engines"].values() if one["backend"] == "remote")
    return {
        "server": f"{said['providers'][0]} {said['version']}",
        "transport": said["transport"],
        "conditions": compared,
        "client": said["client"],
        "server_statistics": said["server_statistics"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=48)
    parser.add_argument("--queries", type=int, default=60)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    assert "ROBUSTMQ_SERVERS" in os.environ, launch.make.COMMAND
    with tempfile.TemporaryDirectory() as folder:
        found = [evaluated(server, arguments, Path(folder)) for server in ("triton", "mlserver", "kserve")]
    document = {
        "date": datetime.now(UTC).date().isoformat(),
        "evaluations": found,
        "tests": tested(),
        "seed": 0,
        "cpu": cpu(),
        "packages": package_versions(),
    }
    text = json.dumps(document, indent=2) + "\n"
    if arguments.json:
        arguments.json.write_text(text)
    else:
        print(text)


if __name__ == "__main__":
    main()
