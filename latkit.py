"""The command line: assembles the verbs of the packages. The only module that prints."""

import json
import os
import sys
import traceback
from typing import Any

import typer
from rich.console import Console
from typer.core import TyperGroup

from devices import LatkitError
from export.verbs import measure as measure_verbs
from export.verbs import ship as ship_verbs
from export.verbs.page import report
from export.verbs.proxies import proxies
from export.verbs.report import OK, Report, UsageError, usage_line
from export.verbs.search import search_app
from export.verbs.table import table_app
from export.verbs.train import train_app

REFUSED, CRASHED, INTERRUPTED = 2, 3, 130
"""Exit statuses beside those of a verb that was carried out: a deliberate error; a bug; Ctrl-C."""

EXTRAS = {
    **dict.fromkeys(("torch", "timm", "sklearn", "PIL", "pymoo", "onnxscript"), "train"),
    "matplotlib": "report",
    "pyarrow": "parquet",
    "nats_bench": "nats",
}
"""Modules that a plain install lacks, and the extra that brings each."""

ROAD = (
    *("devices", "spaces", "profile", "table", "predict", "explain"),
    *("train", "proxies", "search", "export", "verify", "report", "demo"),
)
"""The verbs in the order in which they are needed, and shown."""

TABLE_VERBS = ("show", "check", "diff", "merge", "transfer", "export", "import")


class Road(TyperGroup):
    """The verbs in the order of `ROAD`."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return their names; fails where one has no place in the order."""
        return sorted(super().list_commands(ctx), key=ROAD.index)


app = typer.Typer(
    cls=Road,
    help="Measure how long a network's operators take on your device, search for the most "
    "accurate network within a latency budget, export it and verify that it keeps the promise.",
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    add_completion=False,
)


def main(argv: list[str] | None = None) -> int:
    """Run one verb; return the exit status."""
    # Threads that spin long while they wait stall each other wherever cores are shared; torch's
    # OpenMP reads this when it is first imported.
    os.environ.setdefault("GOMP_SPINCOUNT", "2000")
    args = list(sys.argv[1:] if argv is None else argv)
    if args[:1] == ["table"] and args[1:2] and args[1] not in (*TABLE_VERBS, "--help"):
        args.insert(1, "show")  # latkit table T.lut
    if args in ([], ["table"], ["train"], ["search"]):
        args.append("--help")
    try:
        return _run(args)
    except LatkitError as error:
        return _complain(str(error), REFUSED)
    except ModuleNotFoundError as error:
        return _missing_module(error)
    except UsageError as error:
        return _complain(usage_line(error), REFUSED)
    except (KeyboardInterrupt, typer.Abort):
        return _complain("interrupted; run the same command again to go on", INTERRUPTED)
    except Exception as error:  # noqa: BLE001 - whatever it is, it must not read as "missed"
        return _crash(error)


def _run(args: list[str]) -> int:
    said = app(args=args, prog_name="latkit", standalone_mode=False)
    if not isinstance(said, Report):
        return int(said or OK)
    try:
        if said.as_json:
            print(json.dumps(said.figures, indent=2))
        else:
            Console().print(said.view())
        sys.stdout.flush()
    except BrokenPipeError:  # who reads has seen enough, as `head` has
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return said.status


def _complain(message: str, status: int) -> int:
    print(f"latkit: {' '.join(message.split())}", file=sys.stderr)
    return status


def _missing_module(error: ModuleNotFoundError) -> int:
    if error.name not in EXTRAS:
        return _crash(error)
    extra = EXTRAS[error.name]
    message = f"this needs {error.name}, which is not installed: pip install 'latkit[{extra}]'"
    return _complain(message, REFUSED)


def _crash(error: Exception) -> int:
    traceback.print_exception(error)
    return _complain("this is a bug in latkit; what was measured is kept", CRASHED)


for _verb in (
    *(measure_verbs.devices, measure_verbs.spaces, measure_verbs.profile),
    *(measure_verbs.predict, measure_verbs.explain, proxies),
    *(ship_verbs.export, ship_verbs.verify, report, ship_verbs.demo),
):
    app.command()(_verb)
for _name, _group in (("table", table_app), ("train", train_app), ("search", search_app)):
    app.add_typer(_group, name=_name)


if __name__ == "__main__":
    sys.exit(main())
