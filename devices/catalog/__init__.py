"""The known devices: one YAML file each in this folder, validated when read.

A GPU's file stands for all its number formats and batches, which have names of their own:
``rtx-4090-int8``, ``a100-fp32-b32``.
"""

import re
from collections.abc import Mapping
from dataclasses import asdict, fields, is_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from devices.errors import InvalidFile, UnknownName
from devices.files import write_atomically
from devices.places import check_place
from devices.spec import DeviceSpec, Gpu, Precision, Quantization, Simulation, Transport
from devices.spec_sheet import SpecSheet

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

FOLDER = Path(__file__).parent

_PARTS = {
    "simulation": Simulation,
    "quantization": Quantization,
    "gpu": Gpu,
    "transport": Transport,
    "sheet": SpecSheet,
}
"""Keys of a device that have keys of their own."""

SUFFIXES = (".yaml", ".yml")
"""By which files of devices are told from names."""

VARIANT = re.compile(r"(?P<base>.+?)(-(?P<precision>fp32|fp16|int8))?(-b(?P<batch>[1-9]\d*))?")


def known_devices() -> dict[str, DeviceSpec]:
    """Return the devices of the catalog by name."""
    return {path.stem: read_device(path) for path in sorted(FOLDER.glob("*.yaml"))}


def device_named(name: str) -> DeviceSpec:
    """Return a device of the catalog, a variant of one, or one of a YAML file of one's own.

    Args:
        name: A name of the catalog, that of a GPU with a precision and a batch behind it, such as
            ``"rtx-4090-int8-b32"``, or a path that ends in ``.yaml``.

    Raises:
        UnknownName: The catalog has no such device.
        InvalidFile: The file is missing or not a valid device, or takes the name of another one.
    """
    if name.endswith(SUFFIXES):
        return _of_ones_own(Path(name))
    devices = known_devices()
    found = _known(name, devices)
    if found is None:
        raise UnknownName(
            "device", name, devices, cure="See them all: latkit devices; or give a .yaml file."
        )
    return found


def _of_ones_own(path: Path) -> DeviceSpec:
    """Read a device that is in no catalog; its name must not stand for another one there.

    Answers and deployments know their devices by name, and would be taken to the wrong one.
    """
    device = read_device(path)
    known = _known(device.name, known_devices())
    if known is not None and _hardware(known) != _hardware(device):
        raise InvalidFile(
            f"{path} is called {device.name!r}, and so is another device (latkit devices "
            f"{device.name}): give it a name of its own"
        )
    return device


def _hardware(device: DeviceSpec) -> DeviceSpec:
    return replace(device, description="")


def _known(name: str, devices: Mapping[str, DeviceSpec]) -> DeviceSpec | None:
    """Return a device of the catalog or a variant of one; None if there is none of that name."""
    return devices.get(name) or _variant(name, devices)


def _variant(name: str, devices: Mapping[str, DeviceSpec]) -> DeviceSpec | None:
    """Return a GPU in the precision and batch that its name asks for; None if it names none."""
    match = VARIANT.fullmatch(name)
    base = devices.get(match["base"]) if match else None
    if match is None or base is None or base.gpu is None:
        return None
    precision = cast(Precision | None, match["precision"]) or base.precision
    batch = int(match["batch"] or base.batch)
    return replace(in_precision(base, precision), name=name, batch=batch)


def in_precision(device: DeviceSpec, precision: Precision) -> DeviceSpec:
    """Return a device in another number format, under the name that says so."""
    if precision == device.precision:
        return device
    match = VARIANT.fullmatch(device.name)
    assert match is not None  # any text is a base
    name = f"{match['base']}-{precision}" + (f"-b{match['batch']}" if match["batch"] else "")
    return replace(device, name=name, precision=precision, quantization=None)


def read_device(path: Path) -> DeviceSpec:
    """Read one device.

    Raises:
        InvalidFile: The file is missing, no YAML, or has a wrong or unknown key.
        UnknownName: A key is misspelt; says the nearest.
    """
    import yaml
    from pydantic import ValidationError

    try:
        values = yaml.safe_load(path.read_text())
        return device_from_fields(values)
    except OSError as error:
        raise InvalidFile(f"cannot read the device file {path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InvalidFile(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    except ValidationError as error:
        raise _readable(path, error.errors()[0]) from error


def write_device(path: Path, device: DeviceSpec) -> None:
    """Write a device as a file of one's own, whole or not at all; `device_named` reads it.

    Args:
        path: Where; a file that is there is replaced. The device is called as the file is.
        device: What to write: only what differs from the usual.

    Raises:
        InvalidFile: See `check_device_path`.
        CannotWrite: The disk is full, or the place is not writable.
    """
    import yaml

    check_device_path(path)
    said = _said(replace(device, name=path.stem))
    write_atomically(path, yaml.safe_dump(said, sort_keys=False).encode())


def check_device_path(path: Path) -> None:
    """Refuse a path at which no device of one's own can be written.

    Raises:
        InvalidFile: It does not end in ``.yaml``, by which device files are known, or a known
            device is called so.
        CannotWrite: No file can be written there.
    """
    if path.suffix not in SUFFIXES:
        raise InvalidFile(f"a device file ends in .yaml, and {path} does not: call it {path}.yaml")
    check_place(path)
    if _known(path.stem, known_devices()) is not None:
        raise InvalidFile(
            f"{path} would be a device called {path.stem!r}, as a known one is: choose another name"
        )


def _said(part: Any) -> dict[str, Any]:
    """Return the fields of a device, or of a part of one, that differ from their defaults."""
    values = {each.name: getattr(part, each.name) for each in fields(part)}
    unusual = {each.name for each in fields(part) if values[each.name] != each.default}
    return {name: _plain(value) for name, value in values.items() if name in unusual}


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return _said(value) or asdict(value)  # a part with nothing unusual is there all the same
    return list(value) if isinstance(value, tuple) else value


def device_from_fields(values: Any) -> DeviceSpec:
    """Validate the fields of a device, as they come out of YAML or JSON.

    Raises:
        pydantic.ValidationError: A field is wrong, unknown or missing.
    """
    from pydantic import TypeAdapter

    return TypeAdapter(DeviceSpec).validate_python(values)


def _readable(path: Path, problem: "ErrorDetails") -> InvalidFile | UnknownName:
    """Turn the first complaint of pydantic into one line."""
    where = [str(part) for part in problem["loc"]]
    if problem["type"] == "unexpected_keyword_argument":
        owner = _PARTS.get(where[0], DeviceSpec) if len(where) > 1 else DeviceSpec
        known = [field.name for field in fields(owner)]
        return UnknownName("key of a device", where[-1], known, cure=f"It stands in {path}.")
    return InvalidFile(f"{path}: {'.'.join(where) or 'the file'}: {problem['msg']}")
