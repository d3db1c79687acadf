#!/usr/bin/env bash
# The kernels of NEON on emulated processors, and the engine on top of them, compiled for aarch64 on an x86-64 machine with
# Debian 12. Rustup's toolchain has no library for aarch64 here, so the compiler is Debian's own, driven by the same cargo.
# Nothing of it is installed: what is downloaded and built lies in target/emulation/arm64.
#
#   tests/emulation/aarch64.sh
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
        (cd "$folder" && FATHOM_REQUIRE_LEVELS=$levels FATHOM_ONLY_LEVELS=$levels FATHOM_TEST_EMULATOR=$emulator \
            $emulator "$program" -q)
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
started=$SECONDS
# Not the kernels' unit tests, which know the scalar level alone: they too would compile all of them again.
programs=$(programs -p fathom-gguf -p fathom-simd -p fathom-quantize -p fathom \
    --test bounds --test index_q8 --test level --test parity --test same_bits \
    --test corpus --test lazy --test refusals --test round_trip --test shards \
    --test layers --test laws --test greedy)
mapfile -t simd < <(of simd "$programs")
mapfile -t gguf < <(of gguf "$programs")
mapfile -t engine < <(of "$(basename "$root")" "$programs")
echo "compiling kernels, container and engine: $((SECONDS - started)) seconds"
((${#simd[@]} == 5 && ${#gguf[@]} == 5 && ${#engine[@]} == 3)) || { echo "some are missing: $programs" >&2; exit 1; }
kernels "${simd[@]}" >"$work/kernels.log" 2>&1 &
kernels=$!
trap 'kill "$kernels" 2>/dev/null || true' EXIT

# Meanwhile the rest.
started=$SECONDS
programs=$(programs -p fathom-gguf -p fathom-files -p fathom-arch -p fathom-engine -p fathom-quantize -p fathom-text \
    -p fathom-measure -p fathom --lib)
folders=(quantize gguf files arch engine text measure "$(basename "$root")")
mapfile -t libraries < <(for folder in "${folders[@]}"; do of "$folder" "$programs"; done)
((${#libraries[@]} == 8)) || { echo "some are missing: $programs" >&2; exit 1; }
"$debian_rust/bin/cargo-clippy" clippy "${how[@]}" -q -p fathom-simd --all-targets -- -D warnings
echo "compiling encoders, clippy: $((SECONDS - started)) seconds"
started=$SECONDS
on max "" quantize "${libraries[0]}"
on max "" gguf "${libraries[1]}" "${gguf[@]}"
on max "" files "${libraries[2]}"
on max "" arch "${libraries[3]}"
on max "" engine "${libraries[4]}"
on max "" text "${libraries[5]}"
on max "" measure "${libraries[6]}"
on max "" . "${libraries[7]}" "${engine[@]}"
echo "encoders, container and engine: $((SECONDS - started)) seconds"

status=0
wait "$kernels" || status=$?
cat "$work/kernels.log"
exit "$status"
