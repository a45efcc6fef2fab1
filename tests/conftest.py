"""What several test files need: seeds, quiet devices, tables that are filled within a second."""

import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
from hypothesis import settings

from devices import DeviceSpec, Simulation, Transport
from devices.transport import connect
from devices.transport.adb import attached
from lut import Effort, LatencyTable, fill_table, load_table, table_for
from profiler import Event
from search import SearchSpace
from search.pricing.coverage import chains_to_measure
from search.pricing.tables import label_space

# Before anything imports torch: tensors this small are slower on two threads, much slower on a busy
# machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A deadline would be a clock gate; a drawn seed would make another test of every run.
settings.register_profile("latkit", deadline=None, derandomize=True)
settings.load_profile("latkit")

MakeTable = Callable[..., LatencyTable]


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def exact() -> DeviceSpec:
    """A simulated device without any noise: what it says can be checked by hand."""
    return DeviceSpec(
        name="exact", backend="simulated", simulation=Simulation(noise=0.0, process_noise=0.0)
    )


@pytest.fixture(scope="session")
def noisy() -> DeviceSpec:
    """A simulated device as quiet as a real one can be."""
    return DeviceSpec(name="noisy", backend="simulated", simulation=Simulation())


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `fill_table` measure in this process: starting one takes a second."""
    monkeypatch.setattr("lut.fill.in_fresh_process", _in_this_process)
    monkeypatch.setattr("lut.timing_cache.in_fresh_process", _in_this_process)


@pytest.fixture(scope="session")
def make_table(tmp_path_factory: pytest.TempPathFactory) -> MakeTable:
    """Fill tables of a space on a simulated device; each is measured once a session."""
    made: dict[object, Path] = {}

    def make(
        device: DeviceSpec, space: SearchSpace, *, networks: int = 20, effort: Effort | None = None
    ) -> LatencyTable:
        effort = effort or Effort(processes=1, rounds=1)
        key = (device, space, networks, effort)
        if key not in made:
            path = tmp_path_factory.mktemp("tables") / f"{device.name}.lut"
            with pytest.MonkeyPatch.context() as patch, table_for(path, device) as file:
                patch.setattr("lut.fill.in_fresh_process", _in_this_process)
                fill_table(file, chains_to_measure(space, networks=networks), effort)
                for name, label in label_space(space).items():
                    file.set_label(name, label)
            made[key] = path
        return load_table(made[key])

    return make


@pytest.fixture(scope="session")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of `tests.tiny_training`; tests read it only."""
    from search.training.loop import train_uniform
    from tests.tiny_training import DATA, SETTINGS, SPACE

    path = tmp_path_factory.mktemp("runs") / "finished"
    train_uniform(SPACE, DATA, SETTINGS, path)
    return path


def _in_this_process(
    stream: Callable[..., Generator[Event, None, None]], *args: Any, **kwargs: Any
) -> Generator[Event, None, None]:
    return stream(*args, **kwargs)


INTEGRATION = Path(__file__).parent.parent / ".integration"
"""What tests/integration_setup.sh has made."""


def lacking(what: str) -> NoReturn:
    """Skip a test of the real thing and say why; fail where the real thing has to be there."""
    reason = f"{what}: run tests/integration_setup.sh as root"
    if os.environ.get("LATKIT_REQUIRE_INTEGRATION") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


STARTS_S = 120.0
"""Seconds in which what a test has started must be there, however busy the machine is."""


def wait_until(ready: Callable[[], bool], what: str) -> None:
    """Wait for what was just started; fail where it does not come."""
    until = time.monotonic() + STARTS_S
    while not ready():
        if time.monotonic() > until:
            pytest.fail(f"{what} is not there after {STARTS_S:.0f} s")
        time.sleep(0.05)


RealDevice = tuple[Transport, str]
"""The way to a device that answers, with an empty folder on it, and a shell script that tears every
connection to it, once: new ones can be made at once."""


@pytest.fixture(scope="session")
def local_device(tmp_path_factory: pytest.TempPathFactory) -> RealDevice:
    folder = tmp_path_factory.mktemp("local device")
    return Transport(kind="local", python=sys.executable, folder=str(folder)), ""


