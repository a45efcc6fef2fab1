"""Export: a searched network as a file that provably meets its target."""

from export.bundle.deployment import Deployment, read_deployment
from export.verdicts.verdict import Verdict
from export.verdicts.verify import NoLimit, Plan, verify

__all__ = ["Deployment", "NoLimit", "Plan", "Verdict", "read_deployment", "verify"]
