"""Raw samples of a finished folder."""

import json

import numpy as np
import pytest
from hub_folders import tokenizer_of

from compressor.errors import DataError, UsageError
from compressor.pipelines.raw_samples import inputs_of

pytest.importorskip("tokenizers")
NAMES = ("input_ids", "attention_mask")


@pytest.fixture
def folder(tmp_path):
    size = tokenizer_of(tmp_path)
    config = {"architectures": ["BertModel"], "vocab_size": size}
    (tmp_path / "config.json").write_text(json.dumps(config))
    return tmp_path


def test_texts_are_filled_up_to_the_longest(folder):
    made = inputs_of(["a film", "a good long film"], folder, NAMES)
    assert made["input_ids"].shape == (2, 6)
    assert made["attention_mask"].tolist() == [[1, 1, 1, 1, 0, 0], [1] * 6]
    fixed = inputs_of(["a film"], folder, NAMES, length=8)
    assert fixed["attention_mask"].sum() == 4
    assert fixed["input_ids"].shape == (1, 8)


def test_pairs_are_read_together_and_others_refused(folder):
    made = inputs_of([("a film", "a book")], folder, NAMES)
    assert made["input_ids"].shape == (1, 7)
    with pytest.raises(DataError, match="expected texts, or pairs of texts, found int"):
        inputs_of([3], folder, NAMES)


def test_a_folder_that_reads_nothing_says_so(tmp_path):
    with pytest.raises(UsageError, match=r"has no config\.json") as info:
        inputs_of(["a"], tmp_path, ("image",))
    assert "image" in info.value.hint
    (tmp_path / "config.json").write_text(json.dumps({"architectures": ["X"]}))
    with pytest.raises(UsageError, match="says how raw samples become inputs"):
        inputs_of([np.zeros(3)], tmp_path, ("image",))
