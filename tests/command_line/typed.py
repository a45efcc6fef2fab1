"""Commands as they are typed, and what they print."""

import json
from typing import Any

import pytest

import latkit


def run(command: str, *, expect: int = 0) -> None:
    """Run a verb to its exit status."""
    assert latkit.main(command.split()) == expect


def figures(capsys: pytest.CaptureFixture[str], command: str, *, expect: int = 0) -> Any:
    """Run a verb with ``--json``; standard output must hold figures only."""
    capsys.readouterr()
    run(f"{command} --json", expect=expect)
    return json.loads(capsys.readouterr().out)


def complaint(capsys: pytest.CaptureFixture[str], command: str) -> str:
    """Run a verb that must be refused; return its one line."""
    capsys.readouterr()
    run(command, expect=2)
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = [line for line in captured.err.splitlines() if line.startswith("latkit: ")]
    assert len(lines) == 1
    assert "Traceback" not in captured.err
    return lines[0]
