"""OpenVINO on the CPU: an IR of the graph with Q/DQ, and the portable graph beside it.

Nothing is imported here: only a job needs `target`.
"""
