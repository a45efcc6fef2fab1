"""Slices and the verdicts on them, paired."""

from profiler import Event, Judged, Slice, Taken
from profiler.campaigns.events import judged_slices


def taken(id_: int, *, number: int = 0) -> Taken:
    return Taken(
        id=id_, number=number, slice=Slice(process=0, round=id_, repeats=1, samples_s=(1.0,))
    )


def judged(*ids: int, elapsed_s: float = 1.0) -> Judged:
    return Judged(ids=ids, gate="clean", redo=0, elapsed_s=elapsed_s)


def test_a_slice_comes_with_the_verdict_on_its_group() -> None:
    first, second, third = taken(0), taken(1), taken(2)
    together, alone = judged(0, 1), judged(2)
    pairs = judged_slices([first, second, together, third, alone])
    assert list(pairs) == [(first, together), (second, together), (third, alone)]


def test_what_nobody_judged_is_left_out_and_numbers_may_begin_anew() -> None:
    # The second slice was in flight when its process was killed; the next one counts from 0.
    events: list[Event] = [taken(0), judged(0), taken(1), taken(0, number=7), judged(0)]
    assert [piece.number for piece, _ in judged_slices(events)] == [0, 7]
