"""The `torch.nn.Module` behind a graph: what a loss says of its units, and a plan applied to it."""
