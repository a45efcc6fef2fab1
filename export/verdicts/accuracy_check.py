"""Whether an exported model is as accurate as was promised, where its test images are at hand.

Loads torch, with which images are read, only where there are images to read.
"""

from devices import DeviceSpec, Graph, LatkitError
from export.bundle.deployment import Deployment
from export.logits import predictions

TOLERANCE = 0.005
"""How far the accuracy may be off, in [0, 1]: runtimes round, each in its own way."""


class AccuracyFailed(LatkitError):
    """A model gets fewer of its test images right than was promised."""


class OtherImages(LatkitError):
    """Images are not those whose accuracy was promised."""


def check_accuracy(
    deployment: Deployment, graph: Graph, device: DeviceSpec, *, source: str
) -> float:
    """Measure the accuracy of a model anew, on the test split that was promised for.

    Args:
        deployment: The promise.
        graph: What runs.
        device: Where it runs.
        source: Of the images, see `search.images.data.load_data`.

    Returns:
        Top-1 in [0, 1].

    Raises:
        OtherImages: The images are others.
        AccuracyFailed: It is off by more than `TOLERANCE`.
        InvalidData: There are no images, or some are damaged that the training did not leave out.
    """
    from search.images.data import load_data

    data = load_data(
        source,
        resolution=deployment.input_shape[2],
        on_corrupt="skip" if deployment.facts.get("skipped") else "refuse",
    )
    promised_on = deployment.facts.get("fingerprint", data.fingerprint)  # latkit 0.1 noted none
    if data.fingerprint != promised_on:
        raise OtherImages(
            f"{source} holds other images than those whose accuracy was promised: their "
            f"fingerprint is {data.fingerprint}, not {promised_on}. Give those of the training"
        )
    named = predictions(graph, device, data.test)
    found = float((named == data.test.labels).mean())
    promised = float(deployment.facts["test_accuracy"])
    if abs(found - promised) > TOLERANCE:
        raise AccuracyFailed(
            f"top-1 on the test split is {found:.2%}, not the {promised:.2%} that were promised: "
            "do not ship this file with this runtime"
        )
    return found
