"""The command line: assembles the verbs of the packages. The only module that prints."""

import json
import os
import sys
import traceback
from io import TextIOWrapper
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
    _prepare()
    try:
        return _run(_completed(sys.argv[1:] if argv is None else argv))
    except LatkitError as error:
        return _complain(str(error), REFUSED)
    except ModuleNotFoundError as error:
        return _missing_module(error)
    except UsageError as error:
        return _complain(usage_line(error), REFUSED)
    except KeyboardInterrupt:
        return _complain("interrupted; run the same command again to go on", INTERRUPTED)
    except typer.Abort as error:  # how typer passes on that a file ended too early
        return _crash(error.__cause__ or error)
    except Exception as error:  # noqa: BLE001 - whatever it is, it must not read as "missed"
        return _crash(error)


def _prepare() -> None:
    """Set what holds for the whole process."""
    # Threads that spin long while they wait stall each other wherever cores are shared; torch's
    # OpenMP reads this when it is first imported.
    os.environ.setdefault("GOMP_SPINCOUNT", "2000")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # paths may hold what a terminal cannot show
            stream.reconfigure(errors="backslashreplace")


def _completed(argv: list[str]) -> list[str]:
    """Return the arguments with the verb or the option that is meant where none stands."""
    args = list(argv)
    if args[:1] == ["table"] and args[1:2] and args[1] not in (*TABLE_VERBS, "--help"):
        args.insert(1, "show")  # latkit table T.lut
    if args in ([], ["table"], ["train"], ["search"]):
        args.append("--help")
    return args


def _run(args: list[str]) -> int:
    said = app(args=args, prog_name="latkit", standalone_mode=False)
    if said == INTERRUPTED:  # what typer makes of Ctrl-C
        raise KeyboardInterrupt
    if not isinstance(said, Report):
        return int(said or OK)
    try:
        _show(said)
    except BrokenPipeError:  # who reads has seen enough, as `head` has
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        return _complain(f"cannot print: {error.strerror}; what was made is kept", REFUSED)
    return said.status


class Screen(Console):
    """Standard output, where a reader that has gone away is no failure of the verb."""

    def on_broken_pipe(self) -> None:
        """Leave that to whoever prints; called where a BrokenPipeError is handled."""
        raise


def _show(said: Report) -> None:
    """Print figures for machines, or what people are shown."""
    if said.as_json:
        print(json.dumps(said.figures, indent=2))
    else:
        Screen().print(said.view(), markup=False)  # a path may hold [brackets]
    if sys.stdout is not None:  # as where it was closed: latkit ... >&-
        sys.stdout.flush()


def _complain(message: str, status: int) -> int:
    print(f"latkit: {' '.join(message.split())}", file=sys.stderr)
    return status


def _missing_module(error: ModuleNotFoundError) -> int:
    if error.name not in EXTRAS:
        return _crash(error)
    extra = EXTRAS[error.name]
    message = f"this needs {error.name}, which is not installed: pip install 'latkit[{extra}]'"
    return _complain(message, REFUSED)


def _crash(error: BaseException) -> int:
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
