"""The mean of what is dropped goes into the bias of the layer that read it."""

import numpy as np
import onnx_ir as ir

from calibration.dataset import CalibrationSet
from compressor.layerwise.activity import activity
from compressor.layerwise.im2col import Doubles
from compressor.layerwise.layers import layers_of
from compressor.pruning.coupling.groups import Grouping, Keep
from compressor.pruning.reconstruction.restriction import Restriction
from compressor.pruning.reconstruction.writing import write
from compressor.pruning.selection.importance import MEMORY, Scoring
from compressor.pruning.selection.readings import readings


def fold_means(
    model: ir.Model,
    pruned: ir.Model,
    grouping: Grouping,
    keep: Keep,
    data: CalibrationSet,
    how: Scoring | None = None,
) -> ir.Model:
    """Let every layer that read dropped units add what they contributed in the mean.

        b += Σ_r W_r·E[x_r]

    over the dropped columns r, as in FLAP (An et al. 2024, arXiv 2312.11983, section 3.3). It takes
    the means of the unpruned model; `repair`, which refits W and b, needs none of it.

    Args:
        model: The model before pruning.
        pruned: What `cut` made of it; stays as it is.
        grouping: The groups of the model.
        keep: What was kept.
        data: Bound to the model's inputs.
        how: Batch, memory and threads.
    """
    how = how or Scoring()
    result = pruned.clone()
    gone = {name: ~mask for name, mask in keep.items() if not mask.all()}
    read = readings(model, grouping)
    shifts: dict[str, Doubles] = {}
    dropped = {one.layer.name: one.layer for name in gone for one in read[name]}
    seen = activity(
        model, list(dropped.values()), data,
        batch=how.batch, memory=how.memory or MEMORY, threads=how.threads, gram=False,
    )  # fmt: skip
    for name, lost in gone.items():
        for one in read[name]:
            columns = one.columns[lost].reshape(-1)
            mean = seen[one.layer.name].moments.mean()[0][one.part, columns]
            weight = one.layer.matrix()
            total = shifts.setdefault(one.layer.name, np.zeros(weight.shape[:2]))
            total[one.part] += weight[one.part][:, columns] @ mean
    restriction = Restriction(grouping, keep)
    layers = layers_of(result)
    for name, shift in shifts.items():
        layer, before = layers[name], dropped[name]
        kept = restriction.along(before.output.name or "", before.output_axis, shift.reshape(-1))
        write(result, layer, layer.matrix(), layer.bias() + kept.reshape(layer.bias().shape))
    return result
