"""What a table will take, said before it begins; on a GPU made to fit into half an hour."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from devices import DeviceSpec
from lut.files.storage import Role, TableFile
from lut.fill import Effort, lacking_slices
from lut.table import conditions_from_meta
from profiler import Chain
from profiler.campaigns.forecast import Forecast, forecast

GPU_LIMIT_S = 30 * 60.0
"""Seconds that a table may take of a GPU: they are shared, and rented by the hour."""

FEWEST_PROCESSES = 3
"""From fewer the spread between processes is hardly known, and no interval is worth its name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """What is about to be measured.

    Attributes:
        asked: How much was asked for.
        effort: How much is measured.
        forecast: What that takes.
        limit_s: Seconds that it should take at most; None for no limit.
    """

    asked: Effort
    effort: Effort
    forecast: Forecast
    limit_s: float | None = None

    @property
    def fits(self) -> bool:
        """Whether it stays within the limit, by the forecast."""
        return self.limit_s is None or self.forecast.seconds <= self.limit_s

    def __str__(self) -> str:
        found = self.forecast
        if not found.slices:
            return "nothing is lacking"
        builds = f", {found.builds:,} engines" if found.builds else ""
        processes = _counted(found.processes, "process")
        text = (
            f"{found.rows:,} rows, {found.slices:,} slices in {processes}{builds}: "
            f"about {minutes(found.seconds)}"
        )
        if self.effort != self.asked:
            asked = (
                f"{_counted(self.asked.processes, 'process')} of "
                f"{_counted(self.asked.rounds, 'round')}"
            )
            text += f" ({asked} would take more than the {minutes(self.limit_s or 0.0)} of a GPU)"
        if not self.fits:
            text += (
                f". That is more than {minutes(self.limit_s or 0.0)} even so: take a smaller "
                "space or resolution, or stop it when you must; the same command goes on"
            )
        return text

    def beside(self, device_s: float) -> str:
        """Return the real time with the forecast beside it.

        Args:
            device_s: Seconds of device time that it took.
        """
        if not self.forecast.slices:
            return str(self)
        return (
            f"{minutes(device_s)} of device time, about {minutes(self.forecast.seconds)} foretold"
        )


def outlook_of(file: TableFile, wanted: Mapping[Chain, Role], effort: Effort) -> Outlook:
    """Return what filling a table takes, with less effort where a GPU would be held too long.

    Args:
        file: The table, open.
        wanted: What it shall hold.
        effort: How much is asked for.
    """
    device, chains = conditions_from_meta(file.meta()).device, list(wanted)

    def foretell(each: Effort) -> Forecast:
        tasks = lacking_slices(file, wanted, each)
        counts = Counter(chains[task.number] for rows in tasks.values() for task in rows)
        return forecast(counts, device, each.pace, processes=sum(map(bool, tasks.values())))

    return _outlook(effort, foretell, device)


def outlook_on(device: DeviceSpec, wanted: Mapping[Chain, Role], effort: Effort) -> Outlook:
    """Return what a table takes that is not begun yet, see `outlook_of`."""

    def foretell(each: Effort) -> Forecast:
        counts = {chain: each.processes * each.rounds_of(role) for chain, role in wanted.items()}
        return forecast(counts, device, each.pace, processes=each.processes)

    return _outlook(effort, foretell, device)


def _outlook(effort: Effort, foretell: Callable[[Effort], Forecast], device: DeviceSpec) -> Outlook:
    limit_s = limit_of(device)
    chosen, found = affordable(effort, foretell, limit_s=limit_s)
    return Outlook(asked=effort, effort=chosen, forecast=found, limit_s=limit_s)


def limit_of(device: DeviceSpec) -> float | None:
    """Return the seconds that a table of a device may take; None for as long as it takes."""
    return None if device.gpu is None else GPU_LIMIT_S


def affordable(
    effort: Effort, foretell: Callable[[Effort], Forecast], *, limit_s: float | None
) -> tuple[Effort, Forecast]:
    """Return the first of ever smaller efforts that fits, or the smallest, with its forecast.

    First rounds are given up, then processes, down to `FEWEST_PROCESSES`: what the processes of a
    table differ by is all that its intervals know.

    Args:
        effort: The largest.
        foretell: Returns what an effort takes.
        limit_s: Seconds that it should take at most; None for no limit.
    """
    for each in smaller(effort):
        found = foretell(each)
        if limit_s is None or found.seconds <= limit_s:
            break
    return each, found


def smaller(effort: Effort) -> Iterator[Effort]:
    """Yield an effort, then ever smaller ones."""
    for rounds in range(effort.rounds, 0, -1):
        yield replace(effort, rounds=rounds)
    for processes in range(effort.processes - 1, FEWEST_PROCESSES - 1, -1):
        yield replace(effort, rounds=1, processes=processes)


def minutes(seconds: float) -> str:
    """Return seconds for people, as far as an estimate is worth: ``"40 s"``, ``"12 minutes"``."""
    if seconds < 55:
        return f"{max(1, round(seconds, -1 if seconds > 10 else 0)):.0f} s"
    count = max(1, round(seconds / 60))
    return "1 minute" if count == 1 else f"{count:,} minutes"


def _counted(count: int, noun: str) -> str:
    plural = noun + ("es" if noun.endswith("s") else "s")
    return f"{count} {noun if count == 1 else plural}"
