"""How long files may take on their way."""

import subprocess
from pathlib import Path
from typing import Any

import pytest

from devices import Transport
from devices.transport import connect


def test_a_large_file_may_take_longer_either_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited_s: list[float] = []
    run = subprocess.run

    def noting(*args: Any, timeout: float, **kwargs: Any) -> Any:
        waited_s.append(timeout)
        return run(*args, timeout=timeout, **kwargs)

    monkeypatch.setattr(subprocess, "run", noting)
    device, large = connect(Transport(kind="local")), tmp_path / "large"
    large.write_bytes(bytes(1_000_000))  # 4 s at 250 kB/s, beside the minute that anything may take
    device.push(large, str(tmp_path / "there"))
    assert max(waited_s) == 64.0
    waited_s.clear()
    device.pull(str(tmp_path / "there"), tmp_path / "back")
    assert max(waited_s) == 64.0
    assert (tmp_path / "back").read_bytes() == large.read_bytes()
