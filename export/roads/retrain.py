"""Training the network of an answer alone: what ``latkit train final`` does and shows."""

from pathlib import Path
from typing import Any

from devices import InvalidFile
from export.progress import bar
from export.roads.images import check_classes, images_of
from search.answers import Answer
from search.econas.hierarchy import PROXY_METHODS
from search.final.distillation import SECTION, distillation_settings, teacher_from_run
from search.final.files import METHOD, FinalRun, Validation
from search.final.settings import FinalSettings, final_settings
from search.final.training import train_final
from search.images.data import ImageData
from search.proxies.training import METHOD as CANDIDATE
from search.training.runs import EpochMetrics, read_record


def retrain(
    answer: Answer,
    run_dir: Path,
    *,
    source: str,
    settings: Path | FinalSettings | None,
    skip_corrupt: bool,
    quiet: bool,
    teacher_dir: Path | None = None,
) -> tuple[FinalRun, ImageData]:
    """Train the architecture of an answer from scratch, or take up the run that is there.

    Args:
        answer: Names the architecture, and the space with its resolution and classes.
        run_dir: Where the run is kept.
        source: ``"digits"`` or a path.
        settings: Settings, a TOML file of them, or None for the recipe for small data.
        skip_corrupt: Whether corrupt images are left out.
        quiet: Whether to show no progress.
        teacher_dir: A run whose largest network teaches it, too; None for the labels alone.

    Raises:
        InvalidData: The images have other classes than the space.
        InvalidFile: The run of the teacher was trained on other images.
    """
    how = settings if isinstance(settings, FinalSettings) else final_settings(settings)
    space = answer.space
    data = images_of(source, resolution=space.input_shape[2], skip_corrupt=skip_corrupt)
    check_classes(
        data,
        space.classes,
        whose="the architecture is of",
        cure="give the images that it was searched for",
    )
    teacher = None
    if teacher_dir is not None:
        learnt = distillation_settings(settings if isinstance(settings, Path) else None)
        teacher = teacher_from_run(teacher_dir, space, data, learnt)
    with bar(f"training {answer.arch} on {data.name}", quiet=quiet) as update:
        reached = ""

        def on_epoch(metrics: EpochMetrics, found: Validation) -> None:
            nonlocal reached
            reached = f", loss {metrics.loss:.3f}, validation {found.averaged:.1%}"

        def on_step(done: int, total: int) -> None:
            update(done, total, f"step {done}/{total}{reached}")

        run = train_final(
            space,
            answer.arch,
            data,
            how,
            run_dir,
            teacher=teacher,
            source=source,
            on_epoch=on_epoch,
            on_step=on_step,
        )
    return run, data


def retrained_facts(run: FinalRun) -> dict[str, Any]:
    """Return what is known of a run's network, beside what is known of any run."""
    taught = run.record.options.get(SECTION)
    return {
        "arch": str(run.arch),
        **({} if taught is None else {"teacher": taught["teacher"]}),
        "validation_accuracy": run.validation.averaged,
        "validation_accuracy_raw": run.validation.raw,
        "test_accuracy": run.test_accuracy,
    }


def is_final(run_dir: Path) -> bool:
    """Whether a run trained one network alone; others trained a supernet.

    Raises:
        InvalidFile: There is no run.
    """
    return read_record(run_dir).method == METHOD


def refuse_final(run_dir: Path) -> None:
    """Check that there is something to search in a run.

    Raises:
        InvalidFile: It trained one network alone, or there is no run.
    """
    record = read_record(run_dir)
    if record.method == CANDIDATE:
        raise InvalidFile(
            f"the run in {run_dir} trained one candidate of a search, {record.options.get('arch')} "
            f"under proxy {record.options.get('proxy')}: give the run of a supernet"
        )
    if record.method == METHOD:
        raise InvalidFile(
            f"the run in {run_dir} trained one network alone, {record.options.get('arch')}, and "
            f"there is nothing to search: give the run of a supernet, or export this one: "
            f"latkit export ARCH.json --run {run_dir}"
        )


def refuse_without_weights(answer: Answer, run_dir: Path) -> None:
    """Check that there are weights for the network of an answer.

    Raises:
        InvalidFile: It was found without a supernet, and the run trained no network alone in full;
            or there is no run.
    """
    if answer.method in PROXY_METHODS and not is_final(run_dir):
        raise InvalidFile(
            f"{answer.method} found {answer.arch} by training candidates under a proxy, so "
            f"{run_dir} holds no weights that it inherits. Train it, then export that run: "
            f"{final_command('ARCH.json', 'DATA')}"
        )


def final_command(archs: Path | str, source: str) -> str:
    """Return the command that trains the network of an answer alone."""
    return f"latkit train final {archs} --data {source} -o RUN"
