"""From a user's model to a clean float ONNX graph and a QDQ file."""
