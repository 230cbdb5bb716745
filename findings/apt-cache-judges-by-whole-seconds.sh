#!/bin/bash
# apt 3.0.4 (Debian 13; 2.6.1 the same): apt's cache counts as current as long as dpkg's status file has the size and
# the date, in whole seconds, of the one from which the cache was made.
#
# An installation that ends within the second in which apt last looked, and leaves the file as long as it was (1.0 to
# 1.1), is not seen: `apt-get -s upgrade` goes on to offer the version that is there, until dpkg writes its file in
# another second. With `Dir::Cache::pkgcache` empty, or without the file, apt sees what is installed.
#
# Exits with 0 while apt behaves like this, with 1 when it does not, and with 2 when it could not be tried.
set -euo pipefail
version=3.0.4
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

# the pinned apt with all that it needs, from the archive that this machine uses, unpacked and not installed
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Origin: Debian' 'Created-By: Packages' | sed -n 1p)
[ -n "$mirror" ] || { echo 'no source of Debian is configured' >&2; exit 2; }
mkdir -p outer/{lists/partial,archives/partial,etc}
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror trixie main" >outer/etc/sources.list
: >outer/status
outer() {
    "$@" -q -o Dir::Etc="$work/outer/etc" -o Dir::State::lists="$work/outer/lists" \
        -o Dir::State::status="$work/outer/status" -o Dir::Cache="$work/outer" -o APT::Install-Recommends=0 \
        -o APT::Sandbox::User=root -o APT::Architecture=amd64 -o APT::Architectures=amd64
}
{ outer apt-get update && outer apt-get -y --download-only install "apt=$version"; } >fetch.log 2>&1 ||
    { cat fetch.log >&2; exit 2; }
for file in outer/archives/*.deb; do dpkg-deb --extract "$file" tool; done
apt() {
    "$work"/tool/usr/lib64/ld-linux-x86-64.so.2 --library-path "$work/tool/usr/lib/x86_64-linux-gnu" \
        "$work/tool/usr/bin/apt-get" "$@"
}
apt --version | sed -n 1p

mkdir -p host/etc/apt/{apt.conf.d,preferences.d,sources.list.d} host/var/lib/apt/lists/partial
mkdir -p host/var/cache/apt/archives/partial
# the list of an archive that has 1.1, as apt would have fetched it
printf 'Package: demo\nVersion: 1.1\nArchitecture: all\nMaintainer: Lab <lab@example.org>\nFilename: ./demo.deb\nSize: 1\nSHA256: %064d\nDescription: x\n\n' 1 \
    >host/var/lib/apt/lists/archive.example.org_._Packages
echo 'deb [trusted=yes] http://archive.example.org ./' >host/etc/apt/sources.list
installed() {
    printf 'Package: demo\nStatus: install ok installed\nMaintainer: Lab <lab@example.org>\nArchitecture: all\nVersion: %s\nDescription: x\n' "$1" >host/status.new
    touch -d "2026-01-01 00:00:0$2 UTC" host/status.new
    mv host/status.new host/status
}
offered() {
    apt -q -o Dir="$work/host" -o Dir::State::status="$work/host/status" -o APT::Architecture=amd64 \
        -o APT::Architectures=amd64 -o Dir::Cache::pkgcache=pkgcache.bin "$@" -s upgrade | grep '^Inst' || echo nothing
}
installed 1.0 5.1
echo "1.0 is installed; apt offers:                  $(offered)"
[ -e host/var/cache/apt/pkgcache.bin ] || exit 2
installed 1.1 5.9
stale=$(offered)
echo "1.1 is, in the same second; apt offers:        $stale"
echo "the same without the cache:                    $(offered -o Dir::Cache::pkgcache=)"
[ "$(offered -o Dir::Cache::pkgcache=)" = nothing ] || exit 2
installed 1.1 6.1
echo "1.1 is, and the file is of another second:     $(offered)"
[ "$stale" != nothing ] && [ "$(offered)" = nothing ]
