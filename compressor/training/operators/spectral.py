"""Fourier transforms."""

import torch
from torch import Tensor

from compressor.training.attributes import Attributes


def dft(
    node: Attributes, x: Tensor, length: Tensor | None = None, axis: Tensor | None = None
) -> Tensor:
    """The discrete Fourier transform of (…, 1 or 2) along an axis → (…, 2).

    Raises:
        NotImplementedError: It makes real numbers of half a spectrum.
    """
    along = node.get("axis", 1 if node.version < 20 else -2) if axis is None else int(axis)
    along = along % x.ndim
    values = torch.complex(
        x[..., 0], torch.zeros_like(x[..., 0]) if x.shape[-1] == 1 else x[..., 1]
    )
    count = None if length is None else int(length)
    if node.get("inverse", 0):
        if node.get("onesided", 0):
            raise NotImplementedError("an inverse of half a spectrum")
        return torch.view_as_real(torch.fft.ifft(values, count, along))
    made = torch.fft.fft(values, count, along)
    if node.get("onesided", 0):
        made = made.narrow(along, 0, made.shape[along] // 2 + 1)
    return torch.view_as_real(made)


def stft(
    node: Attributes,
    signal: Tensor,
    step: Tensor,
    window: Tensor | None = None,
    length: Tensor | None = None,
) -> Tensor:
    """Transforms (batch, frames, frequencies, 2) of windows of real signals (batch, samples)."""
    real = signal.reshape(signal.shape[0], -1)
    count = int(length) if length is not None else window.shape[0] if window is not None else 0
    frames = real.unfold(1, count, int(step))
    frames = frames if window is None else frames * window
    made = torch.fft.rfft(frames) if node.get("onesided", 1) else torch.fft.fft(frames)
    return torch.view_as_real(made)
