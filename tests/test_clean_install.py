"""Installed without extras, latkit profiles, checks tables, predicts and verifies: no torch."""

import json
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent

pytestmark = pytest.mark.slow

DEPLOYMENT = """
import sys
from pathlib import Path
import numpy as np
from devices import device_named
from devices.files import sha256_of
from export.bundle.manifest import MODEL
from export.bundle.deployment import Deployment, write_deployment
from export.logits import logits_on
from profiler.operators.builders import chain_graph
from search.space import architecture_from_text
from search.spaces import space_label, space_named

space = space_named("macro", resolution=16)
folder = Path(sys.argv[1])
folder.mkdir()
graph = chain_graph(space.chain(architecture_from_text("10110100")))
(folder / MODEL).write_bytes(graph.onnx)
images = np.random.default_rng(0).standard_normal((2, 3, 16, 16)).astype(np.float32)
logits = logits_on(device_named("cpu"), graph, images)
write_deployment(
    folder,
    Deployment(
        arch="10110100", space=space_label(space), sha256=sha256_of(folder / MODEL),
        input_shape=space.input_shape, precision="fp32", device="sim", limit_s=1.0,
        predicted_s=None, interval_s=None, parity_max_abs=0.0, facts={},
    ),
    images,
    logits,
)
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a new environment that holds latkit and its core requirements."""
    folder = tmp_path_factory.mktemp("clean") / "venv"
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "-c", str(ROOT / "constraints.txt"), str(ROOT)], check=True)
    return python


def latkit(python: Path, *arguments: str) -> Any:
    command = [str(python.with_name("latkit")), *arguments, "--json"]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=python.parent.parent
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_core_measures_predicts_and_verifies_without_torch(python: Path) -> None:
    folder = python.parent.parent
    here = [
        each for each in latkit(python, "devices") if each["name"] in ("cpu", "cpu-int8", "sim")
    ]
    assert [each["usable"] for each in here] == [True] * 3
    profile = ["profile", "--device", "sim", "--space", "macro", "--resolution", "16"]
    assert latkit(python, *profile, "-o", "sim.lut")["operators"] == 15
    assert latkit(python, "table", "check", "sim.lut", "--nets", "6")["status"] == "ok"
    assert latkit(python, "predict", "sim.lut", "10110100")["latency_ms"] > 0
    subprocess.run([str(python), "-c", DEPLOYMENT, "deploy"], check=True, cwd=folder)
    assert latkit(python, "verify", "deploy", "--device", "sim")["met"]


def test_what_needs_torch_says_how_to_get_it(python: Path) -> None:
    command = [str(python.with_name("latkit")), "train", "uniform", "--space", "macro", "-o", "run"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "pip install 'latkit[train]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_environment_is_clean(python: Path) -> None:
    probe = "import importlib.util as u; print([n for n in ('torch', 'pymoo') if u.find_spec(n)])"
    found = subprocess.run([str(python), "-c", probe], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
    assert sys.prefix != str(python.parent.parent)
