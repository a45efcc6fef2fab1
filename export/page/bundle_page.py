"""The page of a deployment: is the promise kept, how was that measured, what was shipped."""

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from devices import InvalidFile, LatkitError
from devices.backend import EMULATED
from devices.errors import reason_of
from export.bundle.deployment import Deployment, read_deployment
from export.bundle.manifest import PARITY, read_manifest
from export.page.bars import Bar, Row, interval_chart
from export.page.document import Page, Section
from export.page.elements import Node, bullets, el, listing, paragraph, rows_of_cells
from export.page.frame import figure
from export.page.ink import flat, instant, ms, ms_range, percent, short, without_paths
from export.page.network_layers import Sources, layer_parts
from export.page.table_parts import condition_facts
from export.page.timeline import dot_of, timeline
from export.verdicts.history import History, PastVerdict, read
from search.space import architecture_from_text
from search.spaces import space_from_label

KIND = "Deployment"

NOT_YET = "Nobody has verified this model yet: "

UNREAL = "Emulated: software pretends to be the device; the numbers are right, the latency is not."

MOST_CHARTED = 12
"""Verdicts that the chart shows, the latest; the history lists all."""


def bundle_page(folder: Path, sources: Sources) -> Page:
    """Make the page of a deployment directory.

    Args:
        folder: The directory.
        sources: What knows of layers.

    Raises:
        InvalidFile: It is no deployment directory, or a file of it was altered.
    """
    deployment, history = read_deployment(folder), read(folder)
    mine = [each for each in history.verdicts if each.sha256 in ("", deployment.sha256)]
    last = _latest(mine, device=deployment.device)
    return Page(
        kind=KIND,
        title=folder.resolve().name,
        lead=_lead(deployment, last),
        warning=UNREAL if last and last.status == EMULATED else "",
        verdict=last.verdict if last else "unverified",
        tiles=_tiles(deployment, last),
        sections=(
            Section(
                name="Promise and verdict",
                content=[*_promise(deployment, mine), *_judged(last)],
            ),
            Section(name="Layers", content=_layers(deployment, sources)),
            Section(name="Samples over time", content=_samples(last)),
            Section(name="Doubts", content=_doubts(last)),
            Section(name="Outputs and accuracy", content=_outputs(folder, deployment)),
            Section(name="History of verdicts", content=_history(history, deployment)),
            Section(name="Conditions", content=_conditions(last)),
            Section(name="Network", content=_network(folder, deployment)),
        ),
    )


def _latest(mine: Sequence[PastVerdict], *, device: str) -> PastVerdict | None:
    """Return the last verdict on the promised device; on another where there is none on that."""
    there = [each for each in mine if each.device == device]
    found = there or mine
    return found[-1] if found else None


def _lead(deployment: Deployment, last: PastVerdict | None) -> str:
    what = f"{short(deployment.arch, 60)}, {deployment.precision}, {deployment.weights} weights."
    if last is None:
        return what
    low_high = ms_range(last.interval_s)
    return (
        f"{what} {ms(last.measured_s)} measured on {last.device} ({low_high}), limit "
        f"{ms(last.limit_s)}."
    )


def _tiles(deployment: Deployment, last: PastVerdict | None) -> dict[str, str]:
    accuracy = deployment.facts.get("test_accuracy")
    limit_s = deployment.limit_s if last is None else last.limit_s
    tiles = {
        "limit": None if limit_s is None else ms(limit_s),
        "predicted": None if deployment.predicted_s is None else ms(deployment.predicted_s),
        "measured": ms(last.measured_s) if last else None,
        "test accuracy": percent(accuracy) if isinstance(accuracy, float) else None,
        "precision": deployment.precision,
        "weights": deployment.weights,
    }
    return {name: value for name, value in tiles.items() if value is not None}


