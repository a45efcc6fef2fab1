"""The commands of docs/ci.md run as written, on simulated devices: before an upgrade and after."""

import re
import shlex
from pathlib import Path
from xml.etree import ElementTree

import pytest

import latkit

CI = Path(__file__).parent.parent / "docs" / "ci.md"

OLD = "name: runner\nbackend: simulated\n"
UPGRADED = f"{OLD}simulation:\n  depthwise_macs_per_s: 1.0e+9\n"
"""The device of the recipe, whose depthwise convolutions an upgrade makes slower."""

SUBSTITUTIONS = {
    "--percentile 99": "--device cpu --percentile 50",  # decided by 6 processes instead of 52
}


def blocks() -> list[list[str]]:
    """Return the commands of each console block, without their comments."""
    found = re.findall(r"```console\n(.*?)```", CI.read_text(), flags=re.DOTALL)
    return [
        [line.removeprefix("$ ").partition("#")[0].strip() for line in block.splitlines()]
        for block in found
    ]


def run(command: str, device: str, *, expect: int = 0) -> None:
    for written, instead in SUBSTITUTIONS.items():
        command = command.replace(written, instead)
    program, *arguments = shlex.split(command.replace("--device cpu", f"--device {device}"))
    assert program == "latkit"
    assert latkit.main(arguments) == expect, command


def failed(path: str) -> dict[str, str]:
    """Return the claims that failed in a file of JUnit XML, with the reason of each."""
    return {
        case.get("name", ""): failure.get("message", "")
        for case in ElementTree.parse(path).getroot().iter("testcase")
        for failure in case.iter("failure")
    }


@pytest.mark.slow
def test_an_upgrade_that_breaks_the_budget_fails_the_build_and_is_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("old.yaml").write_text(OLD)
    Path("upgraded.yaml").write_text(UPGRADED)
    Path("quick.toml").write_text("epochs = 1\nwarmup_epochs = 0\nthreads = 1\n")
    for command in (
        "latkit profile --device cpu --space macro --resolution 16 -o cpu.lut",
        "latkit train uniform --space macro --data digits --resolution 16 "
        "--settings quick.toml -o run",
        "latkit search random --run run --table cpu.lut --limit-ms 0.8 "
        "--rounds 1 --population 4 -o arch.json",
        "latkit export arch.json --run run --device old.yaml -o deploy",
    ):
        run(command, "old.yaml")
    usual, (broken, profile, diff) = blocks()
    for command in usual:
        run(command, "old.yaml")
    assert failed("verify.xml") == failed("percentile.xml") == {}
    run(broken, "upgraded.yaml", expect=1)
    assert failed("upgraded.xml")["latency"].startswith("missed: ")
    run(profile, "upgraded.yaml")
    capsys.readouterr()
    run(diff, "upgraded.yaml")
    said = capsys.readouterr().out
    assert re.search(r"mbconv.*SLOWER", said)
