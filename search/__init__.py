"""Search: which network to build for a latency budget.

What needs torch or pymoo is imported by its full name: `search.supernets.supernet`,
`search.methods.evolution`.
"""

from search.exact import (
    AdditiveOptimum,
    LatencyRange,
    NoFeasibleArchitecture,
    PricedArchitecture,
    TooManyNetworks,
    best_additive,
    check_feasible,
    feasible_range,
)
from search.methods.random_search import RandomSearch
from search.searcher import (
    Accuracy,
    Candidate,
    Round,
    Searcher,
    SearchResult,
    Trial,
    TrialAccuracy,
    run_search,
    run_trials,
)
from search.space import (
    Architecture,
    Choices,
    SearchSpace,
    architecture_from_text,
    as_choices,
)
from search.spaces import SPACES, space_named

__all__ = [
    "SPACES",
    "Accuracy",
    "AdditiveOptimum",
    "Architecture",
    "Candidate",
    "Choices",
    "LatencyRange",
    "NoFeasibleArchitecture",
    "PricedArchitecture",
    "RandomSearch",
    "Round",
    "SearchResult",
    "SearchSpace",
    "Searcher",
    "TooManyNetworks",
    "Trial",
    "TrialAccuracy",
    "architecture_from_text",
    "as_choices",
    "best_additive",
    "check_feasible",
    "feasible_range",
    "run_search",
    "run_trials",
    "space_named",
]
