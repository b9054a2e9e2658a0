"""What third parties print, warn and log becomes DEBUG lines of ours."""

import logging
import os
import sys
import warnings

import pytest

from compressor.system.third_party_output import relayed, relayed_output

logger = logging.getLogger("compressor.test")


def _chatter():
    sys.stdout.write("progress 50%\nprogress ")
    sys.stdout.write("100%\n")
    sys.stderr.write("to stderr\n")
    warnings.warn("this is deprecated", DeprecationWarning, stacklevel=1)
    logging.getLogger("torch.onnx._internal").error("broken: %s", "badly")
    logging.getLogger("onnxscript").warning("careful")


def test_everything_is_relayed(capfd, caplog):
    with caplog.at_level(logging.DEBUG, "compressor.test"), relayed(logger):
        _chatter()
    assert [(r.name, r.levelno) for r in caplog.records] == [("compressor.test", logging.DEBUG)] * 6
    assert sorted(r.getMessage() for r in caplog.records) == [
        "DeprecationWarning: this is deprecated",
        "onnxscript: careful",
        "progress 100%",
        "progress 50%",
        "to stderr",
        "torch.onnx._internal: broken: badly",
    ]
    assert capfd.readouterr() == ("", "")


def test_what_compiled_code_prints_is_relayed_also_before_an_error(capfd, caplog):
    with (
        caplog.at_level(logging.DEBUG, "compressor.test"),
        pytest.raises(ValueError, match="broken"),
        relayed_output(logger),
    ):
        os.write(1, b"graph(%x)\n  return (%y)\n")
        raise ValueError("broken")
    os.write(1, b"afterwards\n")
    assert [r.getMessage() for r in caplog.records] == ["graph(%x)", "  return (%y)"]
    assert capfd.readouterr() == ("afterwards\n", "")


def test_handlers_of_their_own_are_put_back_also_after_an_error(caplog):
    theirs = logging.getLogger("torch.something")
    handler = logging.StreamHandler()
    theirs.addHandler(handler)
    state = [(logging.getLogger(n).handlers[:], logging.getLogger(n).propagate) for n in ("torch",)]
    try:
        with pytest.raises(ValueError, match="theirs"), relayed(logger):
            assert theirs.handlers == []
            raise ValueError("theirs")
        assert theirs.handlers == [handler]
        after = [
            (logging.getLogger(n).handlers, logging.getLogger(n).propagate) for n in ("torch",)
        ]
        assert after == state
    finally:
        theirs.removeHandler(handler)


def test_other_loggers_are_left_alone(caplog):
    with caplog.at_level(logging.INFO), relayed(logger):
        logging.getLogger("my.training").info("mine")
    assert [(r.name, r.getMessage()) for r in caplog.records] == [("my.training", "mine")]
