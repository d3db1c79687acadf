#!/usr/bin/env bash
# The kernels of NEON on emulated processors, and the engine on top of them, compiled for aarch64 on an x86-64 machine with
# Debian 12. Rustup's toolchain has no library for aarch64 here, so the compiler is Debian's own, driven by the same cargo.
# Nothing of it is installed: what is downloaded and built lies in target/emulation/arm64.
#
#   tests/emulation/aarch64.sh            kernels, encoders, container, engine
#   tests/emulation/aarch64.sh --whole    and what is above them: text, measurements, the program, the built-in model's answers
set -euo pipefail

root=$(cd "$(dirname "$0")/../.." && pwd)
work=$root/target/emulation/arm64
cd "$root"
. tests/emulation/rustc.sh

for tool in aarch64-linux-gnu-gcc qemu-aarch64-static; do
    command -v "$tool" >/dev/null || { echo "this needs $tool" >&2; exit 1; }
done

# Compiles test programs that are built for the other machine; a package a line and a path.
programs() { # option of cargo test...
    cargo test "${how[@]}" --no-run --message-format=json-render-diagnostics "$@" |
        sed -nE 's!.*"manifest_path":"[^"]*/([^/"]+)/Cargo.toml".*"executable":"([^"]*/deps/[^"]*)".*!\1 \2!p'
}

# Those of one folder.
of() { # folder programs
    awk -v folder="$1" '$1 == folder { print $2 }' <<<"$2"
}

# Runs test programs on a processor, in their package's folder. The levels (with commas) are there, and they alone are
# tested; for programs that test whatever there is they are empty.
on() { # processor levels folder program...
    local emulator="qemu-aarch64-static -L /usr/aarch64-linux-gnu -cpu $1" levels=$2 folder=$3 program
    shift 3
    for program in "$@"; do
        echo "== ${emulator##* }: $(basename "${program%-*}")"
        (cd "$folder" && FATHOM_REQUIRE_LEVELS=$levels FATHOM_ONLY_LEVELS=$levels $emulator "$program" -q)
    done
}

# Each level where nothing more is there: an instruction too many is SIGILL.
kernels() { # program...
    local started=$SECONDS program
    on max neon-i8mm simd "$@"
    on cortex-a76 neon simd "$@"
    for program in "$@"; do
        case $program in */level-* | */parity-*) on cortex-a53 scalar simd "$program" ;; esac
    done
    echo "kernels: $((SECONDS - started)) seconds"
}

export CARGO_TARGET_DIR=$work/target
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
# What is not kernels is compiled in less time than it would save here.
export CARGO_PROFILE_TEST_OPT_LEVEL=1 CARGO_PROFILE_TEST_DEBUG=0 CARGO_PROFILE_DEV_DEBUG=0 CARGO_INCREMENTAL=0
how=(--locked --target aarch64-unknown-linux-gnu)

# What is selected decides the features of what is shared, down to the parser inside derive macros: with the kernels alone
# those would be others, and all kernels compiled once more for the rest.
packages=(gguf files arch quantize engine)
tests=(bounds index_q8 level parity same_bits corpus lazy refusals round_trip shards layers laws)
n_tests=12
if [[ ${1:-} == --whole ]]; then
    packages+=(text measure .)
    tests+=(greedy)
    n_tests=13
fi
# Options of cargo for packages, and the name of a package's folder.
selected() { local package; for package in "$@"; do [[ $package == . ]] && echo -p fathom || echo -p "fathom-$package"; done; }
named() { [[ $1 == . ]] && basename "$root" || echo "$1"; }

started=$SECONDS
programs=$(programs $(selected simd "${packages[@]}") "${tests[@]/#/--test=}")
(($(wc -l <<<"$programs") == n_tests)) || { echo "expected $n_tests programs, found: $programs" >&2; exit 1; }
mapfile -t simd < <(of simd "$programs")
echo "compiling kernels, container and engine: $((SECONDS - started)) seconds"
kernels "${simd[@]}" >"$work/kernels.log" 2>&1 &
kernels=$!
trap 'kill "$kernels" 2>/dev/null || true' EXIT

# Meanwhile the rest.
started=$SECONDS
# Not the kernels' unit tests, which know the scalar level alone.
units=$(programs $(selected "${packages[@]}") --lib)
"$debian_rust/bin/cargo-clippy" clippy "${how[@]}" -q -p fathom-simd --all-targets -- -D warnings
echo "compiling encoders, clippy: $((SECONDS - started)) seconds"
started=$SECONDS
for package in "${packages[@]}"; do
    mapfile -t found < <(of "$(named "$package")" "$units"; of "$(named "$package")" "$programs")
    ((${#found[@]} > 0)) || { echo "$package has no test program: $units" >&2; exit 1; }
    on max "" "$package" "${found[@]}"
done
echo "encoders, container and engine: $((SECONDS - started)) seconds"

status=0
wait "$kernels" || status=$?
cat "$work/kernels.log"
exit "$status"
