"""What fits into memory together, and what does not fit alone."""

from calibration.windows import beyond, parts


def test_parts_keep_the_order_and_the_room():
    sizes = {"a": 3, "b": 4, "c": 9, "d": 1}
    assert parts(sizes, 8) == [["a", "b"], ["c"], ["d"]]
    assert parts({}, 8) == [[]]


def test_what_is_not_held_says_what_it_needs_and_what_there_is():
    assert beyond(10**9, 10**9) is None
    assert beyond(21_600_000_000, 10**9) == "21.6 GB are needed, and --memory allows 1.0 GB"
    assert beyond(1, None) is None
    assert "half of what is free" in str(beyond(10**18, None))
