"""Who may import whom, which file may import which runtime, and what stays unloaded."""

import ast
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable
from graphlib import CycleError, TopologicalSorter
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LAYERS = ["devices", "profiler", "lut", "search", "export", "latkit"]  # lowest first
HOMES = {
    "onnxruntime": {"devices/onnx_runtime/cpu.py", "devices/onnx_runtime/quantization.py"},
    "tensorrt": {"devices/nvidia/tensorrt_build.py"},
    "tensorrt_rtx": {"devices/nvidia/tensorrt_build.py"},
    "pycuda": {"devices/nvidia/cuda_pycuda.py"},
    "cuda": {"devices/nvidia/cuda_python.py"},
    "pynvml": {"devices/nvidia/nvml_host.py"},
}
FILES = sorted([*(p for name in LAYERS for p in (ROOT / name).rglob("*.py")), ROOT / "latkit.py"])
every_file = pytest.mark.parametrize(
    "path", [p for p in FILES if p.exists()], ids=lambda p: p.relative_to(ROOT).as_posix()
)


def imported(path: Path) -> set[str]:
    """Return the full names of the modules that a file imports, wherever it does."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Import(names=aliases):
                names |= {alias.name for alias in aliases}
            case ast.ImportFrom(module=str(module), names=aliases):
                names |= {module, *(f"{module}.{alias.name}" for alias in aliases)}
    return names


def packages(path: Path) -> set[str]:
    return {name.partition(".")[0] for name in imported(path)}


@every_file
def test_a_layer_imports_only_lower_layers(path: Path) -> None:
    rank = LAYERS.index(path.relative_to(ROOT).parts[0].removesuffix(".py"))
    assert packages(path).isdisjoint(LAYERS[rank + 1 :])


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def package_name(path: Path) -> str:
    """Return the folder that a module is in, one level below its layer, or its own name."""
    parts = module_name(path).split(".")
    return ".".join(parts[:2])


def circle(named: Callable[[Path], str]) -> str:
    """Return parts of the project that import each other in a circle; empty if none do.

    Imports inside functions count too, and those for types alone. What a face (``__init__.py``)
    hands on counts as the module that it is from.
    """
    modules = {module_name(path): path for path in FILES if path.name != "__init__.py"}
    below: dict[str, set[str]] = defaultdict(set)
    for path in modules.values():
        found = {named(modules[name]) for name in imported(path) if name in modules}
        below[named(path)] |= found - {named(path)}
    try:
        TopologicalSorter(below).prepare()
    except CycleError as error:
        return " -> ".join(error.args[1])
    return ""


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert circle(module_name) == ""


def test_no_packages_of_a_layer_import_each_other_in_a_circle() -> None:
    assert circle(package_name) == ""


def test_tests_stand_where_what_they_test_does() -> None:
    tests = ROOT / "tests"
    homes = {path.parent.relative_to(tests) for path in tests.rglob("test_*.py")}
    alone = {Path(), Path("command_line")}
    assert {str(home) for home in homes - alone if not (ROOT / home).is_dir()} == set()


def test_a_circle_would_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    home, away = ROOT / "search/solve.py", ROOT / "search/exact.py"
    real = imported
    monkeypatch.setattr(
        f"{__name__}.imported",
        lambda path: real(path) | ({"search.solve"} if path == away else set()),
    )
    assert "search.exact" in imported(home)
    assert set(circle(module_name).split(" -> ")) >= {"search.exact", "search.solve"}


@every_file
def test_a_runtime_is_imported_in_its_own_file_only(path: Path) -> None:
    name = path.relative_to(ROOT).as_posix()
    strangers = {runtime for runtime, homes in HOMES.items() if name not in homes}
    assert packages(path).isdisjoint(strangers)


def named_imports(path: Path) -> list[str]:
    """Return what stands between the parentheses of each `import_module`."""
    calls = (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call))
    return [
        ast.unparse(call.args[0]) for call in calls if ast.unparse(call.func) == "import_module"
    ]


def test_a_runtime_that_is_imported_by_its_name_is_so_in_its_own_file_only() -> None:
    devices = [path for path in FILES if path.is_relative_to(ROOT / "devices")]
    found = {path.relative_to(ROOT).as_posix(): named_imports(path) for path in devices}
    assert {path: names for path, names in found.items() if names} == {
        "devices/backend.py": ["module"],  # of BACKENDS, ours
        "devices/nvidia/cuda_memory.py": ["module"],  # of BINDINGS, ours
        "devices/nvidia/nvml_host.py": ["'pynvml'"],
        "devices/nvidia/tensorrt_build.py": ["name"],  # tensorrt or tensorrt_rtx
    }


@every_file
def test_torch_is_exported_in_one_place_only(path: Path) -> None:
    calls = [
        node
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and ast.unparse(node) == "torch.onnx.export"
    ]
    elsewhere = path.relative_to(ROOT).as_posix() != "devices/graphs/lowering.py"
    assert bool(calls) != elsewhere
    assert not (elsewhere and any(name.startswith("torch.onnx") for name in imported(path)))


def loaded_by(statement: str) -> set[str]:
    """Return the top-level modules that a fresh interpreter holds after a statement."""
    show = "import sys; print(*{name.partition('.')[0] for name in sys.modules})"
    command = [sys.executable, "-c", f"{statement}; {show}"]
    return set(subprocess.check_output(command, cwd=ROOT, text=True).split())


def test_tables_and_spaces_load_no_heavy_library() -> None:
    heavy = {"torch", "torchvision", "pandas", "onnxruntime", "onnx", "pymoo", "sklearn", "scipy"}
    loaded = loaded_by("import lut, search")
    assert {"lut", "search", "numpy"} <= loaded  # the question was asked of the right process
    assert loaded.isdisjoint(heavy)


def test_the_command_line_loads_no_heavy_library() -> None:
    loaded = loaded_by("import latkit")
    assert {"latkit", "export", "typer"} <= loaded
    assert loaded.isdisjoint({"torch", "torchvision", "pandas", "pymoo", "sklearn", "scipy"})


def test_measuring_loads_no_torch() -> None:
    loaded = loaded_by(
        "from devices import backend_for, known_devices; import profiler.operators.builders; "
        "[backend_for(device) for device in known_devices().values() "
        "if device.backend in ('onnxruntime', 'simulated') and device.threads == 1]"
    )
    assert {"onnx", "onnxruntime"} <= loaded
    assert loaded.isdisjoint({"torch", "torchvision", "pandas", "pymoo", "sklearn"})


def test_nobody_else_owns_our_import_names() -> None:
    distributions = packages_distributions()
    owners = {name: set(distributions.get(name, [])) - {"latkit"} for name in LAYERS}
    assert owners == {name: set() for name in LAYERS}
    assert sys.stdlib_module_names.isdisjoint(LAYERS)
