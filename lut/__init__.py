"""Lookup tables: what was measured, and what it predicts."""

from lut.calibration import (
    Layered,
    NotCalibrated,
    calibration_networks,
    latency_model,
    macs_model,
)
from lut.check import Accuracy, CheckReport, check_report
from lut.differences.diff import TableDiff, diff_files, diff_tables
from lut.exchange.foreign import ForeignList, load_foreign
from lut.exchange.formats import export_table, import_table
from lut.feedback import feed_back
from lut.files.sqlite_file import StorageFull
from lut.files.storage import Role, TableFile, create_table, open_table
from lut.fill import Effort, Progress, current_conditions, fill_table, table_for
from lut.intervals import ErrorBand
from lut.merge import merge_tables
from lut.model import LatencyBudget, LatencyModel, Prices, within
from lut.table import (
    Conditions,
    LatencyTable,
    MissingLatency,
    WrongConditions,
    conditions_from_meta,
    load_table,
    table_from_file,
)
from lut.target import LatencyTarget

__all__ = [
    "Accuracy",
    "CheckReport",
    "Conditions",
    "Effort",
    "ErrorBand",
    "ForeignList",
    "LatencyBudget",
    "LatencyModel",
    "LatencyTable",
    "LatencyTarget",
    "Layered",
    "MissingLatency",
    "NotCalibrated",
    "Prices",
    "Progress",
    "Role",
    "StorageFull",
    "TableDiff",
    "TableFile",
    "WrongConditions",
    "calibration_networks",
    "check_report",
    "conditions_from_meta",
    "create_table",
    "current_conditions",
    "diff_files",
    "diff_tables",
    "export_table",
    "feed_back",
    "fill_table",
    "import_table",
    "latency_model",
    "load_foreign",
    "load_table",
    "macs_model",
    "merge_tables",
    "open_table",
    "table_for",
    "table_from_file",
    "within",
]
