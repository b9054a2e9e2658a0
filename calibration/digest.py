"""What data is, in one number: of names, types, shapes and values, however they are cut."""

import hashlib

import numpy as np

from calibration.batch import Batch
from compressor.graph.batch import BatchAxis
from compressor.graph.tensors import Array


class Digest:
    """A digest per array, so that values hash the same however they are cut into batches."""

    def __init__(self) -> None:
        self._digests: dict[str, hashlib._Hash] = {}
        self._samples = 0

    def update(self, batch: Batch, alike: str) -> None:
        """Take in a batch; `alike` is a digest of what belongs to the whole call."""
        self._samples += len(batch)
        arrays = {
            f"input {name}": rows
            for name, array in batch.inputs.items()
            if (rows := _samples_first(array, batch.axes.get(name, BatchAxis(0)))) is not None
        }
        if batch.labels is not None:
            arrays["labels"] = batch.labels
        for name, array in sorted(arrays.items()):
            key = f"{name} {array.dtype.name} {array.shape[1:]}{alike}"
            digest = self._digests.setdefault(key, hashlib.sha256())
            digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
        if alike:
            self._digests.setdefault(f"calls {alike}", hashlib.sha256()).update(b"." * len(batch))

    def hexdigest(self) -> str:
        """SHA-256 of all that was taken in, in hex."""
        whole = hashlib.sha256(f"{self._samples} samples".encode())
        for key, digest in self._digests.items():
            whole.update(f"{key} {digest.hexdigest()}".encode())
        return whole.hexdigest()


def _samples_first(array: Array, lies: BatchAxis | None) -> Array | None:
    """The array with its samples along the first dimension; None where it has none."""
    if lies is None:
        return None
    rows = np.moveaxis(array, lies.axis, 0)
    return rows if lies.multiple == 1 else rows.reshape(-1, lies.multiple, *rows.shape[1:])
