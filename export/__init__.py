"""Export: a searched network as a file that provably meets its target."""

from export.deployment import Deployment, read_deployment
from export.verdict import Verdict
from export.verify import NoLimit, Plan, verify

__all__ = ["Deployment", "NoLimit", "Plan", "Verdict", "read_deployment", "verify"]
