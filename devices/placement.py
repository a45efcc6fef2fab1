"""Which CPUs of a machine a device takes."""

from collections.abc import Sequence

from devices.cores import Cluster, cluster_named
from devices.errors import DeviceUnavailable
from devices.spec import DeviceSpec


def chosen_cpus(device: DeviceSpec, kinds: Sequence[Cluster]) -> tuple[int, ...]:
    """Return the CPUs of a device: those it names, else the last ones of its cluster.

    Args:
        device: Names CPUs, or a cluster, or only how many.
        kinds: The CPUs that are allowed, see `devices.cores.clusters`.

    Raises:
        DeviceUnavailable: There is no such cluster, or there are too few CPUs.
    """
    allowed = tuple(sorted(cpu for kind in kinds for cpu in kind.cpus))
    if device.cluster is not None:
        chosen = cluster_named(device.cluster, tuple(kinds))
        if chosen is None:
            raise DeviceUnavailable(
                f"device {device.name!r} wants its {device.cluster} CPUs; there are "
                f"{', '.join(map(str, kinds))}. Leave out cluster in a device file of your own"
            )
        allowed = chosen.cpus
    missing = [cpu for cpu in device.affinity if cpu not in allowed]
    if missing or device.threads > len(allowed):
        raise DeviceUnavailable(
            f"device {device.name!r} wants {device.threads} threads on CPUs "
            f"{list(device.affinity) or 'of any number'}; allowed here are {list(allowed)}. "
            "Change threads or affinity in a device file of your own"
        )
    # Interrupts mostly go to the first CPU, so the last ones are the calmest.
    return device.affinity or allowed[-device.threads :]
