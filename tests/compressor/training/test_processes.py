"""Two processes that train together come to what one comes to."""

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from compressor.graph.files import load_model, save_model

PROGRAM = """
import sys
import numpy as np
from pathlib import Path
from calibration.dataset import open_dataset
from compressor.graph.files import load_model, save_model
from compressor.graph.shapes import input_specs
from compressor.graph.writing import with_weights
from compressor.recipe.training import TrainOptions, parse_length
from compressor.training.processes import joined
from compressor.training.task import Task
from compressor.training.train import train_graph

def trained(folder):
    student, teacher = (load_model(folder / f"{name}.onnx") for name in ("student", "teacher"))
    data = open_dataset({"x": np.load(folder / "x.npy")}).bind(input_specs(student))
    used, held = data.split(0.75, 0)
    options = TrainOptions(threads=1, batch=16, rate=0.01)
    task = Task(student, teacher, used, held, options, parse_length("6steps"))
    found = train_graph(task)
    assert found.result.kept
    if joined("cpu").is_first:
        save_model(with_weights(student, found.weights), folder / "two.onnx")
    return found.weights

if __name__ == "__main__":
    trained(Path(sys.argv[1]))
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def linear(weight: np.ndarray) -> ir.Model:
    model = ir.from_onnx_text(
        '<ir_version: 9, opset_import: ["" : 20]>\n'
        "g (float[n,6] x, float[6,3] w) => (float[n,3] y) { y = MatMul (x, w) }"
    )
    value = model.graph.inputs.pop()
    value.const_value = ir.tensor(weight, name="w")
    model.graph.register_initializer(value)
    return model


@pytest.mark.slow
def test_two_processes_come_to_what_one_does(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((6, 3)).astype(np.float32)
    save_model(linear(weight), tmp_path / "teacher.onnx")
    save_model(linear(0.5 * weight), tmp_path / "student.onnx")
    np.save(tmp_path / "x.npy", rng.standard_normal((64, 6)).astype(np.float32))
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    namespace: dict[str, Any] = {"__name__": "program"}
    exec(PROGRAM, namespace)
    alone = namespace["trained"](tmp_path)  # overwritten by the two below
    told = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": "2"}
    told |= {"PYTHONPATH": str(Path(__file__).parents[3]), "OMP_NUM_THREADS": "1"}
    started = [
        subprocess.Popen(
            [sys.executable, str(program), str(tmp_path)], env=os.environ | told | {"RANK": rank}
        )
        for rank in ("0", "1")
    ]
    assert [process.wait(timeout=120) for process in started] == [0, 0]
    found = load_model(tmp_path / "two.onnx").graph.initializers["w"].const_value
    assert found is not None
    assert np.abs(alone["w"] - 0.5 * weight).max() > 0.01
    # Each half has a variance of its own, by which its error is divided.
    np.testing.assert_allclose(found.numpy(), alone["w"], atol=5e-3)
