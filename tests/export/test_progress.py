from export.progress import TimeLeft


def test_nothing_is_said_of_the_time_left_before_anything_was_done() -> None:
    time_left = TimeLeft()
    assert time_left(40, 100) == ""  # a run that was resumed begins at 40
    assert time_left(40, 100) == ""


def test_no_time_is_left_of_what_is_done() -> None:
    time_left = TimeLeft()
    time_left(40, 100)
    assert time_left(100, 100) == ", 0 s left"
