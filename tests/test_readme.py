"""The README's commands run as written, but for what is named here."""

import re
import shlex
from pathlib import Path

import pytest

import latkit

README = Path(__file__).parent.parent / "README.md"

SUBSTITUTIONS = {
    "--device cpu-int8": "--device sim-troubled",
    "--device cpu": "--device sim",  # its time is simulated, so no clock decides
    "--nets 32": "--nets 6",
    "--data digits": "--data digits --settings quick.toml",
    "--limit-ms 0.5": "--limit-ms 0.5 --rounds 1 --population 4",
    "--from runs/digits": "--from runs/digits --settings quick.toml",
    "econas --data digits --settings quick.toml": "econas --data digits --settings trials.toml",
    "--resolution 16 --nets 8": "--resolution 16 --nets 3 --grid c4r2s0e1,c6r2s0e1",
    "proxies --space macro --data digits --settings quick.toml": (
        "proxies --space macro --data digits --settings trials.toml"
    ),
}
SETTINGS = "epochs = 1\nwarmup_epochs = 0\nthreads = 1\n[sgnas]\nepochs = 1\n"
TRIALS = """
warmup_epochs = 0
threads = 1
[econas]
initial = 2
cycles = 1
epochs = [1, 2, 3]
promoted = [1, 1]
mothers = [1, 1, 1]
images = 64
validation = 64
"""


def commands() -> list[str]:
    """Return the commands of the README's console blocks, without their comments."""
    blocks = re.findall(r"```console\n(.*?)```", README.read_text(), flags=re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    return [line.removeprefix("$ ").partition("#")[0].strip() for line in lines]


def test_the_readme_goes_the_whole_road(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("quick.toml").write_text(SETTINGS)
    Path("trials.toml").write_text(TRIALS)
    verbs = []
    for command in commands():
        for written, instead in SUBSTITUTIONS.items():
            command = command.replace(written, instead)
        program, *arguments = shlex.split(command)
        assert program == "latkit"
        assert latkit.main(arguments) == 0, command
        verbs.append(arguments[0])
    assert {"profile", "predict", "train", "search", "export", "verify"} <= set(verbs)
    assert Path("deploy/verdict.json").is_file()


def test_every_file_that_the_readme_links_exists() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", README.read_text())
    assert links
    assert [link for link in links if not (README.parent / link).exists()] == []
