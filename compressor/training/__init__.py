"""Training on the graph: an ONNX graph runs in torch with gradients, and its weights come back.

Whatever imports any of it but `task` imports torch; `compressor.system.extras` says so where it is
missing.
"""
