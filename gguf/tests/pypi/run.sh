#!/bin/sh
# Compares fathom-gguf with the PyPI package gguf, both ways; ends non-zero on the first difference.
# Needs a Python with venv (3.11 or later; PYTHON names another one) and access to PyPI.
set -eu
root=$(cd "$(dirname "$0")/../../.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
venv=$target/pypi-venv
scratch=$target/pypi-check

cd "$root"
[ -x "$venv/bin/python" ] || "${PYTHON:-python3}" -m venv "$venv"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check -r gguf/tests/pypi/requirements.txt
cargo build --quiet -p fathom-gguf --examples
rm -rf "$scratch"
mkdir -p "$scratch"
"$venv/bin/python" gguf/tests/pypi/check.py \
    "$target/debug/examples/gguf_json" "$target/debug/examples/gguf_write" "$scratch"
