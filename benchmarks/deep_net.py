"""A ResNet-56 for CIFAR-10, grown from a trained ResNet-20 and trained on one core in minutes.

Deep nets take hours from random weights. So each block of the ResNet-20 becomes several that add
equal parts of what that one adds (after the stacking of Gong et al. 2019, "Efficient Training of
BERT by Progressively Stacking"). Then all is trained to the logits of the ResNet-20 (Hinton et al.
2015, arXiv 1503.02531), at a rate at which the copies become unlike. `train` may be interrupted: it
goes on after the last epoch.
"""

from pathlib import Path

import torch
from torch import nn

from cifar_training import fit, save, seeded
from resnet import ResNet, resnet20

BLOCKS = 9
EPOCHS, BATCH, RATE, DECAY = 13, 128, 0.05, 5e-4


def deep() -> nn.Module:
    """The network with random weights: nine blocks a stage, ten classes."""
    return ResNet(BLOCKS, 10)


def train(data: Path, path: Path, start: Path) -> None:
    """Grow the network from a state dict of ResNet-20, train it, write a state dict.

    Args:
        data: Images and labels, an .npz.
        path: Where to; beside it lies what an interrupted training goes on from.
        start: The state dict of ResNet-20.
    """
    teacher, network = resnet20(), seeded(deep)
    teacher.load_state_dict(torch.load(start, weights_only=True)["state_dict"])
    grow(network, teacher)
    fit(
        network.to(memory_format=torch.channels_last),  # type: ignore[call-overload]
        data,
        epochs=EPOCHS,
        batch=BATCH,
        rate=RATE,
        decay=DECAY,
        teacher=teacher.eval(),
        resume=path.with_suffix(".resume.pt"),
    )
    save(network, path)


@torch.no_grad()
def grow(network: nn.Module, source: nn.Module) -> None:
    """Copy a shallower network into a deeper one, in place.

    Of a stage of k blocks 1 … k and one of m blocks, block i of m is made of block ⌈i·k/m⌉, but for
    the first, which alone has its shapes. Where r are made of one, each adds 1/r of it: the last
    BatchNorm's factor and shift are divided by r.
    """
    for name, module in source.named_children():
        if not isinstance(module, nn.Sequential):
            network.get_submodule(name).load_state_dict(module.state_dict())
            continue
        stage = network.get_submodule(name)
        assert isinstance(stage, nn.Sequential)
        made_of = [0] + [max(1, i * len(module) // len(stage)) for i in range(1, len(stage))]
        for block, origin in zip(stage, made_of, strict=True):
            block.load_state_dict(module[origin].state_dict())
            norm = block.get_submodule("bn2")
            assert isinstance(norm, nn.BatchNorm2d)
            norm.weight.div_(made_of.count(origin))
            norm.bias.div_(made_of.count(origin))
