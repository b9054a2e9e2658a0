"""Two models whose inputs no one set of feeds serves."""

from pathlib import Path

import pytest
from cached_decoder import calls, decoder
from graphs import model

from compressor import compare
from compressor.errors import UsageError
from compressor.graph.cache_notes import CacheNote
from compressor.graph.files import save_model
from compressor.quantization.cache import with_integer_caches


def saved(graph: object, path: Path) -> Path:
    save_model(graph, path)  # type: ignore[arg-type]
    return path


def test_a_cache_of_integers_is_told_with_what_compares_it(tmp_path: Path) -> None:
    graph = decoder()
    caches = {
        "past_key": CacheNote("present_key", 0.02, 128, transposed=True),
        "past_value": CacheNote("present_value", 0.02, 128, transposed=False),
    }
    first = saved(graph, tmp_path / "float.onnx")
    second = saved(with_integer_caches(graph, caches), tmp_path / "integers.onnx")
    with pytest.raises(UsageError, match="its cache in integers") as raised:
        compare(first, second, calibration=calls())
    assert "--pipeline text-generation" in str(raised.value.hint)


def test_other_inputs_are_told(tmp_path: Path) -> None:
    one = model("g (float[n,2] a, float[n,2] b) => (float[n,2] y) { y = Add(a, b) }")
    other = model("g (float[n,2] a, float[n,2] c) => (float[n,2] y) { y = Add(a, c) }")
    files = saved(one, tmp_path / "one.onnx"), saved(other, tmp_path / "other.onnx")
    with pytest.raises(UsageError, match=r"take different inputs: a:.*b:.* against a:") as raised:
        compare(*files)
    assert raised.value.hint == "Compare models of the same signature."
