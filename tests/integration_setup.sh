#!/usr/bin/env bash
# What the integration tests run against, from Debian's and Python's packages: an ssh server, the adb
# client and the real adb daemon, a headless Chromium, an ONNX Runtime with XNNPACK, and an Arm Python
# with the real ONNX Runtime for qemu-user.
# Needs Debian, root and Python 3.11. What is not installed system-wide lies in .integration/, which
# git ignores; a part that is there already is not made again.
set -euo pipefail
cd "$(dirname "$0")/.."
mkdir -p .integration
home=$PWD/.integration
python=${PYTHON:-.venv/bin/python}

# unpack FOLDER SUITE ARCHITECTURE PACKAGE...: packages with all they depend on, under FOLDER/root.
# The mirror is the one that the host's own sources name.
unpack() {
    local folder=$1 suite=$2 architecture=$3 mirror
    shift 3
    mirror=${DEBIAN_MIRROR:-$(grep -rhoE 'https?://[^ ]+/debian/?( |$)' /etc/apt/sources.list \
        /etc/apt/sources.list.d 2>/dev/null | head -n 1 || true)}
    mkdir -p "$folder"/apt/lists/partial "$folder"/apt/archives/partial "$folder"/root
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] ${mirror% } $suite main" \
        >"$folder"/apt/sources.list
    local options=(
        -o APT::Architecture="$architecture" -o APT::Architectures::="$architecture"
        -o Dir::Etc::sourcelist="$folder"/apt/sources.list -o Dir::Etc::sourceparts=/dev/null
        -o Dir::State="$folder"/apt -o Dir::State::status=/dev/null -o Dir::Cache="$folder"/apt
        -o APT::Sandbox::User=root
    )
    apt-get "${options[@]}" update -qq
    apt-get "${options[@]}" install -y -qq --no-install-recommends --download-only "$@"
    local package link
    for package in "$folder"/apt/archives/*.deb; do dpkg -x "$package" "$folder"/root; done
    for link in lib lib64 bin; do
        if [ ! -e "$folder/root/$link" ] && [ -e "$folder/root/usr/$link" ]; then
            ln -s "usr/$link" "$folder/root/$link"
        fi
    done
    rm -rf "$folder"/apt
}

wanted=()
[ -x /usr/sbin/sshd ] || wanted+=(openssh-server)
command -v adb >/dev/null || wanted+=(adb)
command -v qemu-aarch64-static >/dev/null || wanted+=(qemu-user-static)
command -v chromium >/dev/null || wanted+=(chromium)
command -v chromedriver >/dev/null || wanted+=(chromium-driver)
if [ ${#wanted[@]} -gt 0 ] && [ "$(id -u)" -ne 0 ]; then
    echo "not root, so ${wanted[*]} cannot be installed: tests that need them will say so and skip" >&2
elif [ ${#wanted[@]} -gt 0 ]; then
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends "${wanted[@]}"
fi

# Debian 12 has no adbd; the one of Debian 13 runs with its own loader.
if [ ! -f "$home"/adbd/done ]; then
    rm -rf "$home"/adbd
    unpack "$home"/adbd trixie amd64 adbd
    touch "$home"/adbd/done
fi

# Python's packages of ONNX Runtime hold no XNNPACK; Debian 13's does, with a Python of its own.
if [ ! -f "$home"/xnnpack/done ]; then
    rm -rf "$home"/xnnpack
    unpack "$home"/xnnpack trixie amd64 python3-onnxruntime
    cat >"$home"/xnnpack/python <<PYTHON
#!/bin/sh
root='$home/xnnpack/root'
lib=\$root/usr/lib/x86_64-linux-gnu
PYTHONHOME=\$root/usr PYTHONPATH=\$root/usr/lib/python3/dist-packages exec \\
    "\$lib/ld-linux-x86-64.so.2" --library-path "\$lib:\$lib/blas:\$lib/lapack" \\
    "\$root/usr/bin/python3.13" "\$@"
PYTHON
    chmod +x "$home"/xnnpack/python
    touch "$home"/xnnpack/done
fi

if [ ! -f "$home"/arm64/done ]; then
    rm -rf "$home"/arm64
    unpack "$home"/arm64 bookworm arm64 python3 libstdc++6 libgomp1
    platforms=()
    for version in manylinux_2_28 manylinux_2_27 manylinux_2_17 manylinux2014; do
        platforms+=(--platform "${version}_aarch64")
    done
    "$python" -m pip install -q --disable-pip-version-check --target "$home"/arm64/site \
        --only-binary=:all: --implementation cp --python-version 3.11 --abi cp311 --abi abi3 \
        "${platforms[@]}" -c constraints.txt onnxruntime numpy
    # onnxruntime parses /proc/cpuinfo, and the host's x86 text makes its import crash: qemu -L serves
    # this one instead.
    mkdir -p "$home"/arm64/root/proc
    for cpu in 0 1; do
        printf '%s\n' "processor : $cpu" "BogoMIPS : 50.00" \
            "Features : fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp asimddp" \
            "CPU implementer : 0x41" "CPU architecture: 8" "CPU variant : 0x3" \
            "CPU part : 0xd0b" "CPU revision : 1" ""
    done >"$home"/arm64/root/proc/cpuinfo
    # The path may hold spaces; SVE models ("max") would be ten times slower.
    cat >"$home"/arm64/python <<PYTHON
#!/bin/sh
PYTHONPATH='$home/arm64/site' exec qemu-aarch64-static -cpu cortex-a76 \\
    -L '$home/arm64/root' '$home/arm64/root/usr/bin/python3.11' "\$@"
PYTHON
    chmod +x "$home"/arm64/python
    touch "$home"/arm64/done
fi
echo "ready: run the tests with LATKIT_REQUIRE_INTEGRATION=1"
