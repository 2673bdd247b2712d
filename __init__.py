"""robustmq-trt: measure how robust a deployed, quantized vision model really is."""

__version__ = "0.1.0"
