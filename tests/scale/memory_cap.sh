#!/usr/bin/env bash
# Converts layers of true size inside a memory cgroup of 4 GiB, and compares the file with one made without a limit.
#
#   tests/scale/memory_cap.sh [FATHOM] [D+M] [FOLDER] [LIMIT_MIB]
#
# FATHOM   the release binary                              (default target/release/fathom)
# D+M      dense and expert layers; 0+1 needs 24 GB of disk, 1+0 only 1.4 GB    (default 0+1)
# FOLDER   where the files go; they are removed again      (default a temporary folder)
#
# Exit code 0: converted within the limit, and so say the kernel's own counters; 77: no memory cgroup can be made here.
set -euo pipefail

fathom=${1:-target/release/fathom}
slice=${2:-0+1}
folder=$(mktemp -d "${3:-${TMPDIR:-/tmp}}/fathom-memory-cap.XXXXXX")
limit=$(( ${4:-4096} * 1024 * 1024 ))
group=
cleanup() {
    rm -rf "$folder"
    if [ -n "$group" ]; then rmdir "$group" || true; fi
}
trap cleanup EXIT

# A group of our own below the one we are in: version 1 first, then version 2.
own_group() {
    local v1 v2
    v1=/sys/fs/cgroup/memory$(grep ':memory:' /proc/self/cgroup | cut -d: -f3)
    if [ -w "$v1/memory.limit_in_bytes" ] || [ -w "$v1/cgroup.procs" ]; then
        group=$v1/fathom-cap-$$
        mkdir "$group" 2>/dev/null && echo "$limit" > "$group/memory.limit_in_bytes" && return
        rmdir "$group" 2>/dev/null || true
    fi
    v2=/sys/fs/cgroup$(grep '^0::' /proc/self/cgroup | cut -d: -f3)
    if [ -w "$v2/cgroup.procs" ]; then
        group=$v2/fathom-cap-$$
        if mkdir "$group" 2>/dev/null; then
            [ -w "$group/memory.max" ] && echo "$limit" > "$group/memory.max" && return
            rmdir "$group"
        fi
    fi
    group=
    return 1
}

if ! own_group; then
    echo "SKIPPED: no memory cgroup can be made here (not root, or the controller is not delegated)" >&2
    exit 77
fi

capped() { (
    echo "$BASHPID" > "$group/cgroup.procs"
    exec "$@"
) }

# What the kernel counted: v1 says how often the limit was hit, v2 says how often the group lost a process.
peak() { cat "$group/memory.max_usage_in_bytes" 2>/dev/null || cat "$group/memory.peak" 2>/dev/null || echo unknown; }
killed() { grep -h oom_kill "$group/memory.oom_control" "$group/memory.events" 2>/dev/null | grep -v disable | head -1; }

echo "== a checkpoint of $slice layers" >&2
"$fathom" synth --preset "v3.2-slice:$slice" --checkpoint "$folder/checkpoint"
du -sh "$folder/checkpoint" >&2

echo "== its conversion within $limit bytes" >&2
capped "$fathom" quantize "$folder/checkpoint" --type q8_0 -o "$folder/capped.gguf" --json > "$folder/report.json"
echo "process peak and rates: $(cat "$folder/report.json")"
echo "cgroup peak, page cache included: $(peak) of $limit bytes; $(killed)"
rm -r "$folder/checkpoint"

echo "== the same model made directly, without a limit" >&2
"$fathom" synth --preset "v3.2-slice:$slice" --type q8_0 -o "$folder/direct.gguf"
# The files differ in general.name alone, which only the header holds: tensor data are compared from the end.
data=$(python3 - "$folder/report.json" <<'PY'
import json, sys
print(sum(role["bytes"] for role in json.load(open(sys.argv[1]))["roles"]))
PY
)
if cmp <(tail -c "$data" "$folder/capped.gguf") <(tail -c "$data" "$folder/direct.gguf"); then
    echo "both files hold the same $data bytes of weights"
else
    echo "FAILED: the conversion differs from the model it was made of" >&2
    exit 1
fi
