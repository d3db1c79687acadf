#!/usr/bin/env bash
# Lets Fathom and llama.cpp compute the same files and compares their logits.
#
#   tests/interop/run.sh [words for the test harness, such as a test's name]
#
# Builds what it needs (see build.sh). FATHOM_BIN names a program built elsewhere.
set -euo pipefail
cd "$(dirname "$0")/../.."
source tests/interop/build.sh

at=$SECONDS
cargo test --release --locked --target-dir "$target" -p fathom-interop -p fathom-bench-peer -- --nocapture --test-threads 1 "$@"
minutes "comparing" "$at"
minutes "all" "$started"
