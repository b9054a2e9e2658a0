"""ONNX files: damaged and hostile ones are refused by name, good ones survive a round trip."""

import hashlib
import os
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from compressor.errors import CheckpointError, GraphError, OutputError
from compressor.graph import files
from compressor.graph.files import initializer_bytes, load_model, save_model, serialize
from compressor.graph.session import open_session

WEIGHT = np.random.default_rng(0).standard_normal((16, 32)).astype(np.float32)


def proto(ir_version: int = 9, weight_is_input: bool = False) -> onnx.ModelProto:
    w = helper.make_tensor("w", TensorProto.FLOAT, WEIGHT.shape, WEIGHT.tobytes(), raw=True)
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 16])]
    if weight_is_input:
        inputs.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, WEIGHT.shape))
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 32])]
    node = helper.make_node("MatMul", ["x", "w"], ["y"], "product")
    graph = helper.make_graph([node], "g", inputs, outputs, [w])
    opsets = [helper.make_opsetid("", 17 if ir_version > 3 else 8)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=ir_version)


def external(folder: Path, location: str = "w.bin", **fields: int) -> Path:
    """A model file whose weight is said to lie at `location`."""
    m = proto()
    (w,) = m.graph.initializer
    w.ClearField("raw_data")
    w.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **fields}.items():
        w.external_data.add(key=key, value=str(value))
    path = folder / "m.onnx"
    path.write_bytes(m.SerializeToString())
    return path


def output(model: ir.Model | Path) -> np.ndarray:
    return open_session(model).run(None, {"x": np.ones((1, 16), np.float32)})[0]


class TestRefused:
    @pytest.mark.parametrize("content", [b"", b"garbage", b"\x08\x07", b"PK\x03\x04zip"])
    def test_bytes_that_are_no_model(self, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "m.onnx"
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=r"m\.onnx: expected an ONNX model"):
            load_model(path)

    def test_a_truncated_model(self, tmp_path: Path) -> None:
        path = tmp_path / "m.onnx"
        path.write_bytes(proto().SerializeToString()[:-200])
        with pytest.raises(CheckpointError):
            load_model(path)

    def test_a_missing_file(self, tmp_path: Path) -> None:
        with pytest.raises(CheckpointError, match="No such file"):
            load_model(tmp_path / "m.onnx")

    def test_a_tensor_whose_data_does_not_fill_its_shape(self, tmp_path: Path) -> None:
        m = proto()
        m.graph.initializer[0].raw_data = b"\0" * 12
        path = tmp_path / "m.onnx"
        path.write_bytes(m.SerializeToString())
        with pytest.raises(CheckpointError, match=r"tensor 'w' should hold FLOAT of shape"):
            load_model(path)

    @pytest.mark.parametrize("by_axis", [False, True])
    def test_sparse_weights_become_dense(self, tmp_path: Path, by_axis: bool) -> None:
        m = proto()
        dense = numpy_helper.to_array(m.graph.initializer[0]).copy()
        dense[dense < np.median(dense)] = 0
        del m.graph.initializer[:]
        there = np.argwhere(dense) if by_axis else np.flatnonzero(dense)
        m.graph.sparse_initializer.add().CopyFrom(
            onnx.helper.make_sparse_tensor(
                numpy_helper.from_array(dense[dense != 0], "w"),
                numpy_helper.from_array(there.astype(np.int64), "at"),
                dense.shape,
            )
        )
        path = tmp_path / "m.onnx"
        path.write_bytes(m.SerializeToString())
        found = load_model(path).graph.initializers["w"].const_value
        assert found is not None
        np.testing.assert_array_equal(found.numpy(), dense)

    def test_a_broken_sparse_weight(self, tmp_path: Path) -> None:
        m = proto()
        values = numpy_helper.from_array(np.ones(1, np.float32), "s")
        at = numpy_helper.from_array(np.array([9]), "at")
        m.graph.sparse_initializer.add().CopyFrom(onnx.helper.make_sparse_tensor(values, at, [4]))
        path = tmp_path / "m.onnx"
        path.write_bytes(m.SerializeToString())
        with pytest.raises(CheckpointError, match="sparse initializer 's' is broken"):
            load_model(path)


def test_small_weights_that_somebody_reads_are_written(tmp_path: Path) -> None:
    """They go into the message; upstream closes their file, which a view of them keeps open."""
    m = proto()
    m.graph.initializer[0].CopyFrom(numpy_helper.from_array(WEIGHT[:, :8].copy(), "w"))
    onnx.save_model(
        m, tmp_path / "m.onnx", save_as_external_data=True, location="w.bin", size_threshold=0
    )
    model = load_model(tmp_path / "m.onnx")
    tensor = model.graph.initializers["w"].const_value
    assert isinstance(tensor, ir.ExternalTensor) and tensor.nbytes <= files._INLINE
    read = tensor.numpy()
    save_model(model, tmp_path / "again.onnx", apart=True)
    np.testing.assert_array_equal(read, WEIGHT[:, :8])
    np.testing.assert_allclose(output(tmp_path / "again.onnx"), output(model), rtol=1e-6)