@pytest.fixture(scope="session")
def ssh_device(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealDevice]:
    """Run a server on a loopback port, with keys and a configuration of its own."""
    if not Path("/usr/sbin/sshd").exists():
        lacking("no ssh server is installed")
    folder = tmp_path_factory.mktemp("ssh")
    for key in ("server", "client"):
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / key], check=True
        )
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (folder / "known").write_text(f"[127.0.0.1]:{port} {(folder / 'server.pub').read_text()}")
    (folder / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/server\nPidFile none\n"
        f"AuthorizedKeysFile {folder}/client.pub\nStrictModes no\nUsePAM no\n"
        "PasswordAuthentication no\nPermitRootLogin prohibit-password\n"
    )
    config = folder / "config"
    config.write_text(
        f"Host device\n HostName 127.0.0.1\n Port {port}\n User {getpass.getuser()}\n"
        f" IdentityFile {folder}/client\n IdentitiesOnly yes\n"
        f" UserKnownHostsFile {folder}/known\n GlobalKnownHostsFile /dev/null\n"
    )
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    command = ["/usr/sbin/sshd", "-D", "-e", "-f", str(folder / "sshd_config")]
    with (folder / "log").open("wb") as log, subprocess.Popen(command, stderr=log) as server:
        transport = Transport(
            kind="ssh",
            host="device",
            config=str(config),
            python=sys.executable,
            folder=str(tmp_path_factory.mktemp("ssh device")),
        )
        try:
            wait_until(lambda: server.poll() is not None or listens(port), "the ssh server")
            connect(transport).run(["true"], repeatable=True)
            yield transport, f"pkill -9 -P {server.pid}"
        finally:
            subprocess.run(["pkill", "-9", "-P", str(server.pid)], check=False)
            server.terminate()


def listens(port: int) -> bool:
    """Return whether somebody takes connections at a port of this machine."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


ADBD = r"""
ip link set lo up
export HOME=$1
libraries=$2/usr/lib/x86_64-linux-gnu
while :; do
    $libraries/ld-linux-x86-64.so.2 --library-path $libraries:$libraries/android \
        $2/usr/lib/android-sdk/platform-tools/adbd & echo $! >$1/adbd.pid; wait $!
done
"""
"""The daemon, which listens on every address without a key, so in a network of its own; again
where it was killed."""

KILL_ADBD = (
    "kill -9 $(cat {home}/adbd.pid); "
    "timeout {seconds} sh -c "
    "'until adb -s {serial} shell true </dev/null >/dev/null 2>&1; do sleep 0.05; done'"
)
"""Also waits until the next daemon answers, which takes a busy machine longer than we try again."""


@pytest.fixture(scope="session")
def adb_device(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealDevice]:
    """Run the real daemon, and put an ``adb`` on the path that sees nothing but its network."""
    client = shutil.which("adb")
    if client is None or not (INTEGRATION / "adbd/done").exists() or os.getuid() != 0:
        lacking("there is no adb, no adbd or no right to make a network for them")
    home = tmp_path_factory.mktemp("adb")
    command = ["unshare", "-n", "sh", "-c", ADBD, "adbd", str(home), str(INTEGRATION / "adbd/root")]
    with (
        pytest.MonkeyPatch.context() as patch,
        (home / "log").open("wb") as log,
        subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True) as daemon,
    ):
        wrapper = home / "bin" / "adb"
        wrapper.parent.mkdir()
        # Else the client also lists the daemon's port as that of an emulator.
        wrapper.write_text(
            f"#!/bin/sh\nexport HOME={home} ADB_LOCAL_TRANSPORT_MAX_PORT=5554\n"
            f'exec nsenter --net=/proc/{daemon.pid}/ns/net {client} "$@"\n'
        )
        wrapper.chmod(0o755)
        patch.setenv("PATH", f"{wrapper.parent}:{os.environ['PATH']}")
        transport = Transport(
            kind="adb",
            serial="127.0.0.1:5555",
            python=sys.executable,
            folder=str(tmp_path_factory.mktemp("adb device")),
        )
        attach = ["adb", "connect", transport.serial]

        def there() -> bool:
            subprocess.run(attach, capture_output=True, check=False)
            return f"{transport.serial} (device)" in attached()

        try:
            wait_until(there, "the adb daemon")
            yield transport, KILL_ADBD.format(home=home, serial=transport.serial, seconds=STARTS_S)
        finally:
            subprocess.run(["adb", "kill-server"], capture_output=True, check=False)
            os.killpg(daemon.pid, signal.SIGKILL)


@pytest.fixture(params=["local", "ssh", "adb"])
def real_device(request: pytest.FixtureRequest) -> RealDevice:
    """Each kind of transport in turn."""
    device: RealDevice = request.getfixturevalue(f"{request.param}_device")
    return device


@pytest.fixture(scope="session")
def arm_python() -> str:
    """Return the path of an Arm Python with the real ONNX Runtime, which QEMU runs."""
    python = INTEGRATION / "arm64/python"
    if shutil.which("qemu-aarch64-static") is None or not (INTEGRATION / "arm64/done").exists():
        lacking("there is no Arm Python or no QEMU to run it")
    return str(python)


@pytest.fixture(scope="session")
def xnnpack_python() -> str:
    """Return the path of a Python whose ONNX Runtime was built with XNNPACK."""
    python = INTEGRATION / "xnnpack/python"
    if not (INTEGRATION / "xnnpack/done").exists():
        lacking("there is no ONNX Runtime with XNNPACK")
    return str(python)
