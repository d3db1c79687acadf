#!/usr/bin/env bash
# The kernels' tests under two judges of memory: AddressSanitizer on all levels that this machine has, and valgrind, which
# knows no AVX-512 and hides it from the tests, on AVX2.
#
#   simd/tests/sanitize.sh asan|valgrind
set -euo pipefail
cd "$(dirname "$0")/../.."

host=x86_64-unknown-linux-gnu
tests=(--test bounds --test index_q8 --test level --test parity --test same_bits)

case ${1:-} in
asan)
    # Stable toolchains bring the sanitizer's library but not the right to use it. A target of its own keeps build scripts
    # and macros as they are.
    RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Zsanitizer=address CARGO_TARGET_DIR=target/asan \
        cargo test --locked --target "$host" -p fathom-simd "${tests[@]}" -q
    ;;
valgrind)
    command -v valgrind >/dev/null || { echo "this needs valgrind" >&2; exit 1; }
    # valgrind runs one thread at a time.
    FATHOM_REQUIRE_LEVELS=avx2 FATHOM_ONLY_LEVELS=avx2 RUST_TEST_THREADS=1 \
        CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER="valgrind -q --error-exitcode=1 --leak-check=full --errors-for-leak-kinds=definite" \
        cargo test --locked -p fathom-simd "${tests[@]}"
    ;;
*)
    echo "usage: $0 asan|valgrind" >&2
    exit 2
    ;;
esac
