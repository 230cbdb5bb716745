#!/bin/bash
# apt 3.0.4 (Debian 13): `apt-get install A` gives other installed packages their candidates, too.
#
# Two packages are built from one source: lib-a, installed in 1.1, and lib-b, which is still at 1.0 with 1.1
# pending. demo depends on lib-a, in any version. `apt-get install demo=1.1` needs no other version of either, and
# upgrades lib-b nevertheless: apt walks through the dependencies of what is asked for, finds lib-a good, leaves it
# as it is, and brings lib-b to the source version of lib-a ("due to" it, as Debug::pkgDepCache::Marker says).
# The same happens when demo goes back to an older version: a downgrade brings an upgrade of a package along
# that nothing names or needs. `APT::Get::Upgrade-By-Source-Package` is the option, true by default; with it off,
# demo changes alone. apt 2.6 of Debian 12 does not do this.
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
apt_get() {
    "$work"/tool/usr/lib64/ld-linux-x86-64.so.2 --library-path "$work/tool/usr/lib/x86_64-linux-gnu" \
        "$work/tool/usr/bin/apt-get" -o Dir="$work/host" -o Dir::State::status="$work/host/status" \
        -o Dir::Bin::dpkg=/usr/bin/dpkg -o APT::Architecture=amd64 -o APT::Architectures=amd64 "$@"
}
apt_get --version | sed -n 1p

# a host that has three packages in 1.0, and the index of an archive that has them in 1.1 as well
stanza() {
    printf 'Package: %s\nVersion: %s\nArchitecture: all\nMaintainer: Lab <lab@example.org>\n%bDescription: x\n\n' "$@"
}
mkdir -p host/{etc/apt/preferences.d,var/lib/apt/lists/partial,var/cache/apt/archives/partial}
echo 'deb [trusted=yes] file:/archive ./' >host/etc/apt/sources.list
index=host/var/lib/apt/lists/_archive_._Packages
file="Size: 1\nSHA256: $(printf '%064d' 1)\n"
add() {
    local name=$1 installed=$2 fields=$3 number
    for number in 1.0 1.1; do
        stanza "$name" "$number" "${fields}Filename: ./${name}_$number.deb\n$file" >>"$index"
    done
    stanza "$name" "$installed" "${fields}Status: install ok installed\n" >>host/status
}
add demo 1.0 'Depends: lib-a\n'
add lib-a 1.1 'Source: pair\n'
add lib-b 1.0 'Source: pair\n'

echo '--- apt-get install demo=1.1'
apt_get -s install demo=1.1 | grep ^Inst | tee by-default
echo '--- the same with APT::Get::Upgrade-By-Source-Package=false'
apt_get -s -o APT::Get::Upgrade-By-Source-Package=false install demo=1.1 | grep ^Inst | tee without

[ "$(cut -d' ' -f2 by-default | sort | xargs)" = 'demo lib-b' ] || exit 1
[ "$(cut -d' ' -f2 without | xargs)" = demo ] || exit 1
