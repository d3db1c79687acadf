#!/usr/bin/env bash
# The whole of DeepSeek-V3.2 in its true shapes, as sparse files: what only a model of 680 GB can show.
#
#   tests/scale/run.sh [FATHOM] [FOLDER]
#
# FATHOM   the release binary                                  (default target/release/fathom)
# FOLDER   where the files go; they are removed again          (default target/scale)
#
# The files take 20 MB of a file system that knows sparse files. Zeros prove sizes, times and memory, not numbers.
set -euo pipefail
export FATHOM_CONFIG=/dev/null FATHOM_SYSTEM_CONFIG=/dev/null

fathom=${1:-target/release/fathom}
parent=${2:-target/scale}
mkdir -p "$parent"
folder=$(mktemp -d "$parent/fathom-whole-model.XXXXXX")
trap 'rm -rf "$folder"' EXIT

# There the holes of a mapped file would become memory.
if [[ $(stat -f -c %T "$folder") == tmpfs ]]; then
    echo "$folder is on a tmpfs: expected a file system on a disk; name a folder on one" >&2
    exit 1
fi

python3 "$(dirname "$0")/whole_model.py" "$fathom" "$folder"
