"""Android devices, by the system's ``adb``: over USB, or ``adb connect`` over the network."""

import shutil
import subprocess
from dataclasses import dataclass

from devices.errors import DeviceUnavailable
from devices.transport.errors import LinkCut, Unreachable
from devices.transport.link import last_line

ADVICE = (
    "a phone: screen off (adb shell input keyevent KEYCODE_SLEEP), nothing open, no case, on a "
    "cool hard surface, charged and on a slow charger; on battery is a condition of its own"
)
"""What keeps an Android device at one speed."""

LIST_S = 10.0
"""Seconds that the list of devices may take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AdbLink:
    """One device.

    Attributes:
        serial: As ``adb devices`` shows it; empty for the only one that is attached.
    """

    serial: str = ""

    @property
    def name(self) -> str:
        """The serial number."""
        return self.serial or "the Android device"

    def command(self, script: str) -> list[str]:
        """Return the command that runs ``script`` in the device's shell, without a terminal."""
        if shutil.which("adb") is None:
            raise DeviceUnavailable("there is no program adb here: apt install adb")
        chosen = ["-s", self.serial] if self.serial else []
        return ["adb", *chosen, "shell", "-T", script]

    def failure(self, said: str) -> Unreachable | LinkCut:
        """Return what adb meant."""
        if "more than one device" in said:
            return Unreachable(
                f"several Android devices are attached ({', '.join(attached()) or 'see them'}: "
                "adb devices). Name one in the device file: transport: {kind: adb, serial: ...}"
            )
        if "unauthorized" in said:
            return Unreachable(
                f"{self.name} has not allowed this computer to debug it: unlock it, confirm the "
                "question on its screen, and run the same command again"
            )
        if "device offline" in said:
            return LinkCut(
                f"{self.name} is attached and does not answer (offline): unlock it, pull the cable "
                "out and put it in again; if that does not help: adb reconnect offline"
            )
        if "no devices" in said or "not found" in said:
            seen = ", ".join(attached()) or "none"
            return LinkCut(
                f"{self.name} is not attached (attached: {seen}). Plug it in and switch on USB "
                "debugging in its developer options; for one in the network: adb connect HOST:PORT"
            )
        return LinkCut(
            f"the link to {self.name} was cut or is not up ({last_line(said)}). "
            "See what is attached: adb devices"
        )


def attached() -> list[str]:
    """Return the serial numbers of the devices that adb sees, with their state."""
    try:
        done = subprocess.run(
            ["adb", "devices"], capture_output=True, text=True, timeout=LIST_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    rows = [line.split("\t") for line in done.stdout.splitlines()[1:] if "\t" in line]
    return [f"{serial} ({state.strip()})" for serial, state, *_ in rows]
