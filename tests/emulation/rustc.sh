# To be read by bash: Debian's Rust compiler with its libraries, unpacked into target/emulation/rustc and not installed. It
# comes with what rustup's has not on a machine like this: the library for aarch64, and the library's sources. After this,
# RUSTC and RUSTDOC are it, `debian_rust` is where it lies, and its cargo-clippy is in `debian_rust/bin`.

for tool in apt-get dpkg cargo; do
    command -v "$tool" >/dev/null || { echo "this needs $tool" >&2; exit 1; }
done

debian_rust=$PWD/target/emulation/rustc

# apt with lists of its own, which know arm64 too; the machine's stay as they are.
debian_apt() {
    apt-get -qq -o APT::Architectures::=amd64 -o APT::Architectures::=arm64 -o APT::Sandbox::User="$(id -un)" \
        -o Dir::State::Lists="$debian_rust/apt/lists" -o Dir::Cache="$debian_rust/apt/cache" "$@"
}

# The compiler, its library for both machines (build scripts run on this one) and as sources, clippy.
unpack_debian_rust() {
    rm -rf "$debian_rust"
    mkdir -p "$debian_rust"/{apt/lists/partial,apt/cache/archives/partial,bin}
    cd "$debian_rust"
    debian_apt update
    local version package name
    version=$(apt-cache policy rustc-web | sed -n 's/ *Candidate: //p')
    # 1.96.0+... has its shared libraries in a package that is called 1.96.
    package=libstd-rust-web-${version%%.[0-9]+*}
    debian_apt download "rustc-web=$version" "$package=$version" "rust-web-clippy=$version" "rust-web-src=$version" \
        "libstd-rust-web-dev=$version" "libstd-rust-web-dev:arm64=$version" \
        libllvm22 libz3-4 libedit2 libbsd0 libxml2 libicu72
    for package in *.deb; do dpkg -x "$package" .; done
    rm -rf -- *.deb apt
    # Where cargo looks for the library's sources.
    mkdir -p usr/lib/rustlib/src
    ln -sfn "$(echo "$debian_rust"/usr/src/rustc-*)" usr/lib/rustlib/src/rust
    # Commands that find their shared libraries.
    for name in rustc rustdoc cargo-clippy clippy-driver; do
        cat >"bin/$name" <<END
#!/bin/sh
LD_LIBRARY_PATH=$debian_rust/usr/lib/x86_64-linux-gnu exec $debian_rust/usr/bin/$name "\$@"
END
        chmod +x "bin/$name"
    done
    touch complete
    cd "$OLDPWD"
}

[[ -e $debian_rust/complete ]] || unpack_debian_rust
export RUSTC=$debian_rust/bin/rustc RUSTDOC=$debian_rust/bin/rustdoc
