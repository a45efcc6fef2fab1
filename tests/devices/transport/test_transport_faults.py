"""What a user meets on the way to a device, on the real daemons, and what he is told."""

import os
import shutil
import socket
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Thread

import pytest

from devices import DeviceUnavailable, Transport
from devices.transport import LinkCut, Unreachable, connect
from devices.transport.adb import attached
from tests.conftest import STARTS_S, lacking, wait_until

RealDevice = tuple[Transport, str]


def complaint(transport: Transport, error: type[DeviceUnavailable]) -> str:
    """Return what is said where a device cannot be used: one line."""
    with pytest.raises(error) as raised:
        connect(transport).run(["true"])
    assert "\n" not in str(raised.value)
    return str(raised.value)


def configured(device: RealDevice, folder: Path, old: str, new: str) -> Transport:
    """Return the way to the ssh device by a configuration in which something is different."""
    text = Path(device[0].config).read_text()
    assert old in text
    (folder / "config").write_text(text.replace(old, new))
    return replace(device[0], config=str(folder / "config"))


def test_a_host_key_that_nobody_confirmed_is_refused_with_the_cure(
    ssh_device: RealDevice, tmp_path: Path
) -> None:
    known = Path(ssh_device[0].config).with_name("known")
    stranger = configured(ssh_device, tmp_path, str(known), str(tmp_path / "known"))
    said = complaint(stranger, Unreachable)
    assert "nobody has confirmed the host key of device" in said
    assert said.endswith(f"answer yes: ssh -F {tmp_path}/config device")
    assert not (tmp_path / "known").exists()  # it was not accepted behind the user's back
    (tmp_path / "known").write_text(known.read_text())
    assert connect(stranger).run(["true"]).exit_code == 0


def test_a_host_key_that_changed_is_refused_even_if_the_user_is_careless(
    ssh_device: RealDevice, tmp_path: Path
) -> None:
    known = Path(ssh_device[0].config).with_name("known")
    where, *_ = known.read_text().split()
    other = known.with_name("client.pub").read_text()
    (tmp_path / "known").write_text(f"{where} {other}")
    careless = f"{tmp_path}/known\n StrictHostKeyChecking no"
    said = complaint(configured(ssh_device, tmp_path, str(known), careless), Unreachable)
    assert "the host key of device is another one than before" in said


def test_a_login_that_is_refused_names_the_cure(ssh_device: RealDevice, tmp_path: Path) -> None:
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    client = str(Path(ssh_device[0].config).with_name("client"))
    said = complaint(configured(ssh_device, tmp_path, client, str(key)), Unreachable)
    assert f"refuses the login. Give it your key: ssh-copy-id -F {tmp_path}/config device" in said


def test_a_host_that_is_down_may_be_up_in_a_moment(ssh_device: RealDevice, tmp_path: Path) -> None:
    text = Path(ssh_device[0].config).read_text()
    (port,) = (line.split()[1] for line in text.splitlines() if "Port" in line)
    said = complaint(configured(ssh_device, tmp_path, f"Port {port}", "Port 1"), LinkCut)
    assert "Connection refused" in said


def test_a_host_that_nobody_knows_is_named(tmp_path: Path) -> None:
    (tmp_path / "config").write_text("")
    stranger = Transport(kind="ssh", host="no-such-host.invalid", config=str(tmp_path / "config"))
    assert "no host is called 'no-such-host.invalid'" in complaint(stranger, Unreachable)


def test_a_configuration_that_is_not_there_is_named() -> None:
    stranger = Transport(kind="ssh", host="device", config="/no/such/config")
    assert "/no/such/config" in complaint(stranger, Unreachable)


def test_an_android_device_that_is_not_attached_is_named_beside_those_that_are(
    adb_device: RealDevice,
) -> None:
    said = complaint(replace(adb_device[0], serial="pixel"), LinkCut)
    assert said.startswith("pixel is not attached (attached: 127.0.0.1:5555 (device)")
    assert "). Plug it in" in said


def test_one_android_device_needs_no_name_and_several_do(adb_device: RealDevice) -> None:
    nameless = replace(adb_device[0], serial="")
    assert connect(nameless).run(["echo", "here"]).stdout == b"here\n"
    subprocess.run(["adb", "connect", "localhost:5555"], check=True, capture_output=True)
    try:
        said = complaint(nameless, Unreachable)
    finally:
        subprocess.run(["adb", "disconnect", "localhost:5555"], check=True, capture_output=True)
    assert said.startswith("several Android devices are attached (")
    assert "127.0.0.1:5555 (device)" in said
    assert "localhost:5555 (device)" in said


