"""Which kind of supernet a space has."""

from devices import LatkitError
from search.space import SearchSpace
from search.spaces.darts_cells import DartsSpace
from search.spaces.nasbench201 import CellSpace
from search.spaces.unified import is_unified
from search.supernets.cells import CellSupernet
from search.supernets.supernet import Supernet
from search.supernets.unified import UnifiedSupernet


class NoSupernet(LatkitError):
    """A space whose networks share no weights."""


def supernet_for(space: SearchSpace, *, seed: int = 0) -> Supernet:
    """Return the supernet that a space is trained in, with fresh weights.

    Unified blocks share the weights of their groups; all other choices have weights of their own,
    those of a cell in each of its places.

    Raises:
        NoSupernet: The networks of the space are trained alone.
    """
    check_supernet(space)
    if isinstance(space, CellSpace):
        return CellSupernet(space, seed=seed)
    if not any(map(is_unified, space.layers)):
        return Supernet(space, seed=seed)
    return UnifiedSupernet(space, seed=seed)


def check_supernet(space: SearchSpace) -> None:
    """Check that the networks of a space can share weights.

    Raises:
        NoSupernet: They cannot.
    """
    if isinstance(space, DartsSpace):
        raise NoSupernet(
            f"space {space.name!r} has no supernet: how many channels its cells give depends on "
            "their edges, so weights do not fit each other. Its networks are trained alone: "
            f"latkit search econas --space {space.name} --data DATA --table T.lut --limit-ms MS"
        )
