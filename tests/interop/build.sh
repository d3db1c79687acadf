# Builds llama.cpp (from the crate llama-cpp-sys-2), what works with it, and Fathom. Sourced by tests/interop/run.sh and
# bench/peer/run.sh, which so share one llama.cpp. Fathom is built apart from it, as everybody builds it: with llama.cpp's
# crates derive macros have other features, and all of it would be compiled once more.
#
# Installs what is missing on Debian and Ubuntu. Sets `target` and, where it was not set, FATHOM_BIN. With one job
# llama.cpp takes nine minutes to build; CARGO_BUILD_JOBS and CMAKE_BUILD_PARALLEL_LEVEL are respected.
target=$PWD/target${FATHOM_SIMD:+/interop-$FATHOM_SIMD}
python=$PWD/target/interop/python
started=$SECONDS
# Comparisons are of what is built in, not of anybody's settings.
export FATHOM_CONFIG=/dev/null FATHOM_SYSTEM_CONFIG=/dev/null

minutes() { printf '%s: %.1f minutes\n' "$1" "$(echo "$((SECONDS - $2))" | awk '{ print $1 / 60 }')" >&2; }

# libclang-cpp, which other packages bring along, is another library.
have_libclang() {
    [[ -z ${LIBCLANG_PATH:-} ]] || return 0
    local pattern
    for pattern in /usr/lib/{llvm*/lib,*}/libclang{,-[0-9]*}.so'*'; do
        ! compgen -G "$pattern" >/dev/null || return 0
    done
    return 1
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
    "${root[@]}" apt-get update -qq >&2
    "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >&2
fi

# A Python that makes the tiny checkpoints.
if [[ -z ${INTEROP_PYTHON:-} ]]; then
    [[ -x $python/bin/python ]] || python3 -m venv "$python"
    "$python/bin/python" -m pip install -q --disable-pip-version-check -r tests/interop/requirements.txt
    export INTEROP_PYTHON=$python/bin/python
fi

# llama.cpp for the CPU of this machine, as whoever wants its speed builds it; where FATHOM_SIMD caps Fathom, for the same
# instructions, in a folder of its own. The flags reach the C compiler only: Rust code, Fathom's too, stays as it is
# shipped, and finds its instructions when it runs.
unset RUSTFLAGS CARGO_ENCODED_RUSTFLAGS
case ${FATHOM_SIMD:-} in
    '') CFLAGS=$(tests/interop/native) ;;
    avx2) CFLAGS=-march=haswell ;;
    avxvnni) CFLAGS='-march=haswell -mavxvnni' ;;
    avx512) CFLAGS=-march=icelake-server ;;
    neon) CFLAGS=-march=armv8.2-a+dotprod+fp16 ;;
    neon-i8mm) CFLAGS=-march=armv8.2-a+dotprod+fp16+i8mm ;;
    *)
        echo "FATHOM_SIMD=$FATHOM_SIMD: llama.cpp has no build for that; one of avx2, avxvnni, avx512, neon, neon-i8mm" >&2
        exit 2
        ;;
esac
export CFLAGS CXXFLAGS=$CFLAGS

at=$SECONDS
if [[ -z ${FATHOM_BIN:-} ]]; then
    cargo build --release --locked --target-dir target -p fathom
    export FATHOM_BIN=$PWD/target/release/fathom
fi
cargo build --release --locked --target-dir "$target" -p fathom-interop -p fathom-bench-peer
minutes "building Fathom and llama.cpp" "$at"
