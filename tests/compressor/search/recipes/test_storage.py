"""A folder's journal, or a database that several share."""

from pathlib import Path

import pytest
from studies import evaluate, opened

from compressor.errors import UsageError
from compressor.search.recipes.storage import JOURNAL

pytest.importorskip("optuna")


def test_a_line_that_a_killed_process_began_is_dropped(tmp_path: Path) -> None:
    study = opened(tmp_path)
    evaluate(study, study.ask())
    whole = (tmp_path / JOURNAL).read_bytes()
    (tmp_path / JOURNAL).write_bytes(whole + b'{"op_code": 5, "wor')
    assert len(opened(tmp_path).told()) == 1
    assert (tmp_path / JOURNAL).read_bytes() == whole


@pytest.mark.parametrize(
    "url", ["postgresql+nodriver://me:secret@nowhere/db", "no url", "sqlite:////nowhere/at/all.db"]
)
def test_a_storage_that_cannot_be_opened_is_told_in_a_line(tmp_path: Path, url: str) -> None:
    with pytest.raises(UsageError, match="cannot be opened") as found:
        opened(tmp_path, storage=url)
    assert "\n" not in found.value.message
    assert "secret" not in str(found.value)


def test_several_join_a_study_in_a_database(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/study.db"
    one = opened(tmp_path, storage=url)
    other = opened(tmp_path, storage=url)
    for study in (one, other, one):
        evaluate(study, study.ask())
    assert [told.number for told in one.told()] == [0, 1, 2]
    assert len(other.told()) == 3
    for study in (one, other):
        study.close()
