"""Model repositories of Triton, what an artifact says of itself, and what is carried along."""

import json

import onnx
import pytest
from onnx import parser

from calibration.encoders.model_folder import ModelFolder
from compressor.commands.cache import cache
from compressor.commands.carrying import at_top, carry
from compressor.commands.packaging import config_of
from compressor.graph.stated import state
from exporters.base import Artifact

GRAPH = """
<ir_version: 8, opset_import: ["" : 17]>
g (float[{batch}, 3, H] image, int64[{batch}] step) => (float[{batch}, 3, H] y, int64[{batch}] s) {{
    y = Relu(image)
    s = Identity(step)
}}
"""


def written(tmp_path, batch="batch"):
    path = tmp_path / "model.onnx"
    onnx.save(parser.parse_model(GRAPH.format(batch=batch)), str(path))
    return path


def test_the_configuration_of_a_server_leaves_an_open_batch_to_it(tmp_path):
    config = config_of(written(tmp_path), "net", 2)
    assert 'name: "net"' in config
    assert "max_batch_size: 32" in config
    assert "dims: [ 3, -1 ]" in config
    assert "reshape: { shape: [ ] }" in config  # a number a sample
    assert "data_type: TYPE_INT64" in config
    assert 'key: "intra_op_thread_count" value: { string_value: "2" }' in config
    fixed = config_of(written(tmp_path, batch="4"), "net", 1)
    assert "max_batch_size: 0" in fixed
    assert "dims: [ 4, 3, -1 ]" in fixed
    assert "dynamic_batching" not in fixed


def test_the_schema_of_the_server_takes_it(tmp_path):
    schema = pytest.importorskip("tritonclient.grpc.model_config_pb2")
    from google.protobuf import text_format

    config = text_format.Parse(config_of(written(tmp_path), "net", 1), schema.ModelConfig())
    assert [one.name for one in config.input] == ["image", "step"]


def test_metadata_is_appended_to_a_file_as_it_lies(tmp_path):
    path = written(tmp_path)
    before = path.read_bytes()
    state(path, {"task": "image-classification", "names": "{0: 'cat'}"})
    assert path.read_bytes().startswith(before)
    model = onnx.load(str(path))
    onnx.checker.check_model(model)
    assert {one.key: one.value for one in model.metadata_props} == {
        "task": "image-classification",
        "names": "{0: 'cat'}",
    }


def test_configuration_and_tokenizer_are_carried_along(tmp_path):
    model, out = tmp_path / "model", tmp_path / "out"
    (model / "1_Pooling").mkdir(parents=True)
    out.mkdir()
    for name in ("config.json", "tokenizer.json", "1_Pooling/config.json"):
        (model / name).write_text(json.dumps({"name": name}))
    (model / "model.safetensors").write_bytes(b"weights")
    (out / "config.json").write_text("ours")
    assert carry(ModelFolder(model, {}), out) == ("tokenizer.json", "1_Pooling/config.json")
    assert (out / "config.json").read_text() == "ours"
    assert not (out / "model.safetensors").exists()
    assert carry(None, out) == ()


def test_graphs_of_a_folder_lie_where_optimum_looks(tmp_path):
    (tmp_path / "decoder_model").mkdir()
    path = tmp_path / "decoder_model" / "model.onnx"
    path.write_bytes(b"onnx")
    moved = at_top("decoder_model", Artifact(path, (path,)), tmp_path)
    assert moved.model == tmp_path / "decoder_model.onnx"
    assert moved.model.is_file()
    assert not path.parent.exists()
    (tmp_path / "model").mkdir()
    path = tmp_path / "model" / "model.onnx"
    path.write_bytes(b"onnx")
    assert at_top("model", Artifact(path, (path,)), tmp_path).model == tmp_path / "model.onnx"


def test_a_cache_is_shown_and_cleared(tmp_path):
    (tmp_path / "latencies").mkdir()
    (tmp_path / "latencies" / f"{'0a' * 16}.json").write_text("{}")
    (tmp_path / f"{'3f' * 16}.npz").write_bytes(b"123")
    for name in ("notes.txt", "calib.npz", "report.json"):
        (tmp_path / name).write_text("mine")
    found = cache(tmp_path)
    assert (found.entries, found.bytes) == (2, 5)
    assert cache(tmp_path, clear=True).cleared
    assert cache(tmp_path).entries == 0
    assert all((tmp_path / name).exists() for name in ("notes.txt", "calib.npz", "report.json"))
