"""Boards and servers, by the system's ``ssh``.

The user's own configuration counts: aliases, keys, jump hosts. Host keys are always verified, and
nobody is asked anything: what needs an answer is an error that says what to type.
"""

import hashlib
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from devices.errors import DeviceUnavailable
from devices.transport.errors import LinkCut, Unreachable
from devices.transport.link import last_line

CONNECT_S = 10
"""Seconds until a host has to answer."""

ALIVE_S, ALIVE_TRIES = 5, 3
"""A link is given up after so many unanswered questions, this far apart in seconds."""

KEEP_S = 60
"""Seconds for which a connection is kept for the next command: making one takes 0.4 s."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SshLink:
    """One host.

    Attributes:
        host: Name, ``user@name``, or a ``Host`` of the configuration.
        port: Where its server listens; 0 for what the configuration says.
        config: An ssh configuration file; empty for the user's own.
    """

    host: str
    port: int = 0
    config: str = ""

    @property
    def name(self) -> str:
        """The host as it was given."""
        return f"{self.host}:{self.port}" if self.port else self.host

    def command(self, script: str) -> list[str]:
        """Return the command that runs ``script`` in the host's shell."""
        if shutil.which("ssh") is None:
            raise DeviceUnavailable("there is no program ssh here: apt install openssh-client")
        options = {
            "BatchMode": "yes",
            "StrictHostKeyChecking": "yes",
            "ConnectTimeout": CONNECT_S,
            "ServerAliveInterval": ALIVE_S,
            "ServerAliveCountMax": ALIVE_TRIES,
            "ControlMaster": "auto",
            "ControlPersist": KEEP_S,
            "ControlPath": self._control_path(),
        }
        settings = [word for key, value in options.items() for word in ("-o", f"{key}={value}")]
        return ["ssh", "-T", *self._address(), *settings, "--", self.host, script]

    def failure(self, said: str) -> Unreachable | LinkCut:
        """Return what ssh meant."""
        by_hand = " ".join(["ssh", *self._address(), self.host])
        if "IDENTIFICATION HAS CHANGED" in said:
            return Unreachable(
                f"the host key of {self.name} is another one than before: it was installed anew, "
                "or somebody stands between. If you know why, forget the old one: ssh-keygen -R "
                f"{self._known_as()}, then log in once by hand: {by_hand}"
            )
        if "host key" in said.lower():
            return Unreachable(
                f"nobody has confirmed the host key of {self.name} yet. Log in once by hand, "
                f"compare its fingerprint and answer yes: {by_hand}"
            )
        if "Permission denied" in said:
            return Unreachable(
                f"{self.name} refuses the login. Give it your key: "
                f"ssh-copy-id {' '.join([*self._address(), self.host])}"
            )
        if "Could not resolve" in said:
            return Unreachable(
                f"no host is called {self.host!r} ({last_line(said)}). Give its address in a "
                "device file, or a Host of that name in ~/.ssh/config"
            )
        if "Bad configuration" in said or "Can't open user config" in said:
            return Unreachable(f"ssh cannot read its configuration: {last_line(said)}")
        return LinkCut(
            f"the link to {self.name} was cut or is not up ({last_line(said)}). "
            f"Is it on, and can you log in: {by_hand}"
        )

    def _address(self) -> list[str]:
        port = ["-p", str(self.port)] if self.port else []
        return [*(["-F", self.config] if self.config else []), *port]

    def _known_as(self) -> str:
        """Return how known-hosts files name the host."""
        host = self.host.rpartition("@")[2]
        return f"'[{host}]:{self.port}'" if self.port not in (0, 22) else host

    def _control_path(self) -> str:
        """Return where the kept connection's socket lies: short, and in a folder of the user's."""
        folder = Path(tempfile.gettempdir()) / f"latkit-ssh-{os.getuid()}"
        folder.mkdir(mode=0o700, exist_ok=True)
        if folder.is_symlink() or folder.stat().st_uid != os.getuid():
            raise DeviceUnavailable(f"{folder} belongs to somebody else: remove it")
        # Other settings must not reuse what these have authenticated.
        return f"{folder}/{hashlib.sha256(self.config.encode()).hexdigest()[:8]}-%C"
