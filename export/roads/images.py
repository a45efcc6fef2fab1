"""Images as the command line names them, and whether they are those that a network tells apart."""

from search.images.data import ImageData, InvalidData, load_data
from search.images.sources import OnCorrupt


def images_of(source: str, *, resolution: int, skip_corrupt: bool) -> ImageData:
    """Read images to train on.

    Args:
        source: ``"digits"`` or a path.
        resolution: Side of the images in pixels.
        skip_corrupt: Whether corrupt images are left out.

    Raises:
        InvalidData: There are none, or corrupt ones.
    """
    on_corrupt: OnCorrupt = "skip" if skip_corrupt else "refuse"
    return load_data(source, resolution=resolution, on_corrupt=on_corrupt)


def check_classes(data: ImageData, classes: int, *, whose: str, cure: str) -> None:
    """Check that images have as many classes as networks tell apart.

    Args:
        data: The images.
        classes: Of the networks.
        whose: What tells so many apart, as a clause that the number ends.
        cure: What to do.

    Raises:
        InvalidData: They have not.
    """
    if len(data.class_names) != classes:
        raise InvalidData(
            f"{data.name!r} has {len(data.class_names)} classes, {whose} {classes}: {cure}"
        )
