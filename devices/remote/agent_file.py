"""The agent: our own code in one file, for a device that has Python, numpy and onnxruntime.

It holds the sources of the measuring packages as they are here, so the loop, the gate and the
canary on a board are the same ones. The same sources always give the same bytes, and the name holds
their hash: an agent of another version is another file.
"""

import hashlib
import io
import zipfile
from functools import cache
from pathlib import Path

PACKAGES = ("devices", "profiler")
"""What goes in: whole, since what a board never needs is never imported there."""

MAIN = "from profiler.agent import main\n\nraise SystemExit(main())\n"

EPOCH = (1980, 1, 1, 0, 0, 0)
"""The time of every member: the earliest that the format knows."""


@cache
def agent_bytes() -> bytes:
    """Return the agent, a zip file that Python runs."""
    root = Path(__file__).parent.parent.parent
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        _add(archive, "__main__.py", MAIN.encode())
        for package in PACKAGES:
            for path in sorted((root / package).rglob("*.py")):
                _add(archive, path.relative_to(root).as_posix(), path.read_bytes())
    return buffer.getvalue()


@cache
def agent_name() -> str:
    """Return its file name: ``agent-`` and the start of its sha256."""
    return f"agent-{hashlib.sha256(agent_bytes()).hexdigest()[:16]}.pyz"


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    member = zipfile.ZipInfo(name, EPOCH)
    member.compress_type = zipfile.ZIP_DEFLATED
    archive.writestr(member, content, compresslevel=9)
