"""What stays of a graph whose values are tapped."""

import numpy as np
import onnx_ir as ir
from graphs import model

from calibration.taps import Taps
from compressor.graph.session import open_session

DEEP = """g (float[2] x) => (float[2] y) {
    a = Relu(x)
    flag = Constant <value_int = 1> ()
    when = Cast <to = 9> (flag)
    b = If (when) <
        then_branch = t () => (float[2] p) { p = Neg(a) },
        else_branch = e () => (float[2] q) { q = Identity(x) }
    >
    c = Abs(b)
    y = Sqrt(c)
}"""


def test_what_lies_behind_the_last_tap_goes_at_once(monkeypatch):
    """Each call walks all outputs: one for every node took the square of their number."""
    calls = []
    whole = ir.Graph.remove

    def counted(self, nodes, /, safe=False):
        calls.append(nodes)
        whole(self, nodes, safe=safe)

    monkeypatch.setattr(ir.Graph, "remove", counted)
    chain = [f"v{i + 1} = Relu(v{i})" for i in range(40)]
    taps = Taps(model("g (float[2] v0) => (float[2] v40) {" + "\n".join(chain) + "}"))
    taps.output(taps.values["v3"])
    left = taps.finished()
    assert len(calls) == 1
    assert [node.op_type for node in left.graph] == ["Relu"] * 3 + ["Identity"]


def test_bodies_keep_what_they_read():
    taps = Taps(model(DEEP))
    name = taps.output(taps.values["b"])
    left = taps.finished()
    assert {"Abs", "Sqrt"}.isdisjoint(node.op_type for node in left.graph)
    found = open_session(left).run([name], {"x": np.float32([3, -1])})[0]
    np.testing.assert_array_equal(found, np.float32([-3, 0]))


def test_a_body_that_goes_takes_nothing_with_it_that_is_read():
    taps = Taps(model(DEEP))
    name = taps.output(taps.values["a"])
    found = open_session(taps.finished()).run([name], {"x": np.float32([3, -1])})[0]
    np.testing.assert_array_equal(found, np.float32([3, 0]))
