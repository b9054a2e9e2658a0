import json

import pytest

from calibration.sources.columns import columns_of, label_numbers
from calibration.sources.tables import Table, parted, read_table
from compressor.errors import DataError

ROWS = [("a good film", "POSITIVE"), ('a "bad" film, long', "NEGATIVE")]
NAMES = ("NEGATIVE", "POSITIVE")


def written(path):
    if path.suffix in (".csv", ".tsv"):
        mark = "\t" if path.suffix == ".tsv" else ","
        quoted = ['"' + text.replace('"', '""') + '"' for text, _ in ROWS]
        lines = [mark.join(pair) for pair in zip(quoted, [label for _, label in ROWS], strict=True)]
        path.write_text("\n".join([f"text{mark}label", *lines, ""]), encoding="utf-8-sig")
    elif path.suffix == ".jsonl":
        rows = (json.dumps({"text": text, "label": label}) for text, label in ROWS)
        path.write_text("\n".join(rows))
    else:
        pa = pytest.importorskip("pyarrow")
        import pyarrow.parquet

        pyarrow.parquet.write_table(
            pa.table({"text": [t for t, _ in ROWS], "label": [n for _, n in ROWS]}), path
        )
    return path


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_tables_of_every_kind_hold_the_same(tmp_path, ending):
    table = read_table(written(tmp_path / f"reviews{ending}"), (), "calibration")
    assert list(table.columns["text"]) == [text for text, _ in ROWS]
    columns = columns_of(table, NAMES)
    assert (columns.kind, columns.inputs, columns.label) == ("text", ("text",), "label")
    assert label_numbers(table, "label", NAMES).tolist() == [1, 0]


def test_columns_are_named_behind_a_colon(tmp_path):
    path = written(tmp_path / "my reviews.csv")
    assert parted(f"{path}:text,label") == (path, ("text", "label"))
    assert parted(str(path)) == (path, ())
    assert parted(tmp_path / "data.py:function") is None
    assert parted("package.module:function") is None
    table = read_table(path, ("text",), "calibration")
    assert columns_of(table, NAMES).label is None


def test_a_saved_dataset_is_read_without_its_package(tmp_path):
    pa = pytest.importorskip("pyarrow")
    folder = tmp_path / "saved"
    folder.mkdir()
    table = pa.table({"sentence": ["a good film", "a bad one"], "label": [1, 0]})
    with (
        pa.OSFile(str(folder / "data-0.arrow"), "wb") as file,
        pa.ipc.new_stream(file, table.schema) as stream,
    ):
        stream.write_table(table)
    features = {"label": {"names": ["negative", "positive"], "_type": "ClassLabel"}}
    (folder / "dataset_info.json").write_text(json.dumps({"features": features}))
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": "data-0.arrow"}]}))
    assert parted(folder) == (folder, ())
    found = read_table(folder, (), "calibration")
    assert columns_of(found, NAMES).inputs == ("sentence",)
    # The data counts its classes in another order than the model: names decide.
    assert label_numbers(found, "label", ("POSITIVE", "NEGATIVE")).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", "text,label\nfine,1,2\n", "line 2 has 3 fields"),
        ("a.csv", "fine,fine\n", "expected the names of its columns"),
        ("a.csv", "text,label\n", "expected rows, found none"),
        ("a.jsonl", '{"text": "a"}\nno\n', "line 2 is not JSON"),
        ("a.jsonl", "[1]\n", "is a JSON list"),
        ("a.jsonl", '{"text": "a"}\n{"other": "a"}\n', "object 2 has no 'text'"),
        ("a.txt", b"\xff\xfe\xff", "cannot be read"),
    ],
)
def test_what_is_wrong_with_a_table_is_said(tmp_path, name, content, said):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError, match=said):
        read_table(path, (), "calibration")


def test_a_missing_column_and_an_unclear_one_name_those_there_are(tmp_path):
    path = written(tmp_path / "reviews.csv")
    with pytest.raises(DataError, match="has no column 'texts': it has text, label") as info:
        read_table(path, ("texts",), "calibration")
    assert info.value.hint == "Did you mean 'text'?"
    table = Table({"one": ["a b", "c d"], "two": ["e f", "g h"]}, "data")
    with pytest.raises(DataError, match="which of its columns is the text"):
        columns_of(table, ())


def test_labels_are_the_models_own(tmp_path):
    table = Table({"text": ["a", "b"], "label": ["positive", "fine"]}, "data x.csv")
    with pytest.raises(
        DataError, match=r"label 'fine' of row 2 is no class: .* NEGATIVE, POSITIVE"
    ):
        label_numbers(table, "label", NAMES)
    assert label_numbers(Table({"label": ["1", "0"]}, "x"), "label", ()).tolist() == [1, 0]
    assert label_numbers(Table({"label": [0.5, 1]}, "x"), "label", ()).dtype == "float32"


def test_two_texts_that_belong_together():
    table = Table({"premise": ["a b"], "hypothesis": ["c d"], "label": [0]}, "x")
    assert columns_of(table, ()).inputs == ("premise", "hypothesis")
