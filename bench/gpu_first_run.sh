#!/usr/bin/env bash
# For the first person with a GPU: tests, table, check, search, export, verify, and one report.
#
#   bench/gpu_first_run.sh rtx-4090 gpu_first_run
#
# The first argument is a device (latkit devices), the second a new folder for all that is made.
# Takes about an hour; stops for nothing, so that the report says everything that went wrong.
set -uo pipefail

if [ $# -ne 2 ]; then
    echo "usage: $0 DEVICE FOLDER" >&2
    exit 2
fi
device=$1
folder=$2
cd "$(dirname "$0")/.." || exit 2
mkdir -p "$folder" || exit 2
report=$folder/report.md
table=$folder/$device.lut
run=$folder/run
latkit=.venv/bin/latkit
failures=0

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
        sed 's/^/    /' "$folder/last.txt"
        printf '\nexit %s, %s s\n' "$status" "$((SECONDS - start))"
    } >>"$report"
    [ "$status" -eq 0 ] || failures=$((failures + 1))
    return "$status"
}

# The median of what the table's networks take, in ms: a limit that half of them keep.
middle_ms() {
    .venv/bin/python - "$table" <<'PYTHON'
import sys
from pathlib import Path
from statistics import median

from lut import load_table

table = load_table(Path(sys.argv[1]))
print(f"{1e3 * median(each.latency_s for each in table.networks.values()):.4g}")
PYTHON
}

printf '# First run on %s\n\n%s\n' "$device" "$(date -u +%FT%TZ)" >"$report"
step "The driver" nvidia-smi
step "What is installed" .venv/bin/pip list
if ! step "The device" "$latkit" devices "$device"; then
    echo "The device is not usable; the reason is above and in $report." >&2
    exit 1
fi
export LATKIT_GPU=$device
step "Tests that need a GPU" make gpu
step "A table" "$latkit" profile --device "$device" --space macro -o "$table"
step "Is it right?" "$latkit" table check "$table"
step "A supernet" "$latkit" train uniform --space macro --data digits -o "$run"
limit=$(middle_ms)
step "A network within $limit ms" "$latkit" search evolution --run "$run" --table "$table" \
    --limit-ms "${limit:-1}" --rounds 5 -o "$folder/arch.json"
step "An engine" "$latkit" export "$folder/arch.json" --run "$run" --to tensorrt -o "$folder/ship"
step "Is the promise kept?" "$latkit" verify "$folder/ship" --device "$device"

rm -f "$folder/last.txt"
printf '\n%s steps failed.\n' "$failures" >>"$report"
echo "$failures steps failed; all of it is in $report"
[ "$failures" -eq 0 ]
