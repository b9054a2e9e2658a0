"""Training on the graph: an ONNX graph runs in torch with gradients, and its weights come back.

Whatever imports this package imports torch; `compressor.system.extras` says so where it is missing.
"""
