#!/usr/bin/env bash
# Measures Fathom against llama.cpp on one file: speed in turns, and how far the logits are apart.
#
#   bench/peer/run.sh MODEL.gguf [options of fathom-bench-peer]    prints a table, writes bench/results/*.json
#   bench/peer/run.sh --slice [options]                            makes the slice of true size first (8 GB)
#   bench/peer/run.sh --smoke                                      a tiny model, seconds: does all of it work?
#
# Builds what it needs, llama.cpp once for this and tests/interop (see tests/interop/build.sh). FATHOM_SIMD=avx2 before it
# holds both programs to AVX2; other levels likewise.
set -euo pipefail
if [[ -z ${1:-} || ($1 == -* && $1 != --slice && $1 != --smoke && $1 != --help) ]]; then
    echo "usage: bench/peer/run.sh MODEL.gguf|--slice|--smoke|--help [options of fathom-bench-peer]" >&2
    exit 2
fi
called_in=$PWD
cd "$(dirname "$0")/../.."
source tests/interop/build.sh
peer=$target/release/fathom-bench-peer

smoke() {
    local folder
    folder=$(mktemp -d)
    trap "rm -rf '$folder'" EXIT
    "$INTEROP_PYTHON" -B tests/interop/layouts.py checkpoint "$folder/checkpoint" --kind v32
    local ty most tests
    # At 40 cached rows the selection of 8 is active. F32 is held to rounding; narrow types only on the whole.
    for ty in f32 q8_0; do
        [[ $ty == f32 ]] && most=1e-6 tests=tg4,pp16,tg4@40 || most=0.03 tests=pp16,tg4@40
        "$FATHOM_BIN" quantize "$folder/checkpoint" --type "$ty" -o "$folder/$ty.gguf"
        "$peer" "$folder/$ty.gguf" --tests "$tests" --parity 48 --max-kl "$most" -r 2 \
            -o "$folder/$ty.json" 2>"$folder/log" || { cat "$folder/log" >&2; return 1; }
        "$INTEROP_PYTHON" bench/peer/check.py "$folder/$ty.json" "$tests"
    done
    echo "bench/peer works"
}

case ${1:-} in
--smoke)
    smoke
    exit
    ;;
--slice)
    model=target/slice-q4k-bench.gguf
    [[ -e $model ]] || "$FATHOM_BIN" synth --preset v3.2-slice:1+1 --type q4k-bench -o "$model"
    ;;
--help)
    exec "$peer" --help
    ;;
*)
    model=$1
    [[ $model == /* ]] || model=$called_in/$model
    ;;
esac
shift

commit=$(git rev-parse --short HEAD 2>/dev/null || echo unknown)
[[ -z $(git status --porcelain --untracked-files=no 2>/dev/null) ]] || commit+=-changed
cpu=$(awk -F': ' '/model name/ { print $2; exit }' /proc/cpuinfo | tr -cs 'A-Za-z0-9\n' - | sed 's/^-*//; s/-*$//')
date=$(date -u +%Y-%m-%dT%H:%M:%SZ)
mkdir -p bench/results
result=bench/results/${date%%T*}-${cpu:-cpu}-$(basename "$model" .gguf)${FATHOM_SIMD:+-$FATHOM_SIMD}.json
"$peer" "$model" --commit "$commit" --date "$date" -o "$result" "$@"
echo
echo "written: $result"
