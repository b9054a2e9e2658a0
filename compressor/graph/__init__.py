"""Reading, checking and editing `onnx_ir` models."""
