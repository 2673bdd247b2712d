"""Which rules of TensorRT's explicit quantization do the QDQ files of different tools break? One row per file.

    python benchmarks/lint_producers.py "ours trt-s8=r20.trt-s8.onnx" "NNCF 3.4=r20.nncf.onnx"
    python benchmarks/lint_producers.py --save FILES...

Each argument is a file, or LABEL=FILE. No TensorRT builder takes part: a row without errors says that no rule known to
the linter is broken, not that the engine builds. ``--save`` writes the counts, with each file's sha256 and the first
message of each rule, to ``benchmarks/results/lint_producers_DATE.json``.
"""

from __future__ import annotations

import argparse
import datetime
import json
from collections import Counter
from pathlib import Path
from typing import Any

from robustmq_trt.core.files import sha256_file
from robustmq_trt.export.lint import lint
from robustmq_trt.export.lint_rules import RULES
from robustmq_trt.export.onnx_file import opset, read_model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", metavar="[LABEL=]FILE")
    parser.add_argument("--save", action="store_true")
    options = parser.parse_args()
    rows = [row(argument) for argument in options.files]
    print(table(rows))
    if options.save:
        print("written:", save(rows))


def row(argument: str) -> dict[str, Any]:
    """Lint one file; a label may stand before an equals sign."""
    label, _, name = argument.rpartition("=")
    path = Path(name)
    model = read_model(path)
    findings = lint(model)
    return {
        "label": label or path.name,
        "file_sha256": sha256_file(path),
        "opset": opset(model),
        "producer": f"{model.producer_name} {model.producer_version}".strip(),
        "nodes": dict(Counter(node.op_type for node in model.graph.node if node.op_type.endswith("eLinear"))),
        "severities": dict(Counter(finding.severity for finding in findings)),
        "rules": dict(Counter(finding.rule for finding in findings)),
        "examples": {finding.rule: f"{finding.node}: {finding.message}" for finding in reversed(findings)},
    }


def table(rows: list[dict[str, Any]]) -> str:
    lines = [
        "| file | opset | Q | DQ | errors | warnings | advice | rules broken |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for entry in rows:
        counts = [entry["severities"].get(severity, 0) for severity in ("error", "warning", "advice")]
        nodes = [entry["nodes"].get(kind, 0) for kind in ("QuantizeLinear", "DequantizeLinear")]
        rules = ", ".join(f"{name} {count}" for name, count in entry["rules"].items()) or "none"
        cells = [entry["label"], entry["opset"], *nodes, *counts, rules]
        lines.append(f"| {' | '.join(str(cell) for cell in cells)} |")
    return "\n".join(lines)


def save(rows: list[dict[str, Any]]) -> Path:
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    path = Path(__file__).parent / "results" / f"lint_producers_{today}.json"
    path.parent.mkdir(exist_ok=True)
    broken = sorted({name for entry in rows for name in entry["rules"]})
    sources = {name: {"asks": RULES[name].summary, "source": RULES[name].source} for name in broken}
    document = {"date": today, "builder": "none: rules only", "rows": rows, "rules": sources}
    path.write_text(json.dumps(document, indent=2) + "\n")
    return path


if __name__ == "__main__":
    main()
