"""Shapes of operators: what many kinds check, derive and print alike."""

from devices import Shape


def checked(shape: Shape) -> Shape:
    """Return a shape that is one of an input.

    Raises:
        ValueError: It is not ``(N, C, H, W)``, all positive.
    """
    if len(shape) != 4 or min(shape) < 1:
        raise ValueError(f"an input shape is (N, C, H, W), all positive; got {shape}")
    return shape


def strided(shape: Shape, channels: int, stride: int) -> Shape:
    """Return the output shape of a convolution that keeps the size at stride 1."""
    batch, _, height, width = shape
    return (batch, channels, -(-height // stride), -(-width // stride))


def check_odd(kernel: int) -> None:
    """Check that a kernel keeps the size.

    Raises:
        ValueError: It has an even side, or none.
    """
    if kernel < 1 or kernel % 2 == 0:
        raise ValueError(f"a kernel must be odd to keep the size, got {kernel}")


def shape_text(shape: Shape) -> str:
    """Return a shape for people: ``1x16x32x32``."""
    return "x".join(map(str, shape))


class Straight:
    """An operator that nothing goes around: what it adds, if anything, it adds inside."""

    __slots__ = ()

    @property
    def residual(self) -> bool:
        """Never."""
        return False


class Ending(Straight):
    """The end of a network: from ``(N, C, H, W)`` to logits."""

    __slots__ = ()

    input_shape: Shape
    classes: int

    @property
    def output_shape(self) -> Shape:
        """``(N, classes)``."""
        return (self.input_shape[0], self.classes)
