"""How long the light half takes to import, beside numpy alone.

python bench/import_time.py [--quick] [--json]
"""

import argparse
import json
import subprocess
import sys
from statistics import median

TIMED = "import time; t = time.perf_counter(); import {}; print(time.perf_counter() - t)"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    figures = measure(5 if args.quick else 20)
    if args.json:
        print(json.dumps(figures))
    else:
        for name, value in figures.items():
            print(f"{name:28} {value:.3f}")


def measure(repeats: int) -> dict[str, float]:
    """Import in fresh processes, the two in turn.

    Args:
        repeats: Processes for each, after one that does not count.
    """
    pairs = [(import_s("lut, search"), import_s("numpy")) for _ in range(repeats + 1)][1:]
    return {
        "lut_search_s": median(ours for ours, _ in pairs),
        "numpy_s": median(numpy for _, numpy in pairs),
        "ratio": median(ours / numpy for ours, numpy in pairs),
    }


def import_s(names: str) -> float:
    """Return the seconds that ``import names`` takes in a fresh process."""
    command = [sys.executable, "-c", TIMED.format(names)]
    return float(subprocess.run(command, capture_output=True, check=True, text=True).stdout)


if __name__ == "__main__":
    main()
