#!/usr/bin/env bash
# Lets Fathom and llama.cpp compute the same files and compares their logits.
#
#   tests/interop/run.sh [words for the test harness, such as a test's name]
#
# Installs what is missing on Debian and Ubuntu, builds llama.cpp (from the crate llama-cpp-sys-2) and Fathom under
# target/interop, and needs nothing else. FATHOM_BIN names a program built elsewhere. With one job llama.cpp takes
# nine minutes to build; CARGO_BUILD_JOBS and CMAKE_BUILD_PARALLEL_LEVEL are respected.
set -euo pipefail
cd "$(dirname "$0")/../.."
target=$PWD/target/interop
started=$SECONDS

minutes() { printf '%s: %.1f minutes\n' "$1" "$(echo "$((SECONDS - $2))" | awk '{ print $1 / 60 }')"; }

have_libclang() {
    [[ -n ${LIBCLANG_PATH:-} ]] || compgen -G '/usr/lib/llvm*/lib/libclang*.so*' >/dev/null ||
        compgen -G '/usr/lib/*/libclang*.so*' >/dev/null
}

missing=()
command -v cmake >/dev/null || missing+=(cmake)
command -v make >/dev/null || missing+=(make)
command -v c++ >/dev/null || missing+=(g++)
command -v python3 >/dev/null || missing+=(python3)
python3 -c 'import ensurepip' 2>/dev/null || missing+=(python3-venv)
have_libclang || missing+=(libclang-dev)
if ((${#missing[@]})); then
    if ! command -v apt-get >/dev/null; then
        echo "missing: ${missing[*]} (names as in Debian); install them and run this again" >&2
        exit 1
    fi
    root=()
    ((EUID == 0)) || root=(sudo)
    "${root[@]}" apt-get update -qq
    "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"
fi

if [[ -z ${INTEROP_PYTHON:-} ]]; then
    [[ -x $target/python/bin/python ]] || python3 -m venv "$target/python"
    "$target/python/bin/python" -m pip install -q --disable-pip-version-check -r tests/interop/requirements.txt
    export INTEROP_PYTHON=$target/python/bin/python
fi

# llama.cpp is compiled for the CPU this asks for. Its default, AVX2 without AVX-512, is what the figures were
# taken with.
unset RUSTFLAGS CARGO_ENCODED_RUSTFLAGS

at=$SECONDS
cargo build --release --locked --target-dir "$target" -p fathom-interop --tests --bins
minutes "building llama.cpp" "$at"

if [[ -z ${FATHOM_BIN:-} ]]; then
    at=$SECONDS
    cargo build --release --locked --target-dir "$target" -p fathom --bin fathom
    export FATHOM_BIN=$target/release/fathom
    minutes "building Fathom" "$at"
fi

at=$SECONDS
cargo test --release --locked --target-dir "$target" -p fathom-interop -- --nocapture --test-threads 1 "$@"
minutes "comparing" "$at"
minutes "all" "$started"
