#!/usr/bin/env bash
# The kernels of NEON on emulated processors, and the engine on top of them, compiled for aarch64 on an x86-64 machine with
# Debian 12. Rustup's toolchain has no library for aarch64 here, so the compiler is Debian's own, driven by the same cargo.
# Nothing of it is installed: what is downloaded and built lies in target/emulation/arm64.
#
#   tests/emulation/aarch64.sh
set -euo pipefail

root=$(cd "$(dirname "$0")/../.." && pwd)
work=$root/target/emulation/arm64
debian=$work/debian
cd "$root"

for tool in apt-get cargo aarch64-linux-gnu-gcc qemu-aarch64-static; do
    command -v "$tool" >/dev/null || { echo "this needs $tool" >&2; exit 1; }
done

# apt with lists of its own, which know arm64 too; the machine's stay as they are.
apt() {
    apt-get -qq -o APT::Architectures::=amd64 -o APT::Architectures::=arm64 -o APT::Sandbox::User="$(id -un)" \
        -o Dir::State::Lists="$work/apt/lists" -o Dir::Cache="$work/apt/cache" "$@"
}

# The compiler, its library for both machines (build scripts run on this one), clippy.
packages() {
    [[ -e $debian/complete ]] && return
    rm -rf "$debian" "$work/apt"
    mkdir -p "$debian" "$work/apt/lists/partial" "$work/apt/cache/archives/partial"
    cd "$debian"
    apt update
    local version package
    version=$(apt-cache policy rustc-web | sed -n 's/ *Candidate: //p')
    # 1.96.0+... has its shared libraries in a package that is called 1.96.
    package=libstd-rust-web-${version%%.[0-9]+*}
    apt download "rustc-web=$version" "$package=$version" "rust-web-clippy=$version" \
        "libstd-rust-web-dev=$version" "libstd-rust-web-dev:arm64=$version" \
        libllvm22 libz3-4 libedit2 libbsd0 libxml2 libicu72
    for package in *.deb; do dpkg -x "$package" .; done
    rm -rf -- *.deb "$work/apt"
    touch complete
    cd "$root"
}

# Commands that find their shared libraries.
commands() {
    mkdir -p "$work/bin"
    local name
    for name in rustc rustdoc cargo-clippy clippy-driver; do
        cat >"$work/bin/$name" <<END
#!/bin/sh
LD_LIBRARY_PATH=$debian/usr/lib/x86_64-linux-gnu exec $debian/usr/bin/$name "\$@"
END
        chmod +x "$work/bin/$name"
    done
}

# The test programs that cargo's options name, a path a line.
programs() { # option of cargo test...
    cargo test "${how[@]}" --no-run --message-format=json-render-diagnostics "$@" |
        grep -o '"executable":"[^"]*/deps/[^"]*"' | cut -d '"' -f 4
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

packages
commands
export RUSTC=$work/bin/rustc RUSTDOC=$work/bin/rustdoc CARGO_TARGET_DIR=$work/target
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
# What is not kernels is compiled in less time than it would save here.
export CARGO_PROFILE_TEST_OPT_LEVEL=1 CARGO_PROFILE_TEST_DEBUG=0 CARGO_PROFILE_DEV_DEBUG=0 CARGO_INCREMENTAL=0
how=(--locked --target aarch64-unknown-linux-gnu)

started=$SECONDS
# Not the crate's unit tests, which know the scalar level alone: they would compile all kernels once more.
programs=$(programs -p fathom-simd --test bounds --test index_q8 --test level --test parity --test same_bits)
mapfile -t simd <<<"$programs"
echo "compiling kernels: $((SECONDS - started)) seconds"
kernels "${simd[@]}" >"$work/kernels.log" 2>&1 &
kernels=$!
trap 'kill "$kernels" 2>/dev/null || true' EXIT

# Meanwhile the rest. gguf and the program's other parts know no instruction set.
started=$SECONDS
programs=$(programs -p fathom-quantize --lib)
mapfile -t encoders <<<"$programs"
programs=$(programs -p fathom --test layers --test laws --test greedy)
mapfile -t engine <<<"$programs"
"$work/bin/cargo-clippy" clippy "${how[@]}" -q -p fathom-simd --all-targets -- -D warnings
echo "compiling encoders and engine: $((SECONDS - started)) seconds"
started=$SECONDS
on max "" quantize "${encoders[@]}"
on max "" . "${engine[@]}"
echo "encoders and engine: $((SECONDS - started)) seconds"

status=0
wait "$kernels" || status=$?
cat "$work/kernels.log"
exit "$status"
