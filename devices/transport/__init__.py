"""Transports: how bytes and commands reach a device that is not this machine."""

from devices.spec import Transport
from devices.transport.adb import ADVICE, AdbLink
from devices.transport.connection import Completed, Connection, Machine
from devices.transport.errors import CommandFailed, DeviceFull, LinkCut, Unreachable
from devices.transport.link import Link
from devices.transport.local import LocalLink
from devices.transport.running import Running
from devices.transport.ssh import SshLink

__all__ = [
    "ADVICE",
    "CommandFailed",
    "Completed",
    "Connection",
    "DeviceFull",
    "Link",
    "LinkCut",
    "Machine",
    "Running",
    "Unreachable",
    "connect",
]


def connect(transport: Transport) -> Connection:
    """Return the way to a device. Nothing is opened before it is used.

    Args:
        transport: As the device's file gives it.
    """
    match transport.kind:
        case "ssh":
            link: Link = SshLink(host=transport.host, port=transport.port, config=transport.config)
        case "adb":
            link = AdbLink(serial=transport.serial)
        case "local":
            link = LocalLink()
    return Connection(link)
