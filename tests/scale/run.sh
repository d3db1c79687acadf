#!/usr/bin/env bash
# The whole of DeepSeek-V3.2 in its true shapes, as sparse files: what only a model of 680 GB can show.
#
#   tests/scale/run.sh
#
# Needs python3, a file system with sparse files under target/, and about 3 GB of it. FATHOM_BIN names a program built
# elsewhere. Zeros prove sizes, times and memory, not numbers.
set -euo pipefail
cd "$(dirname "$0")/../.."

fathom=${FATHOM_BIN:-target/release/fathom}
[[ -n ${FATHOM_BIN:-} ]] || cargo build --release --locked --bin fathom

mkdir -p target/scale
folder=$(mktemp -d "$PWD/target/scale/XXXXXX")
trap 'rm -rf "$folder"' EXIT

# There the holes of a mapped file would become memory.
if [[ $(stat -f -c %T "$folder") == tmpfs ]]; then
    echo "$folder is on a tmpfs: expected a file system on a disk; link target/ to one" >&2
    exit 1
fi

python3 tests/scale/whole_model.py "$fathom" "$folder"

# One dense layer of true size, converted within 4 GiB. 77: no memory cgroup can be made here.
tests/scale/memory_cap.sh "$fathom" 1+0 "$folder" || (($? == 77))
