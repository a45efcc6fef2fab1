"""Generators and their rivals on the macro space, where all accuracies are known."""

import argparse
from collections.abc import Callable

from bench.sgnas_figures import Row, knowing_all, row_of, show, summaries
from bench.sgnas_generators import fitted, whole_tables
from bench.sgnas_question import Question, operations_model
from bench.sgnas_rivals import RIVALS
from bench.sgnas_scale import Scale, macro_truth
from lut import latency_model, load_table


def macro(args: argparse.Namespace, scale: Scale) -> None:
    """Ask all methods about budgets of the macro space."""
    _on_macro(args, scale, lambda question, seed: _rivals(question, scale, seed))


def ablations(args: argparse.Namespace, scale: Scale) -> None:
    """Ask generators that saw all accuracies about budgets of the macro space."""
    _on_macro(args, scale, lambda question, seed: whole_tables(question, scale, seed))


def _on_macro(
    args: argparse.Namespace, scale: Scale, rows_of_seed: Callable[[Question, int], list[Row]]
) -> None:
    truth = macro_truth()
    models = {"operations": operations_model(truth.space)}
    if args.table:
        models["latency"] = latency_model(load_table(args.table), truth.space)
    rows: list[Row] = []
    for name, model in models.items():
        question = Question(name=name, truth=truth, model=model, count=scale.targets)
        rows += knowing_all(question)
        for seed in range(scale.seeds):
            rows += rows_of_seed(question, seed)
    kinds = summaries(rows, targets=scale.targets)
    operations = kinds.pop("operations")
    show(args, rows, operations | kinds)


def _rivals(question: Question, scale: Scale, seed: int) -> list[Row]:
    """Return the rows of all methods that ask for as many accuracies at most."""
    rows = []
    for method, rival in RIVALS.items():
        asked = rival(question, scale.evaluations, seed)
        evaluations = len(asked.known)
        rows.append(row_of(question, method, seed, asked.answers, evaluations=evaluations))
    return rows + fitted(question, scale, seed)