def test_no_android_device_at_all_says_what_to_do(adb_device: RealDevice) -> None:
    subprocess.run(["adb", "disconnect"], check=True, capture_output=True)
    try:
        said = complaint(replace(adb_device[0], serial=""), LinkCut)
    finally:
        subprocess.run(["adb", "connect", adb_device[0].serial], check=True, capture_output=True)
    assert "(attached: none). Plug it in and switch on USB debugging" in said


MESSAGE = struct.Struct("<6I")
"""Of adb's protocol: command, two arguments, size and sum of what follows, inverse of the first."""


def answer(connection: socket.socket, *, tokens: int) -> None:
    """Be a phone that asks for so many signatures, and is silent from then on."""
    with connection:
        while header := connection.recv(MESSAGE.size, socket.MSG_WAITALL):
            connection.recv(MESSAGE.unpack(header)[3], socket.MSG_WAITALL)
            if tokens > 0:
                tokens -= 1
                auth = int.from_bytes(b"AUTH", "little")
                connection.sendall(MESSAGE.pack(auth, 1, 0, 20, 0, auth ^ 0xFFFFFFFF) + bytes(20))


@pytest.fixture
def adb_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Run an adb server of our own, that sees nothing but what it is told of."""
    monkeypatch.setenv("PATH", os.defpath)  # not the client that sees another network only
    if shutil.which("adb") is None:
        lacking("there is no adb")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(probe.getsockname()[1]))
    monkeypatch.setenv("ADB_LOCAL_TRANSPORT_MAX_PORT", "5554")
    monkeypatch.setenv("HOME", str(tmp_path))
    subprocess.run(["adb", "start-server"], capture_output=True, check=True)
    yield
    subprocess.run(["adb", "kill-server"], capture_output=True, check=False)


@contextmanager
def phone(state: str, *, tokens: int) -> Iterator[str]:
    """Attach a phone that `answer` plays; yield its serial number when adb calls it that."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        serial = f"127.0.0.1:{server.getsockname()[1]}"
        with subprocess.Popen(["adb", "connect", serial], stdout=subprocess.DEVNULL) as connecting:
            playing = Thread(target=lambda: answer(server.accept()[0], tokens=tokens), daemon=True)
            playing.start()
            try:
                wait_until(lambda: f"{serial} ({state})" in attached(), f"{serial} ({state})")
                yield serial
            finally:
                subprocess.run(["adb", "disconnect"], capture_output=True, check=True)
                connecting.kill()
        playing.join(STARTS_S)  # for ever, if adb never came


@pytest.mark.usefixtures("adb_server")
def test_a_phone_that_was_not_asked_yet_says_what_to_do() -> None:
    # first it is sent a signature that it does not know, then the key, and asks its owner
    with phone("unauthorized", tokens=2) as serial:
        said = complaint(Transport(kind="adb", serial=serial), Unreachable)
    assert said.startswith(
        f"{serial} has not allowed this computer to debug it: unlock it, confirm"
    )


@pytest.mark.usefixtures("adb_server")
def test_a_phone_that_is_offline_may_be_back_in_a_moment() -> None:
    with phone("offline", tokens=0) as serial:
        said = complaint(Transport(kind="adb", serial=serial), LinkCut)
    assert said.startswith(f"{serial} is attached and does not answer (offline): unlock it, pull")


@pytest.mark.parametrize(
    ("transport", "program"),
    [
        (Transport(kind="ssh", host="device"), "no program ssh here: apt install openssh-client"),
        (Transport(kind="adb"), "no program adb here: apt install adb"),
    ],
)
def test_a_program_that_is_not_installed_is_named(
    transport: Transport, program: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert complaint(transport, DeviceUnavailable).endswith(program)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"kind": "ssh"}, "a host if, and only if, its kind is ssh"),
        ({"kind": "adb", "host": "pi"}, "a host if, and only if, its kind is ssh"),
        ({"kind": "ssh", "host": "-oProxyCommand=id"}, "is no name of a host"),
        ({"kind": "ssh", "host": "a b"}, "is no name of a host"),
        ({"kind": "adb", "serial": "-s"}, "is no name of a host"),
        ({"kind": "ssh", "host": "pi", "serial": "x"}, "serial is for kind adb"),
        ({"kind": "local", "port": 22}, "port and config are for kind ssh"),
        ({"kind": "ssh", "host": "pi", "port": 65536}, "a port is 0 to 65535"),
        ({"kind": "local", "folder": "a\0b"}, "transport are paths"),
        ({"kind": "local", "python": ""}, "transport are paths"),
    ],
)
def test_a_transport_that_leads_nowhere_is_refused(values: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Transport(**values)  # type: ignore[arg-type]
