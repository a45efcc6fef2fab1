"""Profiler: what an operator costs on a device."""

from profiler.campaigns.campaign import plan_tasks, run_campaign
from profiler.campaigns.events import TRIES, Event, Judged, Refused, Taken, Task
from profiler.campaigns.measure import Pace, Unmeasurable, take_samples
from profiler.campaigns.process import ProcessDied, in_fresh_process
from profiler.campaigns.stream import campaign_stream
from profiler.campaigns.together import Together, measure_together
from profiler.measurement import Gate, Measurement, Modes, Slice, Status
from profiler.operators.cells import Cell, EqualCells, NormHead, ResidualBlock
from profiler.operators.chains import chain_from_key, chain_to_key, check_chain
from profiler.operators.costs import macs, parameters, total_macs, total_parameters
from profiler.operators.darts_cells import CellStack, PoolHead, Preparation
from profiler.operators.kernels import kernels_of
from profiler.operators.ops import (
    Chain,
    Conv,
    Head,
    MBConv,
    OpSpec,
    Pool,
    Skip,
    Unified,
)
from profiler.operators.probes import METHOD, carrier, contexts, in_context, terms
from profiler.student_t import student_t_quantile
from profiler.whole_models.percentiles import Percentile, percentile
from profiler.whole_models.steps import (
    HardwareSteps,
    Step,
    Sweep,
    find_step,
    measure_steps,
    top_of_step,
)
from profiler.whole_models.sustained import Level, Sustained, Window, sustained_from
from profiler.whole_models.sustained_load import measure_sustained, run_sustained
from profiler.whole_models.whole_model import COVERAGE, ModelProfile, profile_model, profile_steps

__all__ = [
    "COVERAGE",
    "METHOD",
    "TRIES",
    "Cell",
    "CellStack",
    "Chain",
    "Conv",
    "EqualCells",
    "Event",
    "Gate",
    "HardwareSteps",
    "Head",
    "Judged",
    "Level",
    "MBConv",
    "Measurement",
    "ModelProfile",
    "Modes",
    "NormHead",
    "OpSpec",
    "Pace",
    "Percentile",
    "Pool",
    "PoolHead",
    "Preparation",
    "ProcessDied",
    "Refused",
    "ResidualBlock",
    "Skip",
    "Slice",
    "Status",
    "Step",
    "Sustained",
    "Sweep",
    "Taken",
    "Task",
    "Together",
    "Unified",
    "Unmeasurable",
    "Window",
    "campaign_stream",
    "carrier",
    "chain_from_key",
    "chain_to_key",
    "check_chain",
    "contexts",
    "find_step",
    "in_context",
    "in_fresh_process",
    "kernels_of",
    "macs",
    "measure_steps",
    "measure_sustained",
    "measure_together",
    "parameters",
    "percentile",
    "plan_tasks",
    "profile_model",
    "profile_steps",
    "run_campaign",
    "run_sustained",
    "student_t_quantile",
    "sustained_from",
    "take_samples",
    "terms",
    "top_of_step",
    "total_macs",
    "total_parameters",
]
