import io
import re
import threading

import pytest
from rich.console import Console

from compressor.report import terminal_progress
from compressor.report.terminal import RichProgress
from compressor.system.progress import SILENT, Progress


@pytest.fixture
def told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stages leave a line however short they were."""
    monkeypatch.setattr(terminal_progress, "SHORTEST_TOLD", 0.0)


def run(progress: Progress) -> None:
    with progress.stage("calibrate", total=64) as advance, progress.stage("collect"):
        advance(32)
        advance(32)


def on_terminal() -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=80, color_system=None)


def text_of(console: Console) -> str:
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


def test_silence(capfd: pytest.CaptureFixture[str]) -> None:
    run(SILENT)
    assert capfd.readouterr() == ("", "")


@pytest.mark.usefixtures("told_at_once")
def test_a_pipe_gets_one_line_a_stage_and_no_control_codes() -> None:
    console = Console(file=io.StringIO(), force_terminal=False, width=80)
    run(RichProgress(console))
    assert re.fullmatch(r"collect: 0\.\d\d s\ncalibrate: 0\.\d\d s\n", text_of(console))


def test_a_short_stage_leaves_nothing_behind() -> None:
    console = Console(file=io.StringIO(), force_terminal=False, width=80)
    run(RichProgress(console))
    assert text_of(console) == ""


def test_a_log_is_told_how_far_a_long_stage_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal_progress, "BETWEEN_LINES", 0.0)
    console = Console(file=io.StringIO(), force_terminal=False, width=80)
    progress = RichProgress(console)
    with progress.stage("block by block", total=4) as blocks:
        blocks(1)
        with progress.stage("open"), progress.stage("round", total=8) as rounded:
            rounded(2)
            rounded(6)
    first, second, third = text_of(console).splitlines()
    assert re.fullmatch(r"block by block 1/4, 0\.\d\d s left", first)
    assert re.fullmatch(r"block by block 1/4, 0\.\d\d s left, round 2/8, 0\.\d\d s left", second)
    assert "round" not in third, "it is done, and says so as it ends"


def test_a_log_is_not_told_what_it_just_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal_progress, "BETWEEN_LINES", 3600.0)
    console = Console(file=io.StringIO(), force_terminal=False, width=80)
    run(RichProgress(console))
    assert text_of(console) == ""


@pytest.mark.usefixtures("told_at_once")
def test_a_terminal_shows_how_far_a_stage_is() -> None:
    console = on_terminal()
    run(RichProgress(console))
    text = text_of(console)
    assert "32/64" in text
    assert re.search(r"0\.\d\d s left", text), "as long as the first half took"
    assert "calibrate: 0." in text
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h") == 1


@pytest.mark.usefixtures("told_at_once")
def test_a_failed_stage_gives_the_terminal_back() -> None:
    console = on_terminal()
    progress = RichProgress(console)
    with pytest.raises(KeyboardInterrupt), progress.stage("measure"):
        raise KeyboardInterrupt
    assert "\x1b[?25h" in text_of(console)
    assert "measure: " not in text_of(console)
    run(progress)
    assert "calibrate: 0." in text_of(console)


def test_a_stage_of_unknown_length_has_a_name_and_no_bar() -> None:
    console = on_terminal()
    with RichProgress(console).stage("capture"):
        assert "capture" in text_of(console)
    assert "━" not in text_of(console)


@pytest.mark.usefixtures("told_at_once")
def test_names_of_stages_are_not_markup() -> None:
    console = on_terminal()
    with RichProgress(console).stage("[red]fold[/red]"):
        pass
    assert "[red]fold[/red]: 0." in text_of(console)


def test_no_thread_redraws_while_something_is_measured() -> None:
    before = threading.active_count()
    with RichProgress(on_terminal()).stage("measure"):
        assert threading.active_count() == before


def test_notice_is_told_at_once_on_a_line_of_its_own() -> None:
    stream = io.StringIO()
    progress: Progress = RichProgress(Console(file=stream, width=200))
    with progress.stage("search"):
        progress.notice("the budget cannot be confirmed: 7 of 3,600 [samples]")
    assert "* The budget cannot be confirmed: 7 of 3,600 [samples].\n" in stream.getvalue()
    SILENT.notice("nobody hears it")
