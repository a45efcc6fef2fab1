import json
import re
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from devices import (
    BACKENDS,
    DeviceSpec,
    Gpu,
    InvalidFile,
    LatkitError,
    Quantization,
    Simulation,
    Transport,
    UnknownName,
    backend_for,
    device_from_fields,
    device_named,
    known_devices,
)
from devices.backend import ON_PAPER
from devices.catalog import in_precision, write_device
from devices.files import CannotWrite

GOOD = "name: mine\nbackend: simulated\n"


def written(folder: Path, text: str) -> str:
    path = folder / "mine.yaml"
    path.write_text(text)
    return str(path)


def complaint(folder: Path, text: str) -> str:
    """Return what is said about a device file: one line that names the file."""
    path = written(folder, text)
    with pytest.raises(LatkitError) as raised:
        device_named(path)
    message = str(raised.value)
    assert "\n" not in message
    assert path in message
    return message.replace(path, "FILE")


def test_every_device_of_the_catalog_is_called_like_its_file() -> None:
    names = {"cpu", "cpu-2t", "cpu-2t-int8", "cpu-int8", "sim", "sim-troubled"}
    assert known_devices().keys() >= names
    assert all(device.name == stem for stem, device in known_devices().items())


def test_every_device_of_the_catalog_has_a_known_backend_and_a_description() -> None:
    for device in known_devices().values():
        assert device.backend in {*BACKENDS, *ON_PAPER}
        assert device.description


def test_devices_of_the_catalog_differ() -> None:
    specs = [replace(spec, name="", description="") for spec in known_devices().values()]
    assert len(set(specs)) == len(specs)


def test_a_device_of_the_catalog_is_found_by_its_name() -> None:
    assert device_named("cpu-2t").threads == 2


def test_an_unknown_device_names_the_nearest_and_the_command_that_lists_them() -> None:
    with pytest.raises(UnknownName, match=r"'cpu_2t'; the nearest is 'cpu-2t'.*latkit devices"):
        device_named("cpu_2t")


def test_a_name_like_no_other_gets_the_whole_list() -> None:
    with pytest.raises(
        UnknownName, match=r"known are: a100, .*cpu, cpu-2t, cpu-2t-int8, cpu-int8, .*sim"
    ):
        device_named("xyzzy")


def test_a_gpu_is_known_in_every_precision_and_batch_by_a_name_of_its_own() -> None:
    base = device_named("rtx-4090")
    assert base.precision == "fp16"
    assert device_named("rtx-4090-fp32-b8") == replace(
        base, name="rtx-4090-fp32-b8", precision="fp32", batch=8
    )
    int8 = device_named("rtx-4090-int8")
    assert int8.quantization == Quantization(activations="int8", symmetric=True)
    assert device_named("a100-b256").batch == 256
    assert not {"rtx-4090-int8", "a100-b256"} & known_devices().keys()


@pytest.mark.parametrize("name", ["sim-fp16", "cpu-b8", "rtx-4090-b0", "rtx-4090-fp8"])
def test_only_gpus_have_variants_and_only_real_ones(name: str) -> None:
    with pytest.raises(UnknownName, match=f"no device is called '{name}'"):
        device_named(name)


def test_a_variant_in_another_precision_keeps_its_batch() -> None:
    assert in_precision(device_named("a100-fp32-b8"), "int8").name == "a100-int8-b8"
    assert in_precision(device_named("a100"), "fp16") == device_named("a100")


def test_a_gpu_device_of_ones_own_says_which(tmp_path: Path) -> None:
    text = (
        "name: mine\nbackend: tensorrt\nprecision: fp16\n"
        "gpu: {module: tensorrt_rtx, compute_capability: '12.0', cold_l2: true, clock_mhz: 1500}\n"
    )
    assert device_named(written(tmp_path, text)).gpu == Gpu(
        module="tensorrt_rtx", compute_capability="12.0", cold_l2=True, clock_mhz=1500
    )
    assert device_named(written(tmp_path, "name: mine\nbackend: tensorrt\n")).gpu == Gpu()


