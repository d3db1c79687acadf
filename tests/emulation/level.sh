#!/usr/bin/env bash
# The kernels of AVX-512 with VNNI, or of AVX-VNNI, where the machine has no such thing, and neither has qemu: the tests'
# programs run on Debian's kernel in two machines side by side that Bochs emulates, Ice Lakes or Arrow Lakes (which have no
# AVX-512). Two or three minutes, and two more to build Bochs the first time. Nothing is installed: what is downloaded and
# built lies in target/emulation.
#
#   tests/emulation/level.sh avx512|avxvnni
set -euo pipefail

level=${1:-}
case $level in
    avx512) model=corei7_icelake_u flag=avx512_vnni ;;
    avxvnni) model=arrow_lake flag=avx_vnni ;;
    *) echo "usage: $0 avx512|avxvnni" >&2; exit 2 ;;
esac

root=$(cd "$(dirname "$0")/../.." && pwd)
here=$root/tests/emulation
work=$root/target/emulation
debian=$work/debian
# A machine that takes longer hangs.
limit=40m
cd "$root"

for tool in apt-get c++ make xz genisoimage strip; do
    command -v "$tool" >/dev/null || { echo "this needs $tool" >&2; exit 1; }
done

# Debian's packages, unpacked and not installed.
packages() {
    [[ -e $debian/complete ]] && return
    rm -rf "$debian"
    mkdir -p "$debian"
    cd "$debian"
    local kernel package
    kernel=$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/.*Depends: \(linux-image-[0-9].*\)/\1/p')
    apt-get download -qq -o APT::Sandbox::User="$(id -un)" \
        "$kernel" busybox-static bochsbios vgabios isolinux syslinux-common
    for package in *.deb; do dpkg -x "$package" .; done
    rm -- *.deb
    touch complete
    cd "$root"
}

# The programs that cargo's options name, a path a line.
programs() { # option of cargo test...
    cargo test --locked --target x86_64-unknown-linux-gnu --no-run --message-format=json "$@" |
        grep -o '"executable":"[^"]*"' | cut -d '"' -f 4
}

# Files for the machines, at the paths that they have here; programs without what debuggers want.
put() { # file...
    local file
    for file in "$@"; do
        mkdir -p "$work/root$(dirname "$file")"
        strip -o "$work/root$file" "$file" 2>/dev/null || cp -rL "$file" "$work/root$file"
    done
}

# What every machine finds at its root: busybox, the programs, their libraries, and what the tests of layers read.
pack() { # program...
    local libraries
    libraries=$(ldd "$@" | grep -o '/[^ :]* (' | tr -d ' (' | sort -u)
    rm -rf "$work/root"
    mkdir -p "$work/root"/{bin,dev,proc,tmp} "$work/root$root"/{simd,quantize,engine}
    cp "$debian/bin/busybox" "$work/root/bin/"
    cp "$here/init" "$work/root/"
    mapfile -t libraries <<<"$libraries"
    put "$@" "${libraries[@]}" "$root/tests/reference/base"
    (cd "$work/root" && find . | "$debian/bin/busybox" cpio -o -H newc) >"$work/root.cpio"
}

# Starts a machine, which runs the commands on standard input and ends. What it prints is in NAME/console.
machine() { # name
    local at=$work/$1
    rm -rf "$at"
    mkdir -p "$at/iso/isolinux"
    cat >"$at/commands"
    (cd "$at" && echo commands | "$debian/bin/busybox" cpio -o -H newc) | cat "$work/root.cpio" - >"$at/iso/initrd"
    cp "$debian"/boot/vmlinuz-* "$at/iso/linux"
    cp "$debian/usr/lib/ISOLINUX/isolinux.bin" "$debian/usr/lib/syslinux/modules/bios/ldlinux.c32" "$at/iso/isolinux/"
    # clearcpuid: Bochs shows fast short copies (fsrm) and says that the firmware left fast strings off. Linux 6.1 then
    # copies without them and, because of fsrm, without a look at the length. panic, reboot: a panic ends Bochs too.
    cat >"$at/iso/isolinux/isolinux.cfg" <<EOF
default linux
label linux
  kernel /linux
  initrd /initrd
  append console=ttyS0 loglevel=1 nokaslr mitigations=off clearcpuid=fsrm panic=-1 reboot=t
EOF
    genisoimage -quiet -o "$at/disc.iso" -b isolinux/isolinux.bin -c isolinux/boot.cat -no-emul-boot -boot-load-size 4 \
        -boot-info-table "$at/iso"
    cat >"$at/bochsrc" <<EOF
display_library: nogui
cpu: model=$model, ips=100000000, reset_on_triple_fault=0
memory: guest=1024, host=1024
romimage: file=$debian/usr/share/bochs/BIOS-bochs-latest
vgaromimage: file=$debian/usr/share/vgabios/vgabios.bin
ata0: enabled=1
ata0-master: type=cdrom, path=$at/disc.iso, status=inserted
boot: cdrom
com1: enabled=1, mode=file, dev=$at/console
clock: sync=none
log: $at/bochs.log
panic: action=fatal
error: action=ignore
info: action=ignore
EOF
    exec timeout --signal=KILL "$limit" "$bochs" -q -f "$at/bochsrc" </dev/null >"$at/output" 2>&1
}

# A line of a machine's commands.
line() { # package's folder, program, argument...
    local folder=$1 program=$2
    shift 2
    echo "echo '== $(basename "${program%-*}")'; cd '$folder' && '$program' --test-threads=1 $* || status=1"
}

commands() { # line...
    echo "grep -qw $flag /proc/cpuinfo || { echo 'this processor shows no $flag:'; cat /proc/cpuinfo; exit 1; }"
    echo "export FATHOM_REQUIRE_LEVELS=avx2,$level FATHOM_ONLY_LEVELS=$level"
    printf '%s\n' "status=0" "$@" "exit \$status"
}

bochs=$("$here/bochs.sh")
packages
simd=$(programs -p fathom-simd)
encoders=$(programs -p fathom-quantize --lib)
layers=$(programs -p fathom-engine --test layers)
mapfile -t all <<<"$simd"$'\n'"$encoders"$'\n'"$layers"
pack "${all[@]}"

# One program takes as long as all others together.
first=() second=()
for program in "${all[@]}"; do
    case $program in
        */parity-*) first+=("$(line "$root/simd" "$program")") ;;
        # Without ggml's library it does nothing.
        */ggml-*) ;;
        */fathom_quantize-*) second+=("$(line "$root/quantize" "$program" encode::)") ;;
        */layers-*) second+=("$(line "$root/engine" "$program")") ;;
        */deps/*) second+=("$(line "$root/simd" "$program")") ;;
    esac
done

started=$SECONDS
machines=()
trap 'kill "${machines[@]}" 2>/dev/null || true' EXIT
commands "${first[@]}" | machine first &
machines+=($!)
commands "${second[@]}" | machine second &
machines+=($!)
wait
status=0
for name in first second; do
    touch "$work/$name/console"
    tr -d '\r' <"$work/$name/console" | sed '/^ISOLINUX/d; /reboot: Power down/d'
    grep -q 'machine ends with status 0' "$work/$name/console" || {
        echo "FAILED: the $name machine; its console, commands and Bochs's log are in $work/$name" >&2
        status=1
    }
done
echo "emulated for $((SECONDS - started)) seconds"
exit "$status"