def _promise(deployment: Deployment, mine: Sequence[PastVerdict]) -> list[Node]:
    """Show what was predicted and every time it was measured, beside the limit."""
    rows = [] if deployment.predicted_s is None else [_predicted_row(deployment)]
    rows += [_verdict_row(each) for each in mine[-MOST_CHARTED:]]
    command = el("code", None, f"latkit verify DIR --device {deployment.device}")
    hint = None if mine else paragraph(NOT_YET, command)
    if not rows:
        return [hint]
    about = None if deployment.predicted_s is None else deployment.predicted_s * 1e3
    bands = (("band5", "within 5 % of the prediction"), ("band10", "within 10 %"))
    return [
        hint,
        figure(
            "What the table predicted for its device, and each time that the model was measured, "
            "with 90 % intervals of predictions and 95 % of measurements.",
            interval_chart(
                rows,
                unit="latency, ms",
                says="Predicted and measured latency beside the limit, in milliseconds",
                about=about,
            ),
            legend=(
                ("dot predicted", "predicted"),
                ("dot measured", "measured"),
                ("limit", "limit"),
                *(bands if about else ()),
            ),
        ),
    ]


def _judged(last: PastVerdict | None) -> list[Node]:
    """List how long single runs took, and what else the last verdict rests on."""
    if last is None:
        return []
    rows = [
        (name, f"{value * 1e3:.4g}", ms_range(interval))
        for name, (value, *interval) in last.percentiles_s.items()
    ]
    headers, facts = ("percentile", "ms", "interval, ms"), flat(last.more)
    caption = f"Single runs of the last verdict on {last.device}"
    return [
        *([rows_of_cells(headers, rows, caption=caption)] if rows else []),
        *([listing(facts)] if facts else []),
    ]


def _predicted_row(deployment: Deployment) -> Row:
    predicted_s, interval_s = deployment.predicted_s or 0.0, deployment.interval_s
    ends = None if interval_s is None else (interval_s[0] * 1e3, interval_s[1] * 1e3)
    name = f"predicted for {deployment.device}"
    says = [name, ms(predicted_s), *([f"90 %: {ms_range(interval_s)} ms"] if interval_s else [])]
    return Row(
        name=name,
        figure=ms(predicted_s),
        bars=(Bar(value=predicted_s * 1e3, interval=ends, kind="predicted"),),
        says="\n".join(says),
        limit=None if deployment.limit_s is None else deployment.limit_s * 1e3,
    )


def _verdict_row(each: PastVerdict) -> Row:
    low, high = each.interval_s
    name = f"{each.verdict} on {each.device}, {instant(each.at)}"
    says = (
        name,
        f"measured {ms(each.measured_s)}, {ms_range(each.interval_s)}",
        f"limit {ms(each.limit_s)}",
        f"{each.processes} fresh processes, status {each.status}",
    )
    return Row(
        name=name,
        figure=ms(each.measured_s),
        bars=(Bar(value=each.measured_s * 1e3, interval=(low * 1e3, high * 1e3)),),
        says="\n".join(says),
        limit=each.limit_s * 1e3,
    )


def _layers(deployment: Deployment, sources: Sources) -> list[Node]:
    hint = paragraph(
        "To see what each layer is predicted to take, and takes: ",
        el("code", None, "latkit profile --onnx DIR/model.onnx --json > kernels.json"),
        ", then ",
        el("code", None, "latkit report DIR --table T.lut --kernels kernels.json"),
    )
    if sources.table is None and sources.kernels is None:
        return [hint]
    try:
        space = space_from_label(deployment.space)
        arch = architecture_from_text(deployment.arch)
    except (LatkitError, KeyError, TypeError, ValueError):  # of a space that only others know
        return [paragraph("The layers of this network are not known here.")]
    known = [deployment.table_hash] if deployment.table_hash else []
    return layer_parts(arch, space, sources, priced_by=known)


def _samples(last: PastVerdict | None) -> list[Node]:
    """Show the slices of the last verdict as they were taken."""
    if last is None or not last.slices:
        return []
    dots = [dot_of(piece, median(piece.samples_s) / last.measured_s) for piece in last.slices]
    samples = sum(len(piece.samples_s) for piece in last.slices)
    return [
        paragraph(f"{samples:,} samples in {len(dots):,} slices and {last.processes} processes."),
        timeline(
            dots,
            y_label="time of the slice, over the median",
            says="How long every slice of the last verdict took, over the median of all",
            caption="How long each slice of the last verdict took. A rise is throttling, or others "
            "at work.",
        ),
        _single_runs(last),
    ]


