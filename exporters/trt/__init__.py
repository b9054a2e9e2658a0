"""TensorRT: standard ONNX with Q/DQ, an engine where one can be built, and what builds it.

Nothing is imported here: `compress --help` reads `options`, and only a job needs `target`.
"""
