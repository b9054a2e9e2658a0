"""First-order importance of the units of any graph, without the module that it came from."""

import onnx_ir as ir

from calibration.dataset import CalibrationSet
from compressor.errors import GraphError, RecipeError
from compressor.module.gradients import Loss, summed
from compressor.pruning import Grouping
from compressor.pruning.selection.importance import Scores
from compressor.system.progress import SILENT, Progress
from compressor.training.executor import GraphModule
from compressor.training.roles import find_trained


def first_order_of_graph(
    model: ir.Model,
    grouping: Grouping,
    data: CalibrationSet,
    loss: Loss,
    *,
    batch: int,
    progress: Progress = SILENT,
) -> Scores:
    """|Σ w · ∂L/∂w| of each unit, as `module.gradients` has it; outputs reach the loss by name.

    Args:
        model: The graph that the groups are of.
        grouping: The groups.
        data: Bound to the graph's inputs.
        loss: What is differentiated.
        batch: Samples per step.
        progress: Called with the batches done.

    Raises:
        RecipeError: The loss fails, or torch cannot run the graph.
    """
    try:
        module = GraphModule(model, find_trained(model, embeddings=True).names)
        return summed(module, module.trained, grouping, data, loss, batch=batch, progress=progress)
    except GraphError as error:
        raise RecipeError(
            f"importance by 'taylor' needs gradients of the graph: {error.message}",
            hint="Choose obs.",
        ) from error
