#!/usr/bin/env bash
# For the first person with a GPU: tests, table, check, search, export, verify, and one report.
#
#   bench/gpu_first_run.sh rtx-4090 gpu_first_run
#
# The first argument is a device (latkit devices) or a device file, the second a new folder for all
# that is made, the third, if any, the side of the images in pixels (32). Takes about an hour. A step
# that fails is in the report with all it said, and what needs it is left out; the rest goes on.
# With a device that is no GPU it is a rehearsal: bench/gpu_first_run.sh sim rehearsal 16
set -uo pipefail

if [ $# -lt 2 ] || [ $# -gt 3 ]; then
    echo "usage: $0 DEVICE FOLDER [PIXELS]" >&2
    exit 2
fi
device=$1
pixels=${3:-32}
if [ -e "$2" ]; then
    echo "$0: $2 is there already: name a new folder" >&2
    exit 2
fi
case $2 in /*) folder=$2 ;; *) folder=$PWD/$2 ;; esac
[ -f "$device" ] && device=$(cd "$(dirname "$device")" && pwd)/$(basename "$device")
cd "$(dirname "$0")/.." || exit 2
if [ ! -x .venv/bin/latkit ]; then
    echo "$0: latkit is not installed in .venv: make install, then pip install '.[tensorrt,cuda]'" >&2
    exit 2
fi
.venv/bin/latkit devices "$device" >/dev/null || exit 2 # says what is wrong with the name or file
mkdir -p "$folder" || exit 2
report=$folder/report.md
table=$folder/table.lut
run=$folder/run
latkit=.venv/bin/latkit
failed=()
left_out=()

# Run a step, keep what it printed, and say in the report how it ended.
step() {
    local title=$1
    shift
    local start=$SECONDS
    {
        printf '\n## %s\n\n    $' "$title"
        printf ' %q' "$@"
        printf '\n\n'
    } >>"$report"
    echo "== $title"
    "$@" 2>&1 | tee "$folder/last.txt"
    local status=${PIPESTATUS[0]}
    {
        tr '\r' '\n' <"$folder/last.txt" | sed 's/^/    /'
        printf '\nexit %s, %s s\n' "$status" "$((SECONDS - start))"
    } >>"$report"
    [ "$status" -eq 0 ] || failed+=("$title")
    return "$status"
}

# Run a step that needs a file of an earlier one; leave it out where that is not there.
needs() {
    local file=$1
    shift
    if [ ! -e "$file" ]; then
        printf '\n## %s\n\nLeft out: %s was not made.\n' "$1" "$(basename "$file")" >>"$report"
        echo "== $1: left out, $(basename "$file") was not made"
        left_out+=("$1")
        return 1
    fi
    step "$@"
}

# Write how it ended, on screen and in the report, and end.
finish() {
    rm -f "$folder/last.txt"
    {
        printf '\n## In the end\n\n%s steps failed' "${#failed[@]}"
        [ "${#failed[@]}" -gt 0 ] && printf '; %s' "${failed[@]}"
        printf '\n\n%s steps were left out' "${#left_out[@]}"
        [ "${#left_out[@]}" -gt 0 ] && printf '; %s' "${left_out[@]}"
        printf '\n'
    } >>"$report"
    echo "${#failed[@]} steps failed, ${#left_out[@]} were left out; all of it is in $report"
    [ "${#failed[@]}" -eq 0 ]
    exit
}
trap 'echo "interrupted: what is done is in $report" >&2; failed+=("interrupted"); finish' INT TERM

# A question about the device or its table, answered by latkit's own code.
ask() {
    .venv/bin/python - "$@" <<'PYTHON'
import sys
from pathlib import Path
from statistics import median

from devices import DeviceUnavailable, backend_for, device_named
from lut import load_table

question, name = sys.argv[1:]
if question == "usable":
    try:
        backend_for(device_named(name))
    except DeviceUnavailable as error:
        sys.exit(f"{name} is not usable: {error}")
elif question == "gpu":  # what is to be exported
    print("onnx" if device_named(name).gpu is None else "tensorrt")
elif question == "capability":
    gpu = device_named(name).gpu
    print("" if gpu is None or gpu.module != "tensorrt_rtx" else gpu.compute_capability)
else:  # a limit that half of the table's networks keep, in ms
    networks = load_table(Path(name)).networks.values()
    print(f"{1e3 * median(each.latency_s for each in networks):.4g}")
PYTHON
}

to=$(ask gpu "$device") || exit 2
capability=$(ask capability "$device")
printf '# First run on %s\n\n%s\n' "$device" "$(date -u +%FT%TZ)" >"$report"
if [ "$to" = tensorrt ]; then
    step "The driver" nvidia-smi
else
    printf '\nA rehearsal: this device is no GPU.\n' >>"$report"
fi
step "What is installed" .venv/bin/pip list
step "The device" "$latkit" devices "$device"
if ! step "Is it usable?" ask usable "$device"; then
    left_out+=("all that needs the device")
    finish
fi
export LATKIT_GPU=$device
[ "$to" = tensorrt ] && step "Tests that need a GPU" make gpu
space=(--space macro --resolution "$pixels")
step "A table" "$latkit" profile --device "$device" "${space[@]}" -o "$table"
needs "$table" "What it knows" "$latkit" table "$table"
needs "$table" "Is it right?" "$latkit" table check "$table"
needs "$table" "What a network's time is made of" "$latkit" explain "$table" 22222222
step "A supernet" "$latkit" train uniform "${space[@]}" --data digits -o "$run"
memory=()
if [ -n "$capability" ]; then
    step "Kernels and memory, planned" "$latkit" profile --device rtx-aot "${space[@]}" \
        --capability "$capability" -o "$folder/macro.plan"
    [ -e "$folder/macro.plan" ] && memory=(--limit-mb 1000 --plans "$folder/macro.plan")
fi
limit=$([ -e "$table" ] && ask limit "$table")
needs "$table" "A network within ${limit:-?} ms" "$latkit" search evolution --run "$run" \
    --table "$table" --limit-ms "${limit:-1}" --rounds 5 "${memory[@]}" -o "$folder/arch.json"
needs "$folder/arch.json" "A file for the device" "$latkit" export "$folder/arch.json" \
    --run "$run" --to "$to" --device "$device" -o "$folder/ship"
needs "$folder/ship" "Is the promise kept?" "$latkit" verify "$folder/ship" --device "$device"
finish
