"""Measurements whose ratios can be checked by hand."""

from profiler import Measurement, Slice


def measured(*ratios: float) -> Measurement:
    """Return one slice a process, whose canary takes 1 s in the first and 2 s in the others."""
    return Measurement(
        slices=tuple(
            Slice(
                process=number,
                round=0,
                gate="clean",
                repeats=1,
                samples_s=(ratio * (1 + (number > 0)),) * 3,
                reference_s=(1.0 + (number > 0),) * 3,
            )
            for number, ratio in enumerate(ratios)
        )
    )
