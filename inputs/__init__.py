"""From stored bytes to the uint8 image and the tensor an engine takes."""
