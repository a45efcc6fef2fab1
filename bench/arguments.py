"""What the benches' command lines have in common."""

import argparse
from pathlib import Path


def bench_parser(description: str | None, *, plots: bool = True) -> argparse.ArgumentParser:
    """Return a parser of what every bench with seeds takes; a bench adds its own.

    Args:
        description: What the bench does: its docstring, printed as it stands.
        plots: Whether it draws anything: ``--png``.
    """
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="minutes, by the same code")
    parser.add_argument("--json", action="store_true", help="figures only")
    parser.add_argument("--seeds", type=int, default=0, help="repetitions; 0: the bench's own")
    parser.add_argument("--csv", type=Path, metavar="F")
    if plots:
        parser.add_argument("--png", type=Path, metavar="F")
    return parser