class TestExternalData:
    def test_inside_the_folder(self, tmp_path: Path) -> None:
        (tmp_path / "sub").mkdir()
        (tmp_path / "sub" / "w.bin").write_bytes(b"\0" * 8 + WEIGHT.tobytes())
        model = load_model(external(tmp_path, "sub/w.bin", offset=8, length=WEIGHT.nbytes))
        np.testing.assert_allclose(output(model), WEIGHT.sum(0, keepdims=True), atol=1e-5)

    def test_found_from_another_working_directory(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "w.bin").write_bytes(WEIGHT.tobytes())
        external(tmp_path)
        monkeypatch.chdir(tmp_path)
        model = load_model(Path("m.onnx"))
        monkeypatch.chdir("/")
        np.testing.assert_array_equal(model.graph.initializers["w"].const_value.numpy(), WEIGHT)

    @pytest.mark.parametrize("location", ["../w.bin", "sub/../../w.bin", "/etc/hostname", ""])
    def test_outside_the_folder(self, tmp_path: Path, location: str) -> None:
        folder = tmp_path / "model"
        folder.mkdir()
        (tmp_path / "w.bin").write_bytes(WEIGHT.tobytes())
        with pytest.raises(CheckpointError, match=r"tensor 'w' lies at .* outside the folder"):
            load_model(external(folder, location))

    def test_a_link_that_leaves_the_folder(self, tmp_path: Path) -> None:
        folder = tmp_path / "model"
        folder.mkdir()
        (tmp_path / "w.bin").write_bytes(WEIGHT.tobytes())
        (folder / "w.bin").symlink_to(tmp_path / "w.bin")
        with pytest.raises(CheckpointError, match="outside the folder"):
            load_model(external(folder))

    def test_a_hard_link(self, tmp_path: Path) -> None:
        folder = tmp_path / "model"
        folder.mkdir()
        (tmp_path / "w.bin").write_bytes(WEIGHT.tobytes())
        os.link(tmp_path / "w.bin", folder / "w.bin")
        with pytest.raises(CheckpointError, match="hard links"):
            load_model(external(folder))

    def test_missing(self, tmp_path: Path) -> None:
        with pytest.raises(CheckpointError, match=r"tensor 'w' is missing: expected .*w\.bin"):
            load_model(external(tmp_path))

    def test_too_short(self, tmp_path: Path) -> None:
        (tmp_path / "w.bin").write_bytes(WEIGHT.tobytes()[:-1])
        with pytest.raises(CheckpointError, match=r"2048 bytes at offset 0; .* has 2047 bytes"):
            load_model(external(tmp_path))

    def test_a_length_that_is_not_that_of_the_tensor(self, tmp_path: Path) -> None:
        (tmp_path / "w.bin").write_bytes(WEIGHT.tobytes())
        with pytest.raises(CheckpointError, match="should have 2048 bytes and claims 4"):
            load_model(external(tmp_path, length=4))

    def test_a_negative_offset(self, tmp_path: Path) -> None:
        (tmp_path / "w.bin").write_bytes(WEIGHT.tobytes())
        with pytest.raises(CheckpointError, match="offset must be non-negative, got -4"):
            load_model(external(tmp_path, offset=-4))

    def test_becomes_part_of_a_small_file(self, tmp_path: Path) -> None:
        (tmp_path / "w.bin").write_bytes(WEIGHT.tobytes())
        model = load_model(external(tmp_path))
        save_model(model, tmp_path / "out.onnx")
        assert sorted(p.name for p in tmp_path.iterdir()) == ["m.onnx", "out.onnx", "w.bin"]
        np.testing.assert_allclose(output(tmp_path / "out.onnx"), output(model))
        assert isinstance(model.graph.initializers["w"].const_value, ir.ExternalTensor)


