#!/usr/bin/env bash
# Builds Bochs 3.0, the one free emulator that has AVX-512, from Debian's source package: two minutes of two cores. Debian
# 12's own package is 2.7 with the debugger in its loop: 3.4 times as slow, and its XSAVE disagrees with Linux.
#
#   tests/emulation/bochs.sh      # prints the program: target/emulation/bochs-3.0/bochs
set -euo pipefail

root=$(cd "$(dirname "$0")/../.." && pwd)
work=$root/target/emulation
folder=$work/bochs-3.0
[[ -x $folder/bochs ]] && { echo "$folder/bochs"; exit 0; }
mkdir -p "$work"

# It lies beside the packages of this version of Debian, on whatever mirror they come from.
mirror=$(apt-get download --print-uris bochsbios | cut -d "'" -f 2)
archive=bochs_3.0+dfsg.orig.tar.xz
/usr/lib/apt/apt-helper -qq -o APT::Sandbox::User="$(id -un)" download-file "${mirror%/*}/$archive" "$work/$archive" \
    SHA256:78f6c73d4a6472d5130a87ab9dc306d02c7c71ed8e25b3a8ef642e2a7acd282b >&2

echo "building Bochs 3.0 in $folder" >&2
rm -rf "$folder"
tar -xf "$work/$archive" -C "$work"
cd "$folder"
{
    ./configure --enable-cpu-level=6 --enable-x86-64 --enable-avx --enable-evex --enable-all-optimizations --with-nogui \
        --disable-docbook CFLAGS='-O2 -w' CXXFLAGS='-O2 -w' &&
        make -j "${JOBS:-2}" bochs
} >"$work/bochs.log" 2>&1 || { tail -n 30 "$work/bochs.log" >&2; rm -f bochs; exit 1; }
rm "$work/$archive"
echo "$folder/bochs"
