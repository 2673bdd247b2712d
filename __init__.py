"""robustmq-trt: measure how robust a deployed, quantized vision model really is."""

import os

__version__ = "0.1.0"

# Recent ONNX Runtime wheels tell their maker what they run, unless this is set before they are imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
