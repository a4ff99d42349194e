#!/usr/bin/env bash
# image.sh DIR BINARY: builds the Dockerfile as it is, with buildah and without an image registry: the images it begins
# with are made from Debian's packages. In the first of them `cargo build` hands out BINARY; with AQUEDUCT_IMAGE=full it is
# the toolchain of this machine, and compiles (without optimising, which proves the same in a quarter of the time).
# Leaves the file system of the image in DIR/rootfs (a link), what it says about itself in DIR/image.json, and prints its size.
set -euo pipefail
dir=$(mkdir -p "$1" && cd "$1" && pwd) binary=$2
. "$(dirname "$0")/cache.sh"
[ "$(id -u)" = 0 ] || { echo "image.sh: building an image needs root here" >&2; exit 1; }
need buildah "building the image" "apt-get install buildah"
need mmdebstrap "making the image's base" "apt-get install mmdebstrap"
root=$(cd "$here/../.." && pwd)
# buildah keeps what a cache mount holds in a temporary folder of its own.
export TMPDIR=$dir/tmp BUILDAH_ISOLATION=chroot
mkdir -p "$TMPDIR"
buildah() { command buildah --root "$dir/storage" --runroot "$dir/run" --storage-driver vfs "$@"; }
bud() { buildah bud --quiet --pull=never --format docker "$@"; }
read -r build_image base_image < <(sed -n 's/^FROM \([^ ]*\).*/\1/p' "$root/Dockerfile" | xargs)

rootfs() {   # name, packages; Debian without documentation, as the slim images are
  local tar=$cache/$1.tar
  [ -s "$tar" ] && return
  mmdebstrap --quiet --variant=minbase ${2:+--include="$2"} --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' --aptopt='Acquire::Retries "3"' bookworm "$tar.part.tar" < /dev/null
  mv "$tar.part.tar" "$tar"
}

import() {   # tar, image, folder with what further lines of its Dockerfile copy, those lines
  ln "$cache/$1.tar" "$3/rootfs.tar" 2> /dev/null || cp "$cache/$1.tar" "$3/rootfs.tar"
  printf '%s\n' 'FROM scratch' 'ADD rootfs.tar /' "${@:4}" > "$3/Dockerfile"
  bud --tag "docker.io/library/$2" "$3" > "$dir/import.log" 2>&1 || { cat "$dir/import.log" >&2; exit 1; }
}

alone image rootfs image-bookworm-slim ""
mkdir -p "$TMPDIR/slim" "$TMPDIR/build"
import image-bookworm-slim "$base_image" "$TMPDIR/slim"
authorities=/etc/ssl/certs/ca-certificates.crt
cp "$authorities" "$TMPDIR/build/" || { echo "image.sh: $authorities is missing: apt-get install ca-certificates" >&2; exit 1; }
options=()
if [ "${AQUEDUCT_IMAGE:-}" = full ]; then
  alone image rootfs image-bookworm-build ca-certificates,g++,gcc,git,libc6-dev,make,perl,pkg-config
  import image-bookworm-build "$build_image" "$TMPDIR/build" \
    "COPY ca-certificates.crt $authorities" 'ENV PATH=/usr/local/rustup/bin:/usr/bin:/bin CARGO_HOME=/usr/local/cargo CARGO_PROFILE_RELEASE_OPT_LEVEL=0'
  options=(--volume "$(rustc --print sysroot):/usr/local/rustup:ro")
else
  cat > "$TMPDIR/build/cargo" <<'C'
#!/bin/sh -e
[ "$*" = "build --locked --release --package aqueduct" ] || { echo "unexpected: cargo $*"; exit 1; }
[ -s Cargo.lock ] && [ -s crates/runner/Cargo.toml ] && [ -s tests/Cargo.toml ]
mkdir -p target/release && cp /aqueduct target/release/aqueduct
C
  chmod +x "$TMPDIR/build/cargo"
  cp "$binary" "$TMPDIR/build/aqueduct"
  import image-bookworm-slim "$build_image" "$TMPDIR/build" 'COPY cargo /usr/local/bin/' 'COPY aqueduct /' "COPY ca-certificates.crt $authorities"
fi
bud "${options[@]}" --tag aqueduct "$root" > "$dir/build.log" 2>&1 || { cat "$dir/build.log" >&2; exit 1; }
buildah inspect --type image aqueduct > "$dir/image.json"
ln -sfn "$(buildah mount "$(buildah from --pull=never aqueduct)")" "$dir/rootfs"
buildah images --format '{{.Size}}' aqueduct
