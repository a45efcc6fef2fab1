"""A model file on a device: from the file to the figures."""

from collections.abc import Sequence
from pathlib import Path

from devices import DeviceSpec, Graph
from devices.files import CannotWrite, write_atomically
from devices.graphs.model_file import read_model, shapes_from_text
from devices.places import check_place
from export.bundle.gpu_facts import energy_facts
from export.figures.model_views import Facts, model_facts
from export.progress import counting
from profiler import profile_model, profile_steps


def profile_file(
    path: Path,
    device: DeviceSpec,
    *,
    shapes: Sequence[str] = (),
    processes: int,
    save: Path | None = None,
    quiet: bool,
) -> Facts:
    """Profile a whole ONNX file.

    Args:
        path: The file.
        device: Where; its batch is taken where the file leaves only the batch open.
        shapes: ``NAME=1,3,224,224``, for inputs whose sizes are open.
        processes: Fresh processes to measure in.
        save: Where to leave the graph as the runtime optimised it.
        quiet: Whether to show no progress.

    Returns:
        The keys of `export.figures.model_views.model_facts`, and what was profiled where.

    Raises:
        InvalidFile: The file cannot be read.
        UnfitShape: Its shapes are open or do not fit.
        CannotWrite: ``save`` is no place for the graph.
        LatkitError: The device cannot run it.
    """
    model = read_model(path, shapes=shapes_from_text(shapes), batch=device.batch)
    if save is not None:
        _check_place(save, path, model.graph)
    title = f"profiling {path} on {device.name}"
    with counting(title, profile_steps(processes), quiet=quiet) as on_step:
        profile = profile_model(model.graph, device, processes=processes, on_step=on_step)
    if save is not None:
        write_atomically(save, profile.trace.optimized)
    return {
        "model": str(path),
        "device": device.name,
        **model_facts(model.graph, profile),
        **energy_facts(device, model.graph, latency_s=profile.latency_s),
        "assumed": list(model.assumed),
        "saved": None if save is None else str(save),
    }


def _check_place(save: Path, model: Path, graph: Graph) -> None:
    """Refuse a bad place before anything is measured.

    Raises:
        CannotWrite: It is the model itself, or no folder, or away from the weights.
    """
    folder = save.parent.resolve()
    if save.resolve() == model.resolve():
        raise CannotWrite(f"cannot write {save}: it is the model itself. Name another file")
    check_place(save)
    if graph.folder is not None and folder != graph.folder:
        raise CannotWrite(
            f"cannot write {save}: {model} keeps its weights in files beside it, and the optimised "
            f"graph refers to them. Save it there: --save-optimized {model.parent / save.name}"
        )
