"""Generators on NAS-Bench-201: budgets of published latencies, accuracies of published trainings.

A search sees validation accuracies after 12 epochs; test accuracies after 200 judge, and nothing is
chosen by them. That is as much of the paper's protocol as the shared tables carry: the paper
searched a supernet of its own. Latency is no sum over edges here, so the expected one is contracted
exactly with the costs of all 15,625 cells, and a projection is a look-up among them.
"""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.sgnas_figures import Row, knowing_all, row_of, show, summaries
from bench.sgnas_generators import searched
from bench.sgnas_question import Evaluations, Question, Rows
from bench.sgnas_rivals import RIVALS
from bench.sgnas_scale import Scale, data_folder
from search.truths.nasbench201 import DATASETS, read_latencies, read_nas_bench_201

DEVICES = ("pixel3", "raspi4", "1080ti_1")
"""Columns of published latencies."""

PAPER = {"cifar10": 93.53, "cifar100": 70.31, "imagenet16": 44.98}
"""Test accuracies that SGNAS's paper reports on this benchmark."""

EPOCHS = 20
"""Of a generator at most: half as many as elsewhere, since a step contracts all cells twice."""

METHODS = ("evolution", "nsga2", "random", "pairs, enumerated")


def cell_rows(folder: Path, scale: Scale, *, devices: tuple[str, ...] = DEVICES) -> list[Row]:
    """Return a row for each data set, device, method and seed.

    Args:
        folder: Of the published tables.
        scale: How much.
        devices: Columns of latencies.
    """
    bench = read_nas_bench_201(folder / "accuracy.csv.gz")
    rows: list[Row] = []
    for dataset in DATASETS:
        truth = bench.truth(dataset)
        for device in devices:
            model = read_latencies(folder / "latency_ms.csv.gz", device, bench)
            name = f"{dataset}, {device}"
            question = Question(name=name, truth=truth, model=model, count=scale.targets)
            rows += [
                row | _loosest(question, picks)
                for row, picks in zip(knowing_all(question), _by_all(question), strict=True)
            ]
            for seed in range(scale.seeds):
                rows += _of_seed(question, scale, seed)
    return rows


def _by_all(question: Question) -> tuple[Rows, Rows]:
    """Return the picks of the oracle, and of whoever sees all that there is to see."""
    return question.oracle, question.best(np.arange(len(question.seen)), question.seen)


def _of_seed(question: Question, scale: Scale, seed: int) -> list[Row]:
    asked, _, train_s = searched(question, scale, seed, filling=scale.filling)
    rows = [_row(asked, "sgnas", seed, train_s=train_s)]
    for method in METHODS:
        rows.append(_row(RIVALS[method](question, scale.evaluations, seed), method, seed))
    return rows


def _row(asked: Evaluations, method: str, seed: int, **more: Any) -> Row:
    question, picks, evaluations = asked.question, asked.answers, len(asked.known)
    row = row_of(question, method, seed, picks, evaluations=evaluations, **more)
    return row | _loosest(question, picks)


def _loosest(question: Question, picks: Rows) -> Row:
    """Return the test accuracy in per cent of what is picked where the limit excludes nothing."""
    return {"unlimited": 100 * float(question.judge[picks[-1]])}


def unlimited(rows: list[Row]) -> dict[str, Any]:
    """Return per data set what the picks of the loosest limits are worth, beside the paper's.

    Means over devices and seeds with standard errors, in per cent.
    """
    found: dict[str, Any] = {}
    for dataset, paper in PAPER.items():
        of = [row for row in rows if row["bounded"].startswith(f"{dataset},")]
        methods = {}
        for method in dict.fromkeys(row["method"] for row in of):
            values = [row["unlimited"] for row in of if row["method"] == method]
            spread = np.std(values, ddof=1) / len(values) ** 0.5 if len(values) > 1 else 0.0
            methods[method] = {"accuracy": float(np.mean(values)), "error": float(spread)}
        found[dataset] = {"paper": paper, **methods}
    return found


def nasbench201(args: argparse.Namespace, scale: Scale) -> None:
    """Ask methods about budgets of published latencies."""
    devices = DEVICES[:1] if args.quick else DEVICES
    scale = replace(scale, epochs=min(EPOCHS, scale.epochs))
    rows = cell_rows(data_folder() / "nas_bench_201", scale, devices=devices)
    paper = unlimited(rows)
    more = [
        f"{dataset}, no limit: paper {found.pop('paper'):.2f}; "
        + ", ".join(f"{name} {each['accuracy']:.2f}" for name, each in found.items())
        for dataset, found in unlimited(rows).items()
    ]
    show(args, rows, {"unlimited": paper} | summaries(rows, targets=scale.targets), more)
