"""The command line. Nothing else prints.

Heavy imports wait until a command runs: `compress --help` loads neither torch nor onnxruntime.
"""

from compressor.cli.main import main

__all__ = ["main"]
