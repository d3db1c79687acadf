#!/usr/bin/env bash
# Builds ggml's base library, the oracle of tests/ggml.rs, from the source inside the crate llama-cpp-sys-2 that
# Cargo.lock pins. Needs cargo, cmake and a C++ compiler; no libclang. About a minute.
#
#   simd/tests/ggml/build.sh [FOLDER]        # default: target/ggml-oracle; prints the folder
#   FATHOM_GGML_ORACLE=FOLDER cargo test -p fathom-simd --test ggml
#
# With --native in front it builds the rival of benches/rival.rs instead: the CPU backend too, for this machine and as
# fast as ggml can. Some minutes.
#
#   simd/tests/ggml/build.sh --native [FOLDER]    # default: target/ggml-native; prints the folder
set -euo pipefail

native=
if [[ ${1:-} == --native ]]; then
    native=1
    shift
fi

root=$(cd "$(dirname "$0")/../../.." && pwd)
folder=${1:-$root/target/ggml-$([[ -n $native ]] && echo native || echo oracle)}
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)

manifest=$(cargo metadata --locked --format-version 1 --manifest-path "$root/Cargo.toml" |
    grep -o '"manifest_path":"[^"]*/llama-cpp-sys-2-[^/"]*/Cargo.toml"' | head -n 1 | cut -d '"' -f 4)
[[ -n "$manifest" ]] || { echo "llama-cpp-sys-2 is not in Cargo.lock" >&2; exit 1; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp -r "$(dirname "$manifest")/llama.cpp/ggml" "$work/src"
touch "$work/src/ggml.pc.in"

options=(-DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=ON -DGGML_OPENMP=OFF -DGGML_BUILD_TESTS=OFF
    -DGGML_BUILD_EXAMPLES=OFF)
if [[ -n $native ]]; then
    libraries=(ggml-base ggml-cpu)
    options+=(-DGGML_NATIVE=ON -DGGML_LLAMAFILE=ON)
else
    libraries=(ggml-base)
    # Without fused steps, as ggml's own builds for baseline x86-64 are: fused ones give other bits.
    options+=(-DGGML_NATIVE=OFF -DGGML_LLAMAFILE=OFF
        -DCMAKE_C_FLAGS=-ffp-contract=off -DCMAKE_CXX_FLAGS=-ffp-contract=off)
fi
cmake -S "$work/src" -B "$work/build" "${options[@]}" >"$work/log" 2>&1 &&
    cmake --build "$work/build" -j "${JOBS:-2}" --target "${libraries[@]}" >>"$work/log" 2>&1 ||
    { tail -n 30 "$work/log" >&2; exit 1; }
for library in "${libraries[@]}"; do
    cp -L "$(find "$work/build" -name "lib$library.so" | head -n 1)" "$folder/"
done
echo "$folder"
