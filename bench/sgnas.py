"""What a generator's answers for many limits are worth.

    LATKIT_DATA=DIR python bench/sgnas.py [--only PART] [--quick] [--json] [--seeds N]
                                          [--targets N] [--table T.lut] [--runs DIR]
                                          [--csv F] [--png F]

Parts, the first if none is named:

``macro``: 181 budgets against enumeration of a whole space. The cross-entropy of SGNAS is replaced
by the accuracies of NAS-Bench-Macro. Its first training run is what methods see; the mean of the
other two judges what they pick, and the oracle is the best by that mean within each budget. Nobody
can reach it: the enumeration of all networks by the first run is printed beside it, as the least
regret of anyone who sees that run only. Budgets are of operations; with --table of latency on that
device, too, at 95 % confidence. ``sgnas`` sees at most as many accuracies as its rivals: its table
is a fit of layers and pairs of layers to some of them; what it proposes is evaluated with others,
and with the rest networks between answers that many limits share (`search.sgnas.gaps`). All
answers of a method are the best by the first run of what it evaluated, within each budget.
``pairs, enumerated`` asks a fit about all networks, one by one, which a large space forbids.

``ablations``: as before, generators that contract all accuracies of the first run, so they count
3,969 evaluations; as published and otherwise.

``nasbench201``: cells under published latencies, see `bench.sgnas_cells`.

``supernet``: real weights on CIFAR-10, and fair against uniform paths, see `bench.sgnas_supernet`.

``met``: whether answers by --table keep their limits on its device, see `bench.sgnas_met`.
"""

import argparse
from importlib import import_module
from pathlib import Path

from bench.sgnas_scale import scale_of

PARTS = {
    "macro": "bench.sgnas_macro:macro",
    "ablations": "bench.sgnas_macro:ablations",
    "nasbench201": "bench.sgnas_cells:nasbench201",
    "supernet": "bench.sgnas_supernet:supernet",
    "met": "bench.sgnas_met:met",
}
"""What ``--only`` names, as ``module:function``: fresh processes import this file again, and shall
not load what they do not need."""


def main() -> None:
    """Train, search and print."""
    args = _arguments()
    module, _, name = PARTS[args.only].partition(":")
    getattr(import_module(module), name)(args, scale_of(args))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=PARTS, default="macro")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--seeds", type=int, default=0)
    parser.add_argument("--targets", type=int, default=0)
    parser.add_argument("--table", type=Path)
    parser.add_argument("--runs", type=Path)
    parser.add_argument("--csv", type=Path)
    parser.add_argument("--png", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
