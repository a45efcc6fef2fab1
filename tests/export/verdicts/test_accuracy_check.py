"""Whether an accuracy is what was promised, on the very images that it was promised for."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from devices import DeviceSpec
from export.bundle.deployment import Deployment
from export.verdicts.accuracy_check import check_accuracy
from profiler import Conv, Head
from profiler.operators.builders import chain_graph
from search.images.data import load_data
from search.images.decoding import InvalidData

STEM = Conv(input_shape=(1, 3, 8, 8), channels=4, kernel=3, activation="relu")
GRAPH = chain_graph((STEM, Head(input_shape=STEM.output_shape, channels=8, classes=2)))
SIM = DeviceSpec(name="sim", backend="simulated")


@pytest.fixture
def photos(tmp_path: Path) -> str:
    """Black and white squares of two classes, and one file that is no image."""
    for number in range(40):
        folder = tmp_path / "photos" / "ab"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 8, 3), number, np.uint8)).save(folder / f"{number}.png")
    (tmp_path / "photos" / "a" / "broken.png").write_bytes(b"no image")
    return str(tmp_path / "photos")


def deployed(facts: dict[str, object]) -> Deployment:
    return Deployment(
        arch="0",
        space={"name": "tiny"},
        sha256="",
        input_shape=STEM.input_shape,
        precision="fp32",
        device="sim",
        limit_s=None,
        predicted_s=None,
        interval_s=None,
        parity_max_abs=0.0,
        facts=facts,
    )


def test_images_that_the_training_left_out_are_left_out_again(
    photos: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = load_data(photos, resolution=8, on_corrupt="skip")
    monkeypatch.setattr("export.verdicts.accuracy_check.predictions", lambda *_: data.test.labels)
    promised = {"test_accuracy": 1.0, "fingerprint": data.fingerprint, "skipped": True}
    assert check_accuracy(deployed(promised), GRAPH, SIM, source=photos) == 1.0
    del promised["skipped"]  # as latkit 0.2 wrote it
    with pytest.raises(InvalidData):
        check_accuracy(deployed(promised), GRAPH, SIM, source=photos)
