# To be read by bash: Debian's Rust compiler with its libraries, unpacked into target/emulation/rustc and not installed. It
# comes with what rustup's has not on a machine like this: the library for aarch64 and, after `unpack_debian_sources`, the
# library's sources. After this, RUSTC and RUSTDOC are it, `debian_rust` is where it lies, and its cargo-clippy is in
# `debian_rust/bin`.

for tool in apt-get dpkg cargo; do
    command -v "$tool" >/dev/null || { echo "this needs $tool" >&2; exit 1; }
done

debian_rust=$PWD/target/emulation/rustc

# apt with lists of its own, which know arm64 too; the machine's stay as they are.
debian_apt() {
    apt-get -qq -o APT::Architectures::=amd64 -o APT::Architectures::=arm64 -o APT::Sandbox::User="$(id -un)" \
        -o Dir::State::Lists="$debian_rust/apt/lists" -o Dir::Cache="$debian_rust/apt/cache" "$@"
}

# Unpacks packages into the folder that this is run in.
unpack() { # package...
    local package
    mkdir -p apt/lists/partial apt/cache/archives/partial
    debian_apt update
    debian_apt download "$@"
    for package in *.deb; do dpkg -x "$package" .; done
    rm -rf -- *.deb apt
}

# The compiler, its library for both machines (build scripts run on this one), clippy.
unpack_debian_rust() {
    local version name
    version=$(apt-cache policy rustc-web | sed -n 's/ *Candidate: //p')
    rm -rf "$debian_rust"
    mkdir -p "$debian_rust/bin"
    cd "$debian_rust"
    # 1.96.0+... has its shared libraries in a package that is called 1.96.
    unpack "rustc-web=$version" "libstd-rust-web-${version%%.[0-9]+*}=$version" "rust-web-clippy=$version" \
        "libstd-rust-web-dev=$version" "libstd-rust-web-dev:arm64=$version" \
        libllvm22 libz3-4 libedit2 libbsd0 libxml2 libicu72
    # Commands that find their shared libraries.
    for name in rustc rustdoc cargo-clippy clippy-driver; do
        cat >"bin/$name" <<END
#!/bin/sh
LD_LIBRARY_PATH=$debian_rust/usr/lib/x86_64-linux-gnu exec $debian_rust/usr/bin/$name "\$@"
END
        chmod +x "bin/$name"
    done
    echo "$version" >complete
    cd "$OLDPWD"
}

# The library's sources, of the same version, where cargo looks for them.
unpack_debian_sources() {
    [[ ! -d $debian_rust/usr/lib/rustlib/src/rust/library ]] || return 0
    cd "$debian_rust"
    unpack "rust-web-src=$(<complete)"
    mkdir -p usr/lib/rustlib/src
    ln -sfn "$(echo "$debian_rust"/usr/src/rustc-*)" usr/lib/rustlib/src/rust
    cd "$OLDPWD"
}

[[ -e $debian_rust/complete ]] || unpack_debian_rust
export RUSTC=$debian_rust/bin/rustc RUSTDOC=$debian_rust/bin/rustdoc
