"""The README's commands run as written, but for what is named here."""

import re
import shlex
from pathlib import Path

import pytest

import latkit

README = Path(__file__).parent.parent / "README.md"

SUBSTITUTIONS = {
    "--device cpu": "--device sim",  # its time is simulated, so no clock decides
    "--nets 32": "--nets 6",
    "--data digits": "--data digits --settings quick.toml",
    "--limit-ms 0.5": "--limit-ms 0.5 --rounds 1 --population 4",
}
SETTINGS = "epochs = 1\nwarmup_epochs = 0\nthreads = 1\n"


def commands() -> list[str]:
    """Return the commands of the README's console block, without their comments."""
    (block,) = re.findall(r"```console\n(.*?)```", README.read_text(), flags=re.DOTALL)
    return [line.removeprefix("$ ").partition("#")[0].strip() for line in block.splitlines()]


def test_the_readme_goes_the_whole_road(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("quick.toml").write_text(SETTINGS)
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
