"""Networks with more than one way in or out, or with memory."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from networks.build import Network, image, tokens
from networks.classifiers import ConvNorm, Head

WORDS = 200


class Tagger(nn.Module):
    """A tag for each word, from an LSTM over both directions."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(WORDS, 64)
        self.project = nn.Linear(64, 96)
        self.lstm = nn.LSTM(96, 64, num_layers=2, bidirectional=True, batch_first=True)
        self.hidden, self.tags = nn.Linear(128, 96), nn.Linear(96, 9)

    def forward(self, words: Tensor) -> Tensor:
        states, _ = self.lstm(torch.tanh(self.project(self.words(words))))
        return self.tags(functional.relu(self.hidden(states)))


class Siamese(nn.Module):
    """Both images go through the same layers; what differs is judged."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            ConvNorm(3, 32, 3, 2), ConvNorm(32, 64, 3, 2), ConvNorm(64, 96, 3, 2),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(96, 64),
        )  # fmt: skip
        self.judge = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 1))

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        difference = torch.abs(self.encoder(left) - self.encoder(right))
        return self.judge(difference)


class Detector(nn.Module):
    """A feature pyramid (Lin et al. 2016) with one head for both scales: scores and boxes."""

    def __init__(self, width: int = 48, anchors: int = 3, labels: int = 5) -> None:
        super().__init__()
        self.stem = ConvNorm(3, 32, 3, 2)
        self.stage1, self.stage2 = ConvNorm(32, 64, 3, 2), ConvNorm(64, 96, 3, 2)
        self.lateral1, self.lateral2 = nn.Conv2d(64, width, 1), nn.Conv2d(96, width, 1)
        self.smooth = ConvNorm(width, width)
        self.score = nn.Conv2d(width, anchors * labels, 3, 1, 1)
        self.box = nn.Conv2d(width, anchors * 4, 3, 1, 1)
        self.scene = Head(96)
        self.labels = labels

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        one = self.stage1(self.stem(pixels))
        two = self.stage2(one)
        coarse = self.lateral2(two)
        fine = self.lateral1(one) + functional.interpolate(coarse, scale_factor=2.0)
        scales = [self.smooth(fine), self.smooth(coarse)]
        scores = [self._flat(self.score(scale), self.labels) for scale in scales]
        boxes = [self._flat(self.box(scale), 4) for scale in scales]
        return {
            "scores": torch.sigmoid(torch.cat(scores, 1)),
            "boxes": torch.cat(boxes, 1),
            "scene": self.scene(two),
        }

    @staticmethod
    def _flat(x: Tensor, last: int) -> Tensor:
        return x.permute(0, 2, 3, 1).reshape(x.shape[0], -1, last)


HEADS = (
    Network("lstm_tagger", Tagger, {"words": tokens(12, WORDS)}),
    Network("siamese", Siamese, {"left": image(3, 32), "right": image(3, 32)}),
    Network("detector", Detector, {"pixels": image(3, 32)}),
)
