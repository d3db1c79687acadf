#!/usr/bin/env bash
# Builds ggml's quantisers (libggml-base alone, about a minute) as a judge of our encoders.
#
#   quantize/tests/ggml/build.sh [FOLDER]        # default: target/ggml-oracle
#   FATHOM_GGML_ORACLE=FOLDER cargo test -p fathom-quantize --test ggml
#
# The source is the one inside the crate llama-cpp-sys-2 that Cargo.lock pins for tests/interop. Needs cmake and a C++
# compiler. Without -march and with contraction off, as ggml ships it for x86-64, its bytes are the same on every machine.
set -euo pipefail

root=$(cd "$(dirname "$0")/../../.." && pwd)
folder=${1:-$root/target/ggml-oracle}
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)

manifest=$(cargo metadata --locked --format-version 1 --manifest-path "$root/Cargo.toml" |
    grep -o '"manifest_path":"[^"]*/llama-cpp-sys-2-[^/"]*/Cargo.toml"' | head -n 1 | cut -d '"' -f 4)
[ -n "$manifest" ] || { echo "llama-cpp-sys-2 is not in Cargo.lock" >&2; exit 1; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp -r "$(dirname "$manifest")/llama.cpp/ggml" "$work/src"
touch "$work/src/ggml.pc.in"
cmake -S "$work/src" -B "$work/build" -DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=ON \
    -DGGML_NATIVE=OFF -DGGML_OPENMP=OFF -DGGML_LLAMAFILE=OFF -DGGML_BUILD_TESTS=OFF -DGGML_BUILD_EXAMPLES=OFF \
    -DCMAKE_C_FLAGS=-ffp-contract=off -DCMAKE_CXX_FLAGS=-ffp-contract=off > "$work/log" 2>&1 &&
    cmake --build "$work/build" -j "${JOBS:-2}" --target ggml-base >> "$work/log" 2>&1 ||
    { tail -n 30 "$work/log" >&2; exit 1; }
find "$work/build" -name 'libggml-base.*' \( -type f -o -type l \) -exec cp -P {} "$folder/" \;
echo "$folder"