def test_initializers_of_old_models_are_no_inputs(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(proto(ir_version=3, weight_is_input=True).SerializeToString())
    model = load_model(path)
    assert [value.name for value in model.graph.inputs] == ["x"]
    assert output(model).shape == (1, 32)


def test_initializers_of_new_models_stay_overridable(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(proto(weight_is_input=True).SerializeToString())
    assert [value.name for value in load_model(path).graph.inputs] == ["x", "w"]


class TestSaving:
    def test_the_same_model_gives_the_same_bytes(self, tmp_path: Path) -> None:
        model = ir.from_proto(proto())
        save_model(model, tmp_path / "a.onnx")
        save_model(load_model(tmp_path / "a.onnx"), tmp_path / "b.onnx")
        assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()
        assert (tmp_path / "a.onnx").read_bytes() == serialize(model)

    def test_above_the_limit_the_weights_lie_beside(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(files, "PROTOBUF_LIMIT", 2000)
        model = ir.from_proto(proto())
        digests = []
        for _ in range(2):
            save_model(model, tmp_path / "a.onnx")
            names = ["a.onnx", "a.onnx.data"]
            assert sorted(p.name for p in tmp_path.iterdir()) == names
            digests.append([hashlib.sha256((tmp_path / n).read_bytes()).digest() for n in names])
        assert digests[0] == digests[1]
        assert (tmp_path / "a.onnx.data").stat().st_size == WEIGHT.nbytes
        expected = WEIGHT.sum(0, keepdims=True)
        np.testing.assert_allclose(output(tmp_path / "a.onnx"), expected, atol=1e-5)
        with pytest.raises(ValueError, match="2 GB"):
            serialize(model)

    def test_over_the_files_it_was_loaded_from(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(files, "PROTOBUF_LIMIT", 2000)
        save_model(ir.from_proto(proto()), tmp_path / "a.onnx")
        model = load_model(tmp_path / "a.onnx")
        first = ir.Value(name="first", const_value=ir.tensor(-WEIGHT, name="first"))
        model.graph.initializers.clear()
        weight = model.graph[0].inputs[1]
        model.graph.initializers.add(first)
        model.graph.initializers.add(weight)
        save_model(model, tmp_path / "a.onnx")
        np.testing.assert_array_equal(weight.const_value.numpy(), WEIGHT)
        again = load_model(tmp_path / "a.onnx")
        np.testing.assert_array_equal(again.graph.initializers["w"].const_value.numpy(), WEIGHT)
        np.testing.assert_array_equal(
            again.graph.initializers["first"].const_value.numpy(), -WEIGHT
        )

    def test_a_failure_leaves_the_old_file(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "a.onnx"
        save_model(ir.from_proto(proto()), path)
        before = path.read_bytes()

        def full(file: object, found: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(files, "_write", full)
        with pytest.raises(OutputError, match=r"a\.onnx: .* No space left on device"):
            save_model(ir.from_proto(proto()), path)
        assert path.read_bytes() == before
        assert [p.name for p in tmp_path.iterdir()] == ["a.onnx"]

    def test_into_a_folder_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(OutputError, match="cannot be written"):
            save_model(ir.from_proto(proto()), tmp_path / "no" / "a.onnx")

    def test_initializer_bytes_counts_attributes_too(self) -> None:
        text = """<ir_version: 8, opset_import: ["": 18]>
        g (float[3] x) => (float[3] y) <float[3] w = {1.0, 2.0, 3.0}> {
          c = Constant<value = float[3] {4.0, 5.0, 6.0}>() a = Add(x, c) y = Mul(a, w) }"""
        assert initializer_bytes(ir.from_onnx_text(text)) == 24


@pytest.mark.parametrize("location", ["w.bin\0x", "circle", "n" * 3000])
def test_what_is_no_name_of_a_file_is_refused(tmp_path: Path, location: str) -> None:
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    with pytest.raises(CheckpointError, match="external data of tensor 'w'"):
        load_model(external(tmp_path, location))


def test_weights_with_a_note_are_written_without_it(tmp_path: Path) -> None:
    m = proto()
    m.graph.initializer[0].doc_string = "made at /home/somebody"
    onnx.save(m, tmp_path / "in.onnx")
    save_model(load_model(tmp_path / "in.onnx"), tmp_path / "out.onnx")
    (w,) = onnx.load(tmp_path / "out.onnx").graph.initializer
    assert w.doc_string == ""
    assert np.array_equal(numpy_helper.to_array(w), WEIGHT)


def test_a_graph_that_no_message_can_hold_is_an_error_of_the_graph(tmp_path: Path) -> None:
    onnx.save(proto(), tmp_path / "in.onnx")
    model = load_model(tmp_path / "in.onnx")
    model.graph.inputs[0].dtype = 99  # type: ignore[assignment]
    with pytest.raises(GraphError, match="cannot be written"):
        serialize(model)


def test_a_sparse_weight_that_claims_more_than_a_message_holds_is_refused(tmp_path: Path) -> None:
    m = proto()
    (w,) = m.graph.initializer
    values = numpy_helper.from_array(np.ones(1, np.float32), w.name)
    sparse = m.graph.sparse_initializer.add(dims=[2**20, 2**20], values=values)
    sparse.indices.CopyFrom(numpy_helper.from_array(np.array([3]), "at"))
    del m.graph.initializer[:]
    (tmp_path / "m.onnx").write_bytes(m.SerializeToString())
    with pytest.raises(CheckpointError, match="'w' is broken: with its zeros"):
        load_model(tmp_path / "m.onnx")


def test_notes_that_stages_leave_for_each_other_are_not_taken_from_a_file(tmp_path: Path) -> None:
    m = proto()
    m.graph.input[0].metadata_props.add(key="compressor.noise", value="product")
    m.graph.node[0].metadata_props.add(key="compressor.noise", value="product")
    m.graph.node[0].metadata_props.add(key="pkg.torch.onnx.name_scopes", value="['', 'a', 'b']")
    m.metadata_props.add(key="compressor.execution", value="{}")
    onnx.save(m, tmp_path / "m.onnx")
    model = load_model(tmp_path / "m.onnx")
    assert dict(model.graph.inputs[0].metadata_props) == {}
    assert list(model.graph.node(0).metadata_props) == ["pkg.torch.onnx.name_scopes"]
    assert list(model.metadata_props) == ["compressor.execution"]
