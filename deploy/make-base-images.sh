#!/usr/bin/env bash
# Makes the base images of deploy/Dockerfile on a machine that has a Docker engine but no registry to pull from.
#
#   debian:bookworm-slim          from debootstrap, without documentation and package caches
#   rust:1.95-slim-bookworm       the same, with a C compiler and a copy of this machine's Rust toolchain
#
# The images carry the very names the Dockerfile uses, so what is built here is built from the file users build.
# An image that exists is left alone. Needs root (debootstrap), debootstrap and a Rust toolchain.
#
# DEBIAN_MIRROR   where packages come from; default http://deb.debian.org/debian
set -euo pipefail

readonly debian_image=debian:bookworm-slim
readonly rust_version=1.95
readonly rust_image=rust:$rust_version-slim-bookworm
readonly mirror=${DEBIAN_MIRROR:-http://deb.debian.org/debian}
dockerfile=$(dirname "$0")/Dockerfile
readonly dockerfile

work=
cleanup() { if [[ -n $work ]]; then rm -rf --one-file-system "$work"; fi; }
trap cleanup EXIT

fail() { echo "make-base-images: $*" >&2; exit 1; }
have_image() { docker image inspect "$1" >/dev/null 2>&1; }
need() { command -v "$1" >/dev/null || fail "$1 is not installed; $2"; }

# If the Dockerfile moves on, this script must move with it: better to say so than to make images nobody uses.
for image in "$debian_image" "$rust_image"; do
  grep -q "^FROM $image" "$dockerfile" || fail "$dockerfile no longer uses $image; update this script"
done

make_debian() {
  need debootstrap "install the package debootstrap"
  [[ $(id -u) == 0 ]] || fail "debootstrap must run as root"
  echo "== $debian_image: debootstrap from $mirror"
  debootstrap --variant=minbase --include=ca-certificates bookworm "$work/root" "$mirror" >"$work/debootstrap.log" 2>&1 ||
    { tail -n 20 "$work/debootstrap.log" >&2; fail "debootstrap failed"; }
  # Behind a proxy that ends TLS, only certificates this machine trusts make the outside reachable from a container.
  if compgen -G '/usr/local/share/ca-certificates/*.crt' >/dev/null; then
    cp /usr/local/share/ca-certificates/*.crt "$work/root/usr/local/share/ca-certificates/"
    chroot "$work/root" update-ca-certificates >/dev/null 2>&1
  fi
  rm -rf "$work"/root/usr/share/{doc,info,locale,man}/* "$work"/root/var/cache/apt/* "$work"/root/var/lib/apt/lists/*
  tar -C "$work/root" --numeric-owner -c . | docker import --change 'CMD ["bash"]' - "$debian_image" >/dev/null
}

make_rust() {
  need rustc "install Rust $rust_version (https://rustup.rs)"
  local found sysroot
  found=$(rustc --version)
  [[ $found == "rustc $rust_version."* ]] || fail "$rust_image needs rustc $rust_version, this machine has: $found"
  sysroot=$(rustc --print sysroot)
  echo "== $rust_image: $found from $sysroot"
  mkdir "$work/context"
  tar -C "$sysroot" -c bin/rustc bin/cargo lib | tar -C "$work/context" -x --one-top-level=toolchain
  cat >"$work/context/Dockerfile" <<DOCKERFILE
FROM $debian_image
ENV CARGO_HOME=/usr/local/cargo
RUN apt-get update \\
 && apt-get install -y --no-install-recommends gcc libc6-dev \\
 && rm -rf /var/lib/apt/lists/*
COPY toolchain /usr/local
DOCKERFILE
  docker build --quiet --tag "$rust_image" "$work/context" >/dev/null
  docker run --rm "$rust_image" cargo --version
}

need docker "install a Docker engine"
docker info >/dev/null || fail "the Docker engine does not answer"
work=$(mktemp -d)
for image in "$debian_image" "$rust_image"; do
  if have_image "$image"; then
    echo "== $image: exists"
  elif [[ $image == "$debian_image" ]]; then
    make_debian
  else
    make_rust
  fi
done
docker image ls --format '{{.Repository}}:{{.Tag}}  {{.Size}}' | grep -E "^($debian_image|$rust_image) "
