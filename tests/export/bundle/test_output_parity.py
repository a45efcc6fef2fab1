"""How far outputs are apart, by numbers that can be checked by hand."""

import json
from dataclasses import replace

import numpy as np
import pytest

from export.bundle.output_parity import output_parity, parity_json

TORCH = np.array([[1.0, -4.0], [0.5, 0.25]], np.float32)
FILE = np.array([[1.0, -4.5], [0.5, 0.75]], np.float32)
APART = output_parity("logits", FILE, TORCH, tolerance=0.5)


def test_an_output_is_compared_number_by_number_and_image_by_image() -> None:
    assert (APART.shape, APART.largest, APART.max_abs, APART.mean_abs) == ((2, 2), 4.0, 0.5, 0.25)
    assert APART.top1_agreement == 0.5  # the second image is taken for the other class


def test_a_tolerance_is_kept_where_there_is_one() -> None:
    assert APART.within
    assert not replace(APART, tolerance=0.4).within
    assert replace(APART, tolerance=None).within  # another function than the network, as in int8


def test_outputs_of_other_shapes_are_not_compared() -> None:
    with pytest.raises(ValueError, match="against"):
        output_parity("logits", FILE[:1], TORCH, tolerance=None)


def test_the_report_says_what_the_images_are_and_what_ran_the_file() -> None:
    report = json.loads(parity_json([APART], images_from="random numbers", runtime="onnxruntime 1"))
    assert (report["images"], report["images_from"]) == (2, "random numbers")
    assert report["runtime"] == "onnxruntime 1"
    (output,) = report["outputs"]
    assert (output["name"], output["within"]) == ("logits", True)
