"""ONNX Runtime on the CPU: a portable graph with Q/DQ, in the forms its kernels are fastest in.

Nothing is imported here: only a job needs `target`.
"""
