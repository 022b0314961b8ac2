#!/bin/sh
# The airgap stand-in for RKE2's install.sh: the artifact-path run of a tar install, by its documented contract.
# It is not RKE2's script and shares no text with it. Without INSTALL_RKE2_ARTIFACT_PATH it fails: there is no network here.
set -e
[ "${DEBUG:-}" = 1 ] && set -x

say() { echo "[airgap stand-in install.sh] $*"; }
die() { say "ERROR: $*" >&2; exit 1; }

[ -r /etc/os-release ] || die "/etc/os-release is missing"
. /etc/os-release
[ "$(id -u)" -eq 0 ] || die "you need to be root to run this"

artifacts=${INSTALL_RKE2_ARTIFACT_PATH:-}
[ -n "$artifacts" ] || die "a download was asked for (INSTALL_RKE2_ARTIFACT_PATH is not set)"
[ "${INSTALL_RKE2_METHOD:-tar}" = tar ] || die "method ${INSTALL_RKE2_METHOD} ignores the artifact path and needs the network"
[ -d "$artifacts" ] || die "artifact path $artifacts is not a directory"

prefix=${INSTALL_RKE2_TAR_PREFIX:-/usr/local}
if [ -z "${INSTALL_RKE2_TAR_PREFIX:-}" ]; then
    probe="$prefix/.airgap-standin-probe"
    if mountpoint -q "$prefix" || ! touch "$probe" 2>/dev/null; then
        prefix=/opt/rke2
        say "WARNING: /usr/local is read-only or a mount point; installing to $prefix"
    fi
    rm -f "$probe" 2>/dev/null || true
fi
if command -v rpm >/dev/null 2>&1 && rpm -q rke2-common >/dev/null 2>&1; then
    die "this host has the rke2-common package: a tar install over RPMs is refused"
fi

case "${ARCH:-$(uname -m)}" in
    x86_64 | amd64) arch=amd64 ;;
    aarch64 | arm64) arch=arm64 ;;
    s390x) arch=s390x ;;
    *) die "unsupported architecture ${ARCH:-$(uname -m)}" ;;
esac

work=$(mktemp -d)
trap 'code=$?; rm -rf "$work"; exit $code' EXIT
sums="$work/sha256sum-$arch.txt"
tarball="rke2.linux-$arch.tar.gz"
images_dir=${INSTALL_RKE2_AGENT_IMAGES_DIR:-/var/lib/rancher/rke2/agent/images}

say "staging from $artifacts"
cp -f "$artifacts/sha256sum-$arch.txt" "$sums"
for kind in zst gz; do
    name="rke2-images.linux-$arch.tar.$kind"
    [ -f "$artifacts/$name" ] || continue
    cp -f "$artifacts/$name" "$work/$name"
    expected=$(awk -v name="$name" '$2 == name { print $1 }' "$sums")
    if [ -n "$expected" ]; then
        [ "$(sha256sum "$work/$name" | cut -d' ' -f1)" = "$expected" ] || die "sha256 of $name does not match"
        mkdir -p "$images_dir"
        if [ "$kind" = gz ]; then gzip -dc "$work/$name" >"$images_dir/rke2-images.linux-$arch.tar"; else mv -f "$work/$name" "$images_dir/"; fi
    fi
    break
done
cp -f "$artifacts/$tarball" "$work/$tarball"
for file in "$artifacts"/rke2-images-*.linux-"$arch"*; do
    # as the real one does: no checksum, and image lists too, which then become pull lists
    [ -f "$file" ] && { mkdir -p "$images_dir"; cp -f "$file" "$images_dir/"; }
done

expected=$(awk -v name="$tarball" '$2 == name { print $1 }' "$sums")
[ -n "$expected" ] || die "$tarball is not in the checksum file"
[ "$(sha256sum "$work/$tarball" | cut -d' ' -f1)" = "$expected" ] || die "sha256 of $tarball does not match"

say "unpacking to $prefix"
mkdir -p "$prefix"
tar -xzf "$work/$tarball" -C "$prefix"
if [ "$prefix" != /usr/local ]; then
    sed -i "s|/usr/local|$prefix|g" "$prefix/lib/systemd/system/rke2-server.service" "$prefix/lib/systemd/system/rke2-agent.service"
    mkdir -p /etc/systemd/system
    mv -f "$prefix"/lib/systemd/system/rke2-*.service /etc/systemd/system/
fi
[ -n "${INSTALL_RKE2_SKIP_RELOAD:-}" ] || systemctl daemon-reload
say "done: nothing is enabled or started"
