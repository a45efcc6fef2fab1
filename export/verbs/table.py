"""``latkit table``: look at a table, check it, compare, merge or convert it."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import typer

from devices import device_named
from export.verbs.options import Device, Json, Seed, SpaceOfTable, TablePath
from export.verbs.report import MISSED, OK, Report
from lut import Effort, load_table

table_app = typer.Typer(
    rich_markup_mode=None,
    help="Look at a table, check it, compare, merge or convert it: latkit table T.lut",
)


@table_app.command("show")
def table_show(path: TablePath, as_json: Json = False) -> Report:
    """Coverage, slowest operators, conditions and doubts of a table."""
    from lut.plans.plan_file import holds_plans

    if holds_plans(path):
        from lut.plans.plan_table import load_plans
        from lut.plans.views import plans_facts, plans_view

        plans = plans_facts(load_plans(path))
        return Report(figures=plans, view=lambda: plans_view(plans), as_json=as_json)
    from lut.exchange.foreign import load_foreign
    from lut.on_paper.estimates import EstimatedTable, any_table
    from lut.views import (
        estimates_facts,
        estimates_view,
        foreign_facts,
        foreign_view,
        summary,
        table_view,
    )

    table = any_table(path)
    if isinstance(table, EstimatedTable):
        facts, guessed = estimates_facts(table), table
        return Report(figures=facts, view=lambda: estimates_view(guessed, facts), as_json=as_json)
    foreign = load_foreign(path)
    figures = summary(table) | foreign_facts(foreign)
    if foreign:
        return Report(figures=figures, view=lambda: foreign_view(foreign, figures), as_json=as_json)
    return Report(figures=figures, view=lambda: table_view(table, figures), as_json=as_json)


@table_app.command("check")
def table_check(
    path: TablePath,
    nets: Annotated[int, typer.Option(min=3, help="Whole networks to measure.")] = 32,
    space: SpaceOfTable = None,
    processes: Annotated[int, typer.Option(min=2, help="Fresh processes to measure in.")] = 6,
    seed: Seed = 1,
    as_json: Json = False,
) -> Report:
    """Measure unseen whole networks and compare with the predictions; exit 1 unless all is well."""
    from export.progress import measuring
    from lut.views import check_json, check_view
    from search.pricing.tables import CHECK_EFFORT, check_space, space_of

    effort = replace(CHECK_EFFORT, processes=processes)
    covered = space_of(load_table(path), space)
    with measuring(f"checking {path}", quiet=as_json) as on_progress:
        report = check_space(
            path, covered, nets=nets, seed=seed, effort=effort, on_progress=on_progress
        )
    return Report(
        figures=check_json(report),
        view=lambda: check_view(report),
        as_json=as_json,
        status=OK if report.status == "ok" else MISSED,
    )


@table_app.command("diff")
def table_diff(
    a: Annotated[Path, typer.Argument(metavar="A.lut", help="The table to compare with.")],
    b: Annotated[Path, typer.Argument(metavar="B.lut", help="The table in question.")],
    archs: Annotated[
        list[Path] | None, typer.Option(help="ARCH.json: which of them change their verdict?")
    ] = None,
    margin: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Relative changes that matter.")
    ] = 0.02,
    false_positives: Annotated[
        float,
        typer.Option(min=1e-6, max=0.5, help="Probability that anything unchanged is called."),
    ] = 0.05,
    as_json: Json = False,
) -> Report:
    """SAME, FASTER, SLOWER or UNDECIDED for every operator; what that does to architectures."""
    from export.verbs.stored import promises_of
    from lut.differences.diff import Rule, diff_files
    from lut.differences.promises import kept_promises
    from lut.differences.views import diff_json, diff_view

    diff = diff_files(a, b, rule=Rule(margin=margin, false_positives=false_positives))
    tables = load_table(a), load_table(b)
    promises = promises_of(archs or [], device=tables[0].conditions.device.name)
    kept = kept_promises(*tables, promises)
    return Report(
        figures=diff_json(diff, kept), view=lambda: diff_view(diff, kept), as_json=as_json
    )


@table_app.command("merge")
def table_merge(
    a: Annotated[Path, typer.Argument(metavar="A.lut", help="A latency table.")],
    b: Annotated[Path, typer.Argument(metavar="B.lut", help="Another, of equal conditions.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The new table.")],
    as_json: Json = False,
) -> Report:
    """All measurements of two tables in a new one; those in both once."""
    from lut.merge import merge_tables

    done = merge_tables(a, b, output)
    figures = {"table": str(output), **asdict(done)}
    text = (
        f"{output}: {done.slices} slices, {done.added} of them from {b} alone; {done.shared} "
        f"were in both; {done.renumbered} processes got another number"
    )
    return Report(figures=figures, view=lambda: text, as_json=as_json)


@table_app.command("transfer")
def table_transfer(
    known: Annotated[
        list[Path], typer.Argument(metavar="KNOWN.lut...", help="Tables of other devices.")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="The table of estimates.")],
    device: Device,
    probes: Annotated[
        int, typer.Option(min=4, help="Whole networks to measure on the device.")
    ] = 10,
    measured: Annotated[
        Path | None, typer.Option(help="Where what is measured goes; beside the table if left out.")
    ] = None,
    space: SpaceOfTable = None,
    processes: Annotated[int, typer.Option(min=2, help="Fresh processes to measure in.")] = 5,
    seed: Seed = 0,
    as_json: Json = False,
) -> Report:
    """Estimate a new device's table from others, and a few networks measured on it.

    More --probes refine it: what was measured stays. latkit profile on that file makes it whole.
    """
    from export.progress import measuring
    from lut.views import estimates_facts, estimates_view
    from search.pricing.few_probes import transfer_space

    spec = device_named(device)
    kept = measured or output.with_suffix(f".measured{output.suffix}")
    with measuring(f"measuring {probes} networks on {device}", quiet=as_json) as on_progress:
        table, progress = transfer_space(
            output,
            known,
            spec,
            measured=kept,
            probes=probes,
            space=space,
            effort=Effort(processes=processes, seed=seed),
            on_progress=on_progress,
        )
    facts = estimates_facts(table) | {"measured": str(kept), "device_s": progress.device_s}
    return Report(figures=facts, view=lambda: estimates_view(table, facts), as_json=as_json)


@table_app.command("export")
def table_export(
    path: TablePath,
    to: Annotated[str, typer.Option("--to", help="csv, json, parquet or ofa.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The file to write.")],
    as_json: Json = False,
) -> Report:
    """Everything as CSV, JSON or Parquet; latencies as YAML of Once-for-All and ProxylessNAS."""
    from lut.exchange.formats import export_table

    done = export_table(path, output, to=to)
    figures = {"file": str(output), "rows": done.rows, "left_out": list(done.left_out)}
    text = f"{output}: {done.rows} rows"
    if done.left_out:
        text += f"; {len(done.left_out)} have no name there: {'; '.join(done.left_out)}"
    return Report(figures=figures, view=lambda: text, as_json=as_json)


@table_app.command("import")
def table_import(
    source: Annotated[Path, typer.Argument(metavar="FILE", help="A table in another format.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The new table.")],
    as_json: Json = False,
) -> Report:
    """A new table of what was exported, or of what others published.

    What can be read: CSV, JSON and Parquet of latkit; YAML or JSON of Once-for-All and
    ProxylessNAS; the JSON lines of FBNet's operator list; any CSV with a column latency_s,
    latency_ms or latency_us. What others published is looked up by their keys and prices no space.
    """
    from lut.exchange.formats import import_table

    done = import_table(source, output)
    text = f"{output}: {done.rows} rows of a {done.kind}"
    if done.operators is not None:
        text += f"; {done.operators} are operators of ours; none prices a space"
    return Report(
        figures={"table": str(output), **asdict(done)}, view=lambda: text, as_json=as_json
    )