def test_a_device_file_of_ones_own_is_read(tmp_path: Path) -> None:
    text = GOOD + "threads: 2\naffinity: [3, 5]\nsimulation: {noise: 0.5, seed: 7}\n"
    assert device_named(written(tmp_path, text)) == DeviceSpec(
        name="mine",
        backend="simulated",
        threads=2,
        affinity=(3, 5),
        simulation=Simulation(noise=0.5, seed=7),
    )


@pytest.mark.parametrize("device", known_devices().values(), ids=lambda device: device.name)
def test_a_device_survives_json(device: DeviceSpec) -> None:
    assert device_from_fields(json.loads(json.dumps(asdict(device)))) == device


@pytest.mark.parametrize("device", known_devices().values(), ids=lambda device: device.name)
def test_a_device_survives_a_file_of_ones_own(device: DeviceSpec, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    write_device(path, device)
    assert device_named(str(path)) == replace(device, name="mine")


def test_a_device_file_says_what_is_unusual_and_has_to_be_called_yaml(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    write_device(path, DeviceSpec(name="other", backend="simulated", affinity=(3,)))
    assert path.read_text() == "name: mine\nbackend: simulated\naffinity:\n- 3\n"
    with pytest.raises(InvalidFile, match=r"ends in \.yaml, and mine does not: call it mine\.yaml"):
        write_device(Path("mine"), DeviceSpec(name="mine", backend="simulated"))
    for name in ("cpu-int8", "rtx-4090-int8-b8"):
        with pytest.raises(InvalidFile, match=f"device called '{name}', as a known one is"):
            write_device(tmp_path / f"{name}.yaml", DeviceSpec(name="mine", backend="simulated"))
    with pytest.raises(CannotWrite, match=r"mine\.yaml: there is no folder .*nowhere"):
        write_device(tmp_path / "nowhere/mine.yaml", DeviceSpec(name="x", backend="simulated"))


@pytest.mark.parametrize("name", ["cpu", "rtx-4090-int8"])
def test_a_device_of_ones_own_has_a_name_of_its_own(name: str, tmp_path: Path) -> None:
    """What is exported for it later is looked up by its name."""
    text = f"name: {name}\nbackend: simulated\n"
    with pytest.raises(InvalidFile, match=f"is called '{name}', and so is another device"):
        device_named(written(tmp_path, text))
    same = "name: cpu\nbackend: onnxruntime\ndescription: in my words\nthreads: 1\n"
    assert device_named(written(tmp_path, same)).description == "in my words"


def test_a_misspelt_key_names_the_nearest(tmp_path: Path) -> None:
    assert complaint(tmp_path, GOOD + "threds: 2") == (
        "no key of a device is called 'threds'; the nearest is 'threads'. It stands in FILE."
    )


def test_a_misspelt_key_of_a_simulation_names_the_nearest_of_those(tmp_path: Path) -> None:
    said = complaint(tmp_path, GOOD + "simulation: {trottle_after_s: 2}")
    assert "'trottle_after_s'; the nearest is 'throttle_after_s'" in said


def test_a_misspelt_key_of_a_quantisation_names_the_nearest_of_those(tmp_path: Path) -> None:
    said = complaint(tmp_path, GOOD + "precision: int8\nquantization: {per_chanel: false}")
    assert "'per_chanel'; the nearest is 'per_channel'" in said


def test_an_int8_device_always_says_how_it_quantises(tmp_path: Path) -> None:
    mine = device_named(written(tmp_path, GOOD + "precision: int8"))
    assert mine.quantization == Quantization(activations="uint8", per_channel=True)
    arm = "precision: int8\nquantization: {activations: int8}"
    assert device_named(written(tmp_path, GOOD + arm)) == replace(
        mine, quantization=Quantization(activations="int8")
    )
    assert device_named("cpu").quantization is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (GOOD + "threads: many", "FILE: threads: .* valid integer"),
        (GOOD + "threads: 0", "threads and batch are 1 or more, got 0 and 1"),
        (GOOD + "batch: 0", "threads and batch are 1 or more, got 1 and 0"),
        (GOOD + "precision: fp8", "FILE: precision: .*'fp32', 'fp16' or 'int8'"),
        (GOOD + "quantization: {}", "quantization is for precision int8, not fp32"),
        (
            GOOD + "precision: int8\nquantization: {activations: int4}",
            "FILE: quantization.activations: .*'uint8' or 'int8'",
        ),
        (GOOD + "optimization: most", "FILE: optimization: .*'disable'"),
        (GOOD + "simulation: {noise: loud}", "FILE: simulation.noise: .* valid number"),
        (GOOD + "simulation: {load_share: 2}", r"shares of a simulated device are in \[0, 1\]"),
        (GOOD + "simulation: {bytes_per_s: 0}", "needs positive rates"),
        (GOOD + "simulation: {load_factor: 0}", r"factors of a simulated device are 1 or more"),
        (GOOD + "simulation: {noise: -1}", "noise of a simulated device is 0 or more"),
        (GOOD + "simulation: {node_s: -1}", "seconds of a simulated device are 0 or more"),
        (
            "name: mine\nbackend: onnxruntime\nprecision: int8\ngpu: {}",
            "device 'mine': a gpu is for the backend tensorrt, not onnxruntime",
        ),
        (GOOD + "gpu: {}", "a gpu is for the backend tensorrt, not simulated"),
        (
            "name: mine\nbackend: tensorrt\nsimulation: {}",
            "a simulation is for the backend simulated, not tensorrt",
        ),
        (GOOD + "gpu: {compute_capability: '89'}", "capability is like '8.9', in quotes, not '89'"),
        (GOOD + "gpu: {compute_capability: 8.9}", "FILE: gpu.compute_capability: .* valid string"),
        (GOOD + "gpu: {index: -1}", "index and the clock of a GPU are 0 or more"),
        (GOOD + "gpu: {module: trt}", "FILE: gpu.module: .*'tensorrt' or 'tensorrt_rtx'"),
        (GOOD + "simulation: 3", "FILE: simulation: .* dictionary"),
        ("name: mine", "FILE: backend: Field required"),
        ("", "FILE: the file: .* dictionary"),
        ("- name", "FILE: the file: .* dictionary"),
        ("name: [mine", "FILE is not YAML: .*line 1"),
        ("name: a\n---\nname: b", "FILE is not YAML: .*single document"),
    ],
)
def test_a_wrong_value_is_named_with_its_key(tmp_path: Path, text: str, said: str) -> None:
    assert re.search(said, complaint(tmp_path, text))


