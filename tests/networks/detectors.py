"""Detectors by anchors and by grids, and a segmenter that looks far at little cost."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from networks.build import Network, image
from networks.classifiers import ConvNorm
from networks.mobile import Separable

LABELS = 5


class SSD(nn.Module):
    """Liu et al. 2015: each scale has heads of its own; anchors are constants that are decoded."""

    def __init__(self, anchors: int = 4) -> None:
        super().__init__()
        self.stem = nn.Sequential(ConvNorm(3, 32, 3, 2), Separable(32, 64, 2), Separable(64, 64))
        self.deeper = nn.ModuleList([Separable(64, 96, 2), Separable(96, 128, 2)])
        widths = (64, 96, 128)
        self.scores = nn.ModuleList(nn.Conv2d(w, anchors * LABELS, 3, 1, 1) for w in widths)
        self.boxes = nn.ModuleList(nn.Conv2d(w, anchors * 4, 3, 1, 1) for w in widths)
        cells = [(side, y, x) for side in (16, 8, 4) for y in range(side) for x in range(side)]
        self.register_buffer(
            "prior",
            torch.tensor(
                [
                    ((x + 0.5) / side, (y + 0.5) / side, (1 + k) / side, (4 - k) / side)
                    for side, y, x in cells
                    for k in range(anchors)
                ]
            ),
        )

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        scales = [self.stem(pixels)]
        for layer in self.deeper:
            scales.append(layer(scales[-1]))
        scores = [self._flat(head(x), LABELS) for head, x in zip(self.scores, scales, strict=True)]
        boxes = [self._flat(head(x), 4) for head, x in zip(self.boxes, scales, strict=True)]
        found = torch.cat(boxes, 1)
        centre = self.prior[:, :2] + 0.1 * found[..., :2] * self.prior[:, 2:]
        half = self.prior[:, 2:] * torch.exp(0.2 * found[..., 2:]) / 2
        return {
            "scores": torch.softmax(torch.cat(scores, 1), -1),
            "boxes": torch.cat([centre - half, centre + half], -1),
        }

    @staticmethod
    def _flat(x: Tensor, last: int) -> Tensor:
        return x.permute(0, 2, 3, 1).reshape(x.shape[0], -1, last)


def silu(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.SiLU(),
    )


class C2f(nn.Module):
    """YOLOv8's block: half of the channels, and what each bottleneck makes of it, side by side."""

    def __init__(self, inputs: int, outputs: int, depth: int = 2) -> None:
        super().__init__()
        half = outputs // 2
        self.start = silu(inputs, outputs, 1)
        self.bottlenecks = nn.ModuleList(
            nn.Sequential(silu(half, half), silu(half, half)) for _ in range(depth)
        )
        self.join = silu((2 + depth) * half, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        parts = list(self.start(x).chunk(2, 1))
        for bottleneck in self.bottlenecks:
            parts.append(parts[-1] + bottleneck(parts[-1]))
        return self.join(torch.cat(parts, 1))


class SpatialPyramid(nn.Module):
    """One pooling thrice (SPPF)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.start, self.join = silu(channels, channels // 2, 1), silu(2 * channels, channels, 1)
        self.pool = nn.MaxPool2d(5, 1, 2)

    def forward(self, x: Tensor) -> Tensor:
        parts = [self.start(x)]
        for _ in range(3):
            parts.append(self.pool(parts[-1]))
        return self.join(torch.cat(parts, 1))


class YOLO(nn.Module):
    """Like YOLOv8: no anchors, distances to four sides as distributions, NMS left to the caller."""

    BINS = 8

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(silu(3, 16, 3, 2), silu(16, 32, 3, 2), C2f(32, 32))
        self.down = nn.Sequential(silu(32, 64, 3, 2), C2f(64, 64), SpatialPyramid(64))
        self.up, self.again = C2f(96, 48), silu(48, 48, 3, 2)
        self.bottom = C2f(112, 64)
        self.box = nn.ModuleList(
            nn.Sequential(silu(w, 32), nn.Conv2d(32, 4 * self.BINS, 1)) for w in (48, 64)
        )
        self.label = nn.ModuleList(
            nn.Sequential(silu(w, 32), nn.Conv2d(32, LABELS, 1)) for w in (48, 64)
        )
        self.register_buffer("bins", torch.arange(self.BINS, dtype=torch.float32))

    def forward(self, images: Tensor) -> Tensor:
        fine = self.stem(images)
        coarse = self.down(fine)
        fine = self.up(torch.cat([functional.interpolate(coarse, scale_factor=2.0), fine], 1))
        coarse = self.bottom(torch.cat([self.again(fine), coarse], 1))
        decoded = [
            self._decode(box(x), label(x), stride)
            for box, label, x, stride in zip(
                self.box, self.label, (fine, coarse), (4, 8), strict=True
            )
        ]
        return torch.cat(decoded, 2)

    def _decode(self, box: Tensor, label: Tensor, stride: int) -> Tensor:
        """[B, 4 + labels, cells]: centre and size in pixels, and scores."""
        batch, _, height, width = box.shape
        chance = box.view(batch, 4, self.BINS, height * width).softmax(2)
        distance = (chance * self.bins[:, None]).sum(2)
        y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
        at = torch.stack([x.flatten(), y.flatten()])
        low, high = at - distance[:, :2], at + distance[:, 2:]
        boxes = torch.cat([(low + high) / 2, high - low], 1) * stride
        return torch.cat([boxes, label.flatten(2).sigmoid()], 1)


SUPPRESSION = """<ir_version: 10, opset_import: ["" : 20]>
suppression (float[batch, 9, cells] found)
    => (float[kept, 4] box, float[kept] score, int64[kept, 3] which)
{
    parts = Constant <value = int64[2] {4, 5}> ()
    sizes, scores = Split <axis = 1> (found, parts)
    boxes = Transpose <perm = [0, 2, 1]> (sizes)
    most = Constant <value = int64[1] {20}> ()
    overlap = Constant <value = float[1] {0.5}> ()
    least = Constant <value = float[1] {0.3}> ()
    which = NonMaxSuppression <center_point_box = 1> (boxes, scores, most, overlap, least)
    places = Constant <value = int64[2] {0, 2}> ()
    at = Gather <axis = 1> (which, places)
    box = GatherND (boxes, at)
    score = GatherND (scores, which)
}
"""
"""NMS as exporters of YOLO put it into the graph: an answer for each box that stays. How many there
are depends on the data, and which image a box is of is told by a column, not by its place."""


class Pyramid(nn.Module):
    """Atrous spatial pyramid pooling (Chen et al. 2017): one image at several rates."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.one = ConvNorm(inputs, width, 1)
        self.rates = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(inputs, width, 3, 1, rate, dilation=rate, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(),
            )
            for rate in (2, 4, 6)
        )
        self.whole = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(inputs, width, 1), nn.ReLU())
        self.join = ConvNorm(5 * width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        parts = [self.one(x), *(rate(x) for rate in self.rates)]
        whole = functional.interpolate(self.whole(x), size=x.shape[2:], mode="bilinear")
        return self.join(torch.cat([*parts, whole], 1))


class DeepLab(nn.Module):
    """DeepLab v3+ (Chen et al. 2018): the pyramid is joined with an early layer."""

    def __init__(self, width: int = 48) -> None:
        super().__init__()
        self.stem = nn.Sequential(ConvNorm(3, 32, 3, 2), ConvNorm(32, 48))
        self.deep = nn.Sequential(ConvNorm(48, 96, 3, 2), ConvNorm(96, 96))
        self.pyramid = Pyramid(96, width)
        self.low = ConvNorm(48, 16, 1)
        self.mask = nn.Sequential(ConvNorm(width + 16, width), nn.Conv2d(width, LABELS, 1))

    def forward(self, pixels: Tensor) -> Tensor:
        low = self.stem(pixels)
        far = self.pyramid(self.deep(low))
        far = functional.interpolate(far, size=low.shape[2:], mode="bilinear")
        mask = self.mask(torch.cat([far, self.low(low)], 1))
        return functional.interpolate(
            mask, size=pixels.shape[2:], mode="bilinear", align_corners=False
        )


DETECTORS = (
    Network("ssd", SSD, {"pixels": image(3, 64)}),
    Network("yolo", YOLO, {"images": image(3, 64)}),
    Network("yolo_nms", YOLO, {"images": image(3, 64)}, behind=SUPPRESSION),
    Network("deeplab", DeepLab, {"pixels": image(3, 64)}),
)
