"""Load what a run has trained, whatever kind of supernet that is."""

from pathlib import Path

from search.splits.routed import load_routed
from search.training.runs import FEW_SHOT, read_record
from search.training.trained import TrainedRun, load_shared


def load_supernet(run_dir: Path) -> TrainedRun:
    """Load what a run has trained so far; of a few-shot run all children, as one supernet.

    Raises:
        InvalidFile: There is no run, no finished epoch, or its files are damaged or do not fit.
        UnknownName: Its space is not known here.
    """
    record = read_record(run_dir)
    return load_routed(run_dir) if record.method in FEW_SHOT else load_shared(run_dir, record)