def test_a_binary_file_is_no_yaml(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(InvalidFile, match=r"mine\.yaml is not YAML"):
        device_named(str(path))


def test_a_missing_device_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidFile, match=r"cannot read .*none\.yaml: No such file"):
        device_named(str(tmp_path / "none.yaml"))


def test_a_folder_is_no_device_file(tmp_path: Path) -> None:
    folder = tmp_path / "folder.yaml"
    folder.mkdir()
    with pytest.raises(InvalidFile, match=r"cannot read .*folder\.yaml: Is a directory"):
        device_named(str(folder))


@pytest.mark.parametrize("affinity", [(0,), (0, 0), (0, 0, 1), (0, 1, 2)])
def test_an_affinity_names_one_cpu_for_each_thread(affinity: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="names one CPU for each of 2 threads"):
        DeviceSpec(name="mine", backend="onnxruntime", threads=2, affinity=affinity)


def test_an_unknown_backend_names_the_nearest_and_the_device() -> None:
    device = DeviceSpec(name="mine", backend="onnxruntimes")
    with pytest.raises(UnknownName, match=r"the nearest is 'onnxruntime'. See device 'mine'"):
        backend_for(device)


def test_only_one_thread_of_a_cpu_is_timed_cold_and_never_by_fresh_processes() -> None:
    far = Transport(kind="ssh", host="far")
    one = DeviceSpec(name="one", backend="onnxruntime", transport=far)
    assert one.timed_cold
    assert not replace(one, threads=2).timed_cold
    assert not replace(one, perf_test="/data/onnxruntime_perf_test").timed_cold
    assert not DeviceSpec(name="gpu", backend="tensorrt", transport=far).timed_cold
