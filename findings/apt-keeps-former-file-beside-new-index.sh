#!/bin/bash
# apt 3.0.4 (Debian 13; 2.6.1 and 3.3.3 the same): `apt-get update` takes a file that lies beside an unchanged index
# for the one which that index names, and does not look at its checksum.
#
# A run that leaves a kind of file out (an empty `Acquire::IndexTargets::deb::Contents-deb::MetaKey`, with
# `APT::Get::List-Cleanup=0`, since the files of that kind would be cleaned up otherwise) brings a new index and new
# lists of packages, and leaves the former list of contents beside them. Every later `apt-get update` finds the index
# unchanged and the list there, and keeps the former list for as long as the archive does not change its index again.
# A file that is away is fetched.
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
    local program=$1
    shift
    "$work"/tool/usr/lib64/ld-linux-x86-64.so.2 --library-path "$work/tool/usr/lib/x86_64-linux-gnu" \
        "$work/tool/$program" "$@"
}
apt usr/bin/apt-get --version | sed -n 1p

# apt starts its methods itself: each has to find its own libraries
mkdir methods
for method in tool/usr/lib/apt/methods/*; do
    name=$(basename "$method")
    printf '#!/bin/sh\nexec %s --library-path %s %s "$@"\n' "$work/tool/usr/lib64/ld-linux-x86-64.so.2" \
        "$work/tool/usr/lib/x86_64-linux-gnu" "$work/$method" >"methods/$name"
    chmod 755 "methods/$name"
done

publish() {
    mkdir -p archive
    printf 'Package: demo\nVersion: %s\nArchitecture: all\nMaintainer: Lab <lab@example.org>\nFilename: ./demo.deb\nSize: 1\nSHA256: %064d\nDescription: x\n\n' "$1" 1 >archive/Packages
    echo "usr/bin/demo-$1 demo" >archive/Contents-amd64
    {
        printf 'Origin: Lab\nSuite: lab\nArchitectures: amd64\nDate: %s\nSHA256:\n' "$(date -u -R -d "$2" | sed 's/+0000/UTC/')"
        for file in Packages Contents-amd64; do
            echo " $(sha256sum "archive/$file" | cut -d' ' -f1) $(stat -c %s "archive/$file") $file"
        done
    } >archive/Release
    touch -d "$2" archive/*
}
mkdir -p host/etc/apt/{apt.conf.d,preferences.d} host/var/lib/apt/lists/partial host/var/cache/apt/archives/partial
: >host/status
echo "deb [trusted=yes arch=amd64] copy:$work/archive ./" >host/etc/apt/sources.list
update() {
    apt usr/bin/apt-get -q -o Dir="$work/host" -o Dir::Bin::methods="$work/methods" -o Dir::State::status="$work/host/status" -o APT::Architecture=amd64 \
        -o APT::Architectures=amd64 -o APT::Sandbox::User=root -o Acquire::Languages=none \
        -o 'Acquire::IndexTargets::deb::Contents-deb::flatMetaKey=Contents-$(ARCHITECTURE)' \
        -o 'Acquire::IndexTargets::deb::Contents-deb::MetaKey=$(COMPONENT)/Contents-$(ARCHITECTURE)' \
        "$@" update >>update.log 2>&1 || { cat update.log >&2; exit 2; }
}
has() { apt usr/lib/apt/apt-helper cat-file host/var/lib/apt/lists/*"$1"*; }

publish 1.0 '2 days ago'
update
has Contents | grep -q demo-1.0 || exit 2
publish 1.1 '1 day ago'
update -o Acquire::IndexTargets::deb::Contents-deb::flatMetaKey= -o APT::Get::List-Cleanup=0
has Packages | grep -q 'Version: 1.1' || exit 2
update
echo "the archive has: $(cat archive/Contents-amd64)"
echo "apt has:         $(has Contents)"
has Contents | grep -q demo-1.0 || exit 1
rm host/var/lib/apt/lists/*Contents*
update
echo "once it is away: $(has Contents)"
has Contents | grep -q demo-1.1
