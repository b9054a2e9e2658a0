"""Networks of sound and of other series that convolve along time, in plain torch."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from networks.build import Input, Network

BANDS = 40


class Causal(nn.Module):
    """A block of a temporal convolutional network (Bai et al. 2018): it sees the past alone."""

    def __init__(self, inputs: int, outputs: int, dilation: int) -> None:
        super().__init__()
        self.past = 2 * dilation
        self.conv1 = nn.utils.parametrizations.weight_norm(
            nn.Conv1d(inputs, outputs, 3, dilation=dilation)
        )
        self.conv2 = nn.Conv1d(outputs, outputs, 3, dilation=dilation)
        self.shortcut = nn.Conv1d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.conv1(functional.pad(x, (self.past, 0))))
        y = functional.relu(self.conv2(functional.pad(y, (self.past, 0))))
        return functional.relu(self.shortcut(x) + y)


class TCN(nn.Module):
    """The next values of a series, from the last state."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(Causal(8, 48, 1), Causal(48, 64, 2), Causal(64, 64, 4))
        self.out = nn.Linear(64, 8)

    def forward(self, series: Tensor) -> Tensor:
        return self.out(self.layers(series)[:, :, -1])


class Conformer(nn.Module):
    """Gulati et al. 2020: half a feed-forward, attention, convolution, the other half."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.before, self.after = self._feed_forward(width), self._feed_forward(width)
        self.norm = nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.convolved = nn.LayerNorm(width)
        self.gated = nn.Conv1d(width, 2 * width, 1)
        self.depthwise = nn.Conv1d(width, width, 7, padding=3, groups=width)
        self.batch_norm, self.pointwise = nn.BatchNorm1d(width), nn.Conv1d(width, width, 1)
        self.last = nn.LayerNorm(width)

    @staticmethod
    def _feed_forward(width: int) -> nn.Sequential:
        return nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.SiLU(), nn.Linear(2 * width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x + 0.5 * self.before(x)
        y = self.norm(x)
        x = x + self.attention(y, y, y, need_weights=False)[0]
        y = functional.glu(self.gated(self.convolved(x).transpose(1, 2)), 1)
        y = self.pointwise(functional.silu(self.batch_norm(self.depthwise(y))))
        x = x + y.transpose(1, 2)
        return self.last(x + 0.5 * self.after(x))


class SpeechConformer(nn.Module):
    """Letters of a recording: time is shortened by four, as an image is."""

    def __init__(self, width: int = 80) -> None:
        super().__init__()
        self.shorten = nn.Sequential(
            nn.Conv2d(1, 24, 3, 2, 1), nn.ReLU(), nn.Conv2d(24, 24, 3, 2, 1), nn.ReLU()
        )
        self.project = nn.Linear(24 * BANDS // 4, width)
        self.blocks = nn.Sequential(Conformer(width, 4), Conformer(width, 4))
        self.letters = nn.Linear(width, 30)

    def forward(self, features: Tensor) -> Tensor:
        x = self.shorten(features.unsqueeze(1))
        x = self.project(x.transpose(1, 2).flatten(2))
        return functional.log_softmax(self.letters(self.blocks(x)), -1)


class Fused(nn.Module):
    """A mean of residual stacks with other kernels and rates (HiFi-GAN, Kong et al. 2020)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.stacks = nn.ModuleList(
            nn.ModuleList(
                nn.Conv1d(channels, channels, size, dilation=rate, padding=rate * (size - 1) // 2)
                for rate in (1, 3)
            )
            for size in (3, 7)
        )

    def forward(self, x: Tensor) -> Tensor:
        total = torch.zeros_like(x)
        for stack in self.stacks:
            y = x
            for conv in stack:
                y = y + conv(functional.leaky_relu(y, 0.1))
            total = total + y
        return total / len(self.stacks)


class Vocoder(nn.Module):
    """A wave from a spectrogram; weights are normalized by their norm, as they are trained."""

    def __init__(self) -> None:
        super().__init__()
        normed = nn.utils.parametrizations.weight_norm
        self.start = normed(nn.Conv1d(BANDS, 96, 7, 1, 3))
        self.ups = nn.ModuleList(
            [
                normed(nn.ConvTranspose1d(96, 48, 8, 4, 2)),
                normed(nn.ConvTranspose1d(48, 24, 4, 2, 1)),
            ]
        )
        self.fused = nn.ModuleList([Fused(48), Fused(24)])
        self.wave = normed(nn.Conv1d(24, 1, 7, 1, 3))

    def forward(self, mel: Tensor) -> Tensor:
        x = self.start(mel)
        for up, fused in zip(self.ups, self.fused, strict=True):
            x = fused(up(functional.leaky_relu(x, 0.1)))
        return torch.tanh(self.wave(functional.leaky_relu(x)))


class VoiceActivity(nn.Module):
    """Whether somebody speaks: a spectrum by convolution, an LSTM with its state as an input.

    What is loud already is not amplified: one branch of an If or the other, as its detectors for
    two rates have.
    """

    def __init__(self) -> None:
        super().__init__()
        self.spectrum = nn.Conv1d(1, 2 * 33, 64, 32, bias=False)
        self.quiet = nn.Sequential(nn.Conv1d(33, 48, 3, 1, 1), nn.ReLU())
        self.loud = nn.Sequential(nn.Conv1d(33, 48, 3, 1, 1), nn.ReLU())
        self.encoder = nn.Sequential(
            nn.Conv1d(48, 64, 3, 2, 1), nn.ReLU(), nn.Conv1d(64, 64, 3, 2, 1), nn.ReLU()
        )
        self.lstm = nn.LSTMCell(64, 64)
        self.speaks = nn.Linear(64, 1)

    def forward(self, wave: Tensor, hidden: Tensor, cell: Tensor) -> dict[str, Tensor]:
        real, imaginary = self.spectrum(wave.unsqueeze(1)).chunk(2, 1)
        power = torch.sqrt(real**2 + imaginary**2 + 1e-9)
        x = torch.cond(power.mean() > 1.2, self.loud, self.quiet, (power,))
        hidden, cell = self.lstm(self.encoder(x).mean(2), (hidden, cell))
        chance = torch.sigmoid(self.speaks(functional.relu(hidden)))
        return {"chance": chance, "next_hidden": hidden, "next_cell": cell}


SOUND = (
    Network("tcn", TCN, {"series": Input((8, 32))}),
    Network("conformer", SpeechConformer, {"features": Input((64, BANDS))}),
    Network("vocoder", Vocoder, {"mel": Input((BANDS, 24))}),
    Network(
        "voice_activity",
        VoiceActivity,
        {"wave": Input((512,)), "hidden": Input((64,)), "cell": Input((64,))},
        # torch.cond keeps no length open; a detector is called with frames of one length.
        fixed=(
            "wave:float32[batch,512]",
            "hidden:float32[batch,64]",
            "cell:float32[batch,64]",
        ),
    ),
)
