"""What an ONNX file says of itself: `metadata_props`, which runtimes and viewers show.

A protobuf message that is appended to another is merged into it, and what is repeated is added. So
a file gets its metadata without being read and written again, whatever its size.
"""

from collections.abc import Mapping
from pathlib import Path

import onnx


def state(path: Path, metadata: Mapping[str, str]) -> None:
    """Append metadata to an ONNX file; the caller sees to it that no key is there already.

    Raises:
        OSError: It cannot be written.
    """
    if not metadata:
        return
    entries = [onnx.StringStringEntryProto(key=k, value=v) for k, v in sorted(metadata.items())]
    more = onnx.ModelProto(metadata_props=entries)
    with path.open("ab") as file:
        file.write(more.SerializeToString(deterministic=True))
