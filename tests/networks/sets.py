"""Networks of sets: of nodes that edges join, of points in space."""

from itertools import pairwise

import torch
from torch import Tensor, nn

from networks.build import Input, Network
from networks.tables import mlp

NODES, EDGES, FEATURES = 12, 30, 16
POINTS = 48


def summed(messages: Tensor, to: Tensor, nodes: int) -> Tensor:
    """Messages [B, E, C] summed at the nodes [B, E] that they go to, [B, N, C]."""
    into = torch.zeros_like(messages[:, :1]).expand(-1, nodes, -1)
    return into.scatter_add(1, to[..., None].expand_as(messages), messages)


def taken(x: Tensor, at: Tensor) -> Tensor:
    """Rows [B, N, C] → [B, E, C] by index [B, E]."""
    return x.gather(1, at[..., None].expand(-1, -1, x.shape[2]))


class GraphConvolution(nn.Module):
    """Kipf and Welling 2016: neighbours are summed, each over the root of both degrees."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.linear, self.own = nn.Linear(inputs, outputs, bias=False), nn.Linear(inputs, outputs)

    def forward(self, x: Tensor, start: Tensor, end: Tensor) -> Tensor:
        one = torch.ones_like(start, dtype=x.dtype)[..., None]
        degree = summed(one, end, x.shape[1]) + 1
        scale = torch.rsqrt(taken(degree, start) * taken(degree, end))
        return self.own(x) + summed(taken(self.linear(x), start) * scale, end, x.shape[1])


class GCN(nn.Module):
    """A label for a graph, from the mean of its nodes."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.first, self.second = GraphConvolution(FEATURES, width), GraphConvolution(width, width)
        self.label = mlp(width, 96, 5)

    def forward(self, nodes: Tensor, edges: Tensor) -> Tensor:
        start, end = edges.unbind(-1)
        x = torch.relu(self.first(nodes, start, end))
        x = torch.relu(self.second(x, start, end))
        return self.label(x.mean(1))


class GraphAttention(nn.Module):
    """Velickovic et al. 2017: a softmax over the edges that come in, by scatter."""

    def __init__(self, inputs: int, outputs: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.linear = nn.Linear(inputs, heads * outputs, bias=False)
        self.left = nn.Parameter(torch.zeros(heads, outputs))
        self.right = nn.Parameter(torch.zeros(heads, outputs))

    def forward(self, x: Tensor, start: Tensor, end: Tensor) -> Tensor:
        batch, nodes, _ = x.shape
        y = self.linear(x)
        heads = y.view(batch, nodes, self.heads, -1)
        left, right = (heads * self.left).sum(-1), (heads * self.right).sum(-1)
        score = nn.functional.leaky_relu(taken(left, start) + taken(right, end), 0.2)
        grown = torch.exp(score - score.amax((1, 2), keepdim=True))
        share = grown / (taken(summed(grown, end, nodes), end) + 1e-9)
        messages = taken(y, start).view(batch, -1, self.heads, heads.shape[-1])
        return summed((messages * share[..., None]).flatten(2), end, nodes)


class GAT(nn.Module):
    """A label for each node."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = GraphAttention(FEATURES, 16, 4), GraphAttention(64, 16, 4)
        self.label = nn.Linear(64, 7)

    def forward(self, nodes: Tensor, edges: Tensor) -> Tensor:
        start, end = edges.unbind(-1)
        x = nn.functional.elu(self.first(nodes, start, end))
        return self.label(nn.functional.elu(self.second(x, start, end)))


class Shared(nn.Sequential):
    """The same layers for each point."""

    def __init__(self, *widths: int) -> None:
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(widths):
            layers += [nn.Conv1d(inputs, outputs, 1), nn.BatchNorm1d(outputs), nn.ReLU()]
        super().__init__(*layers)


class PointNet(nn.Module):
    """Qi et al. 2016: points are turned as a small network says, and the maximum is taken."""

    def __init__(self) -> None:
        super().__init__()
        self.turn, self.turned = Shared(3, 32, 64), mlp(64, 48, 9)
        self.points, self.deeper = Shared(3, 48, 64), Shared(64, 96, 160)
        self.part = nn.Sequential(Shared(224, 96), nn.Conv1d(96, 6, 1))
        self.label = mlp(160, 96, 5)

    def forward(self, points: Tensor) -> dict[str, Tensor]:
        x = points.transpose(1, 2)
        matrix = self.turned(self.turn(x).amax(2)).view(-1, 3, 3) + torch.eye(3)
        own = self.points((points @ matrix).transpose(1, 2))
        whole = self.deeper(own).amax(2)
        joined = torch.cat([own, whole[:, :, None].expand(-1, -1, own.shape[2])], 1)
        return {"label": self.label(whole), "parts": self.part(joined)}


class EdgeConvolution(nn.Module):
    """DGCNN (Wang et al. 2018): each point and its nearest, found anew from the features."""

    def __init__(self, inputs: int, outputs: int, near: int = 6) -> None:
        super().__init__()
        self.near = near
        self.layers = nn.Sequential(
            nn.Conv2d(2 * inputs, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.LeakyReLU(0.2),
        )

    def forward(self, x: Tensor) -> Tensor:
        square = (x**2).sum(1)
        apart = square[:, :, None] + square[:, None] - 2 * x.transpose(1, 2) @ x
        _, nearest = apart.topk(self.near, 2, largest=False)
        batch, channels, points = x.shape
        flat = nearest.flatten(1)[:, None].expand(-1, channels, -1)
        found = x.gather(2, flat).view(batch, channels, points, self.near)
        own = x.unsqueeze(3).expand_as(found)
        return self.layers(torch.cat([found - own, own], 1)).amax(3)


class DGCNN(nn.Module):
    """A label for a cloud; the graph is taken of the points alone, then of features."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = EdgeConvolution(3, 48), EdgeConvolution(48, 64)
        self.join = Shared(112, 128)
        self.label = mlp(256, 96, 5)

    def forward(self, points: Tensor) -> Tensor:
        one = self.first(points.transpose(1, 2))
        x = self.join(torch.cat([one, self.second(one)], 1))
        return self.label(torch.cat([x.amax(2), x.mean(2)], 1))


GRAPH = {"nodes": Input((NODES, FEATURES)), "edges": Input((EDGES, 2), NODES)}
CLOUD = {"points": Input((POINTS, 3))}

SETS = (
    Network("gcn", GCN, GRAPH),
    Network("gat", GAT, GRAPH),
    Network("pointnet", PointNet, CLOUD),
    Network("dgcnn", DGCNN, CLOUD),
)
