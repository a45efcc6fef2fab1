"""The files of a bundle, and whether they are still what `latkit export` wrote.

bundle.json      `Manifest`: format, and sha256 of every file but those that measuring writes
model.onnx       the network
deployment.json  `export.bundle.deployment.Deployment`: architecture, table, limit, prediction,
                 accuracy
arch.json        what the search answered, see `search.answers`
parity.json      how far the file is from the network in torch, see `export.bundle.output_parity`
reference.npz    sample ``images`` and the ``logits`` that the model has to give for them
load.py          loads and runs the model with its runtime alone
NOTES.md         licence of the model and of the images
model.engine, engine.json, plan.txt, timing.cache
                 the same as an engine of TensorRT, where one was exported:
                 `export.bundle.engine_file`
side_by_side.json
                 latency beside the network in fp32, where it is in another precision
verdict.json     the last `export.verdicts.verdict.Verdict`, once there is one
verdicts.jsonl   every verdict with its raw samples, oldest first

The last three are measured, so no manifest speaks of them. An engine differs from build to build.
All else is the same, byte for byte, in two exports of one network with the same versions.

Formats:
    1   latkit 0.1: no manifest; only the model's sha256 is known, by ``deployment.json``.
    2   a manifest; the table's hash; parity, architecture, loader and notes.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from devices import InvalidFile
from devices.errors import reason_of
from devices.files import sha256_of, write_atomically

FORMAT = 2

MANIFEST, MODEL, DESCRIPTION = "bundle.json", "model.onnx", "deployment.json"
ARCHITECTURE, PARITY, REFERENCE = "arch.json", "parity.json", "reference.npz"
LOADER, NOTES = "load.py", "NOTES.md"
ENGINE, ENGINE_FACTS = "model.engine", "engine.json"
KERNELS, TIMING_CACHE = "plan.txt", "timing.cache"
SIDE_BY_SIDE, VERDICT, HISTORY = "side_by_side.json", "verdict.json", "verdicts.jsonl"

SEALED = (
    *(MODEL, DESCRIPTION, ARCHITECTURE, PARITY, REFERENCE, LOADER, NOTES),
    *(ENGINE, ENGINE_FACTS, KERNELS, TIMING_CACHE),
)
"""What a manifest speaks of, where it is there."""

ALWAYS = frozenset({MODEL, DESCRIPTION, REFERENCE})
"""What every manifest speaks of."""


class NewerBundle(InvalidFile):
    """A bundle was written by a later latkit, in a format that this one does not know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a bundle consists of.

    Attributes:
        files: Name to sha256, 64 hexadecimal digits.
        format: Of the bundle, see the module.
    """

    files: Mapping[str, str]
    format: int = FORMAT

    def check(self, folder: Path) -> None:
        """Check that every file is there and as it was written.

        Raises:
            InvalidFile: One is not; says which.
        """
        for name, expected in self.files.items():
            path = folder / name
            if not path.is_file():
                raise InvalidFile(f"{path} is missing. Copy the whole bundle, or export again")
            found = sha256_of(path)
            if found != expected:
                raise InvalidFile(
                    f"{path} was altered: its sha256 begins with {found[:12]}, the deployment was "
                    f"written for {expected[:12]}. Restore the file, or export again: latkit export"
                )


def seal(folder: Path) -> Manifest:
    """Write the manifest of a bundle as it lies there; after the last of its files."""
    files = {name: sha256_of(folder / name) for name in SEALED if (folder / name).is_file()}
    manifest = Manifest(files=files)
    content = json.dumps(asdict(manifest), indent=2, sort_keys=True) + "\n"
    write_atomically(folder / MANIFEST, content.encode())
    return manifest


def read_manifest(folder: Path) -> Manifest | None:
    """Read the manifest of a bundle; None where there is none, as in format 1.

    Raises:
        NewerBundle: The bundle is of a format that is not known here.
        InvalidFile: The manifest is damaged.
    """
    path = folder / MANIFEST
    try:
        values = json.loads(path.read_text())
        refuse_newer(int(values["format"]), folder)  # whose files may be listed otherwise
        files = {str(name): str(digest) for name, digest in values["files"].items()}
        if not set(files) <= set(SEALED):
            raise ValueError(f"no file of a bundle is called {min(set(files) - set(SEALED))!r}")
        if not set(files) >= ALWAYS:
            raise ValueError(f"it says nothing of {min(ALWAYS - set(files))}")
        return Manifest(files=files, format=int(values["format"]))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise InvalidFile(
            f"{path} is damaged ({reason_of(error)}). Export again: latkit export"
        ) from error


def refuse_newer(format_: int, folder: Path) -> None:
    """Check that a bundle is of a format that is known here.

    Raises:
        NewerBundle: It is not.
    """
    if format_ > FORMAT:
        raise NewerBundle(
            f"{folder} is a bundle of format {format_}; this latkit reads up to {FORMAT}. "
            "Install a newer one: pip install --upgrade latkit"
        )
