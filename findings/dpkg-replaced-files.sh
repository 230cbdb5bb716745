#!/bin/bash
# dpkg 1.21.23 (Debian 12): a downgrade loses files, and neither the database nor the audit shows it.
#
# An update splits a package: `lib` 1.1 gives a file to the new `lib-data` 1.1, which declares `Replaces: lib`
# and no `Breaks:`. Going back, as `apt-get install ./lib_1.0.deb lib-data-` does it, unpacks `lib` 1.0 while
# `lib-data` is still installed. dpkg says "Replaced by files in installed package lib-data", leaves the file to
# that package, and drops it from the list of `lib`. The removal of `lib-data` then takes the file along. The
# versions are as before, `dpkg --audit` prints nothing, `dpkg --verify` finds nothing wrong, and the file is gone.
# Only the package file itself still names it; unpacking it once more, after the removal, brings it back.
#
# The same happens forwards, when a file returns from a package whose old version still declares `Replaces:`.
#
# Exits with 0 while dpkg behaves like this, with 1 when it does not, and with 2 when it could not be tried.
set -euo pipefail
version=1.21.23
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

# the pinned dpkg, unpacked into the temporary directory and run on a database of its own
apt-get -q download "dpkg=$version" >download.log 2>&1 || { cat download.log >&2; exit 2; }
dpkg-deb --extract dpkg_*.deb tool
mkdir -p root/var/lib/dpkg/{info,updates}
: >root/var/lib/dpkg/status
dpkg() {
    "$work/tool/usr/bin/dpkg" --root="$work/root" --admindir="$work/root/var/lib/dpkg" \
        --force-not-root --log=/dev/null "$@"
}
dpkg --version | sed -n 1p

# package VERSION "more fields" FILE...
package() {
    local name=$1 version=$2 fields=$3 tree=$work/tree file
    shift 3
    rm -rf "$tree"
    mkdir -p "$tree/DEBIAN" "$tree/usr/share/lib"
    printf 'Package: %s\nVersion: %s\nArchitecture: all\nMaintainer: Lab <lab@example.org>\n%bDescription: x\n' \
        "$name" "$version" "$fields" >"$tree/DEBIAN/control"
    for file; do echo "$version" >"$tree/usr/share/lib/$file"; done
    dpkg-deb --root-owner-group --build "$tree" "$work/${name}_$version.deb" >/dev/null
}
package lib 1.0 '' core moved
package lib 1.1 '' core
package lib-data 1.1 'Replaces: lib\n' moved

dpkg --install lib_1.0.deb >/dev/null
dpkg --install lib-data_1.1.deb lib_1.1.deb >/dev/null
echo '--- back to 1.0'
dpkg --install lib_1.0.deb 2>&1 | grep -v Reading | tee back.log
dpkg --remove lib-data 2>&1 | grep -v Reading
echo "--- audit: '$(dpkg --audit)', verify: '$(dpkg --verify lib)'"
dpkg --listfiles lib
echo '--- on the disk'
ls root/usr/share/lib

grep -q 'Replaced by files in installed package lib-data' back.log || exit 1
[ -z "$(dpkg --audit)$(dpkg --verify lib)" ] || exit 1
[ ! -e root/usr/share/lib/moved ] || exit 1
dpkg --install lib_1.0.deb >/dev/null 2>&1
[ -e root/usr/share/lib/moved ] || exit 1
echo '--- unpacked once more, the file is there'
