#!/usr/bin/env bash
# Type-checks library and program for macOS on Arm and for Windows. No machine here has their standard library, so that is
# checked from its sources along with them. Nothing is linked, nothing runs.
#
#   tests/emulation/platforms.sh [target...]
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/emulation/rustc.sh
unpack_debian_sources

targets=(aarch64-apple-darwin x86_64-pc-windows-msvc)
(($# > 0)) && targets=("$@")
# Compiling the library is for nightly toolchains, unless one asks like this.
export RUSTC_BOOTSTRAP=1 CARGO_TARGET_DIR=target/emulation/platforms
for target in "${targets[@]}"; do
    echo "== $target"
    cargo check --locked -q -Zbuild-std --target "$target" -p fathom -p fathom-gguf -p fathom-simd -p fathom-files -p fathom-arch \
        -p fathom-engine -p fathom-quantize -p fathom-text -p fathom-measure
done
