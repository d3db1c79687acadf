#!/usr/bin/env bash
# Builds ggml's base library, the oracle of tests/ggml.rs, from the source inside the crate llama-cpp-sys-2 that
# Cargo.lock pins. Needs cargo, cmake and a C++ compiler; no libclang. About a minute.
#
#   simd/tests/ggml/build.sh [FOLDER]        # default: target/ggml-oracle; prints the folder
#   FATHOM_GGML_ORACLE=FOLDER cargo test -p fathom-simd --test ggml
set -euo pipefail

root=$(cd "$(dirname "$0")/../../.." && pwd)
folder=${1:-$root/target/ggml-oracle}
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)

manifest=$(cargo metadata --locked --format-version 1 --manifest-path "$root/Cargo.toml" |
    grep -o '"manifest_path":"[^"]*/llama-cpp-sys-2-[^/"]*/Cargo.toml"' | head -n 1 | cut -d '"' -f 4)
[[ -n "$manifest" ]] || { echo "llama-cpp-sys-2 is not in Cargo.lock" >&2; exit 1; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp -r "$(dirname "$manifest")/llama.cpp/ggml" "$work/src"
touch "$work/src/ggml.pc.in"

# Without fused steps, as ggml's own builds for baseline x86-64 are: fused ones give other bits.
cmake -S "$work/src" -B "$work/build" -DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=ON \
    -DGGML_NATIVE=OFF -DGGML_OPENMP=OFF -DGGML_LLAMAFILE=OFF -DGGML_BUILD_TESTS=OFF -DGGML_BUILD_EXAMPLES=OFF \
    -DCMAKE_C_FLAGS=-ffp-contract=off -DCMAKE_CXX_FLAGS=-ffp-contract=off >"$work/log" 2>&1 &&
    cmake --build "$work/build" -j "${JOBS:-2}" --target ggml-base >>"$work/log" 2>&1 ||
    { tail -n 30 "$work/log" >&2; exit 1; }
cp -L "$work/build/src/libggml-base.so" "$folder/"
echo "$folder"