def _single_runs(last: PastVerdict) -> Node:
    """Show every single run of the last verdict, as percentiles see them."""
    dots = [
        dot_of(block, run_s / last.measured_s) for block in last.blocks for run_s in block.samples_s
    ]
    if not dots:
        return None
    return timeline(
        dots,
        x_label="run, in the order taken",
        y_label="time of a single run, over the median",
        says="How long every single run of the last verdict took, over the median of its slices",
        caption="How long each single run took.",
    )


def _doubts(last: PastVerdict | None) -> list[Node]:
    if last is None:
        return []
    if not last.doubts:
        return [paragraph("None: nothing speaks against the last measurement.")]
    return [bullets(map(without_paths, last.doubts))]


def _outputs(folder: Path, deployment: Deployment) -> list[Node]:
    """Say how right the numbers are: against the network in torch, and on the test split."""
    shown = ("test_accuracy", "test_accuracy_fp32", "validation_accuracy", "accuracy_from")
    facts: dict[str, Any] = {key: deployment.facts.get(key) for key in shown}
    facts["largest difference of the outputs"] = deployment.parity_max_abs
    return [listing(flat(facts)), *_parity(folder)]


def _parity(folder: Path) -> list[Node]:
    """Show the parity report, output by output, where the export left one."""
    path = folder / PARITY
    if not path.is_file():
        return []
    try:
        report: dict[str, Any] = json.loads(path.read_text())
        rows = [
            tuple(flat({"": value}).get("", "none") for value in each.values())
            for each in report["outputs"]
        ]
        headers = [key.replace("_", " ") for key in report["outputs"][0]]
    except (OSError, AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise InvalidFile(
            f"{path} is damaged ({reason_of(error)}). Export again: latkit export"
        ) from error
    facts = flat({key: value for key, value in report.items() if key != "outputs"})
    return [listing(facts), rows_of_cells(headers, rows, caption="Outputs of the file")]


def _history(history: History, deployment: Deployment) -> list[Node]:
    rows = [
        (
            instant(each.at),
            each.verdict,
            each.device,
            f"{each.limit_s * 1e3:.4g}",
            f"{each.measured_s * 1e3:.4g}",
            ms_range(each.interval_s),
            each.status,
            "this" if each.sha256 in ("", deployment.sha256) else f"another, {each.sha256[:12]}",
        )
        for each in reversed(history.verdicts)
    ]
    headers = (
        *("at", "verdict", "device", "limit, ms", "measured, ms", "95 % interval, ms"),
        *("status", "model"),
    )
    caption = "Every verdict, the latest first"
    return [
        rows_of_cells(headers, rows, caption=caption, words=(1, 2, 6, 7)) if rows else None,
        paragraph(history.doubt) if history.doubt else None,
    ]


def _conditions(last: PastVerdict | None) -> list[Node]:
    if last is None or not last.conditions:
        return []
    facts = condition_facts(last.conditions)
    return [paragraph(f"Those of the last verdict on {last.device}."), listing(facts)]


def _network(folder: Path, deployment: Deployment) -> list[Node]:
    shown = ("test_accuracy", "test_accuracy_fp32", "validation_accuracy", "accuracy_from")
    facts = {key: value for key, value in deployment.facts.items() if key not in shown}
    manifest = read_manifest(folder)
    files = [] if manifest is None else [(name, sha) for name, sha in manifest.files.items()]
    return [
        listing(
            {
                "architecture": deployment.arch,
                **flat({"space": deployment.space, "input shape": deployment.input_shape}),
                "sha256 of the model": deployment.sha256,
                **flat({"hash of the table": deployment.table_hash}),
                **flat(facts),
            }
        ),
        rows_of_cells(("file", "sha256"), files, caption="Files", words=(1,)) if files else None,
    ]
