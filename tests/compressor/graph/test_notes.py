"""No file that is written holds what an exporter noted about the machine it ran on."""

from pathlib import Path

import onnx
import onnx_ir as ir

from compressor.graph.files import save_model

TRACE = 'File "/home/me/secret/net.py", line 7, in forward'
TEXT = """
<ir_version: 10, opset_import: ["": 18, "own": 1]>
g (float[n,3] x, bool c) => (float[n,3] y)
<float[1] w = {2}>
{
    h = own.F (x)
    y = If (c) <then_branch = t () => (float[n,3] a) { a = Mul (h, w) },
                else_branch = e () => (float[n,3] b) { b = Relu (h) }>
}
<domain: "own", opset_import: ["": 18]>
F (p) => (q) { q = Relu (p) }
"""


def annotated() -> ir.Model:
    model = ir.from_onnx_text(TEXT)
    parts = [model, *model.graphs(), *model.functions.values()]
    for graph in model.graphs():
        parts += [*graph.inputs, *graph.initializers.values()]
    for nodes in (model.graph.all_nodes(), *(f.all_nodes() for f in model.functions.values())):
        for node in nodes:
            parts += [node, *node.outputs]
            for attribute in node.attributes.values():
                attribute.doc_string = TRACE
    for part in parts:
        part.metadata_props["pkg.torch.onnx.stack_trace"] = TRACE
        part.doc_string = TRACE
    model.metadata_props["names"] = "{0: 'cat', 1: 'dog'}"
    return model


def test_no_note_of_an_exporter_is_written(tmp_path: Path) -> None:
    model = annotated()
    save_model(model, tmp_path / "model.onnx")
    written = (tmp_path / "model.onnx").read_bytes()
    assert b"secret" not in written
    assert b"stack_trace" not in written
    assert [p.key for p in onnx.load(tmp_path / "model.onnx").metadata_props] == ["names"]
    assert model.graph[0].metadata_props  # the model in memory stays as it is
