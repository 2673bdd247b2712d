"""Gradients of an ONNX model from an ONNX graph, without torch."""
