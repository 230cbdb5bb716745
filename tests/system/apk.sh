#!/bin/sh
# Stands in for apk 3 on hosts of the lab, because Debian has none: it keeps apk's state (world, database,
# cache, lock) and prints what apk 3.0.6 was recorded to print. A package is a shell script, its
# post-upgrade; a repository is a directory with a file INDEX of `name version` lines.
set -u
db=/lib/apk/db/installed world=/etc/apk/world cache= simulate= wait=0
die() { code=$1; shift; echo "ERROR: $*" >&2; exit "$code"; }
repository() { sed -n '/^[^#]/p' /etc/apk/repositories | head -n 1; }
indexed() { awk -v n="$1" '$1 == n { print $2 }' "$cache/APKINDEX.lab" 2>/dev/null; }
version() { awk -v n="$1" 'BEGIN { RS = ""; FS = "\n" } $1 == "P:" n { sub("V:", "", $2); print $2 }' $db; }
installed() { sed -n 's/^P://p' $db; }
record() { # name version mark
    awk -v n="$1" 'BEGIN { RS = ""; ORS = "\n\n" } $0 !~ "^P:" n "\n"' $db > $db.new
    [ -z "$2" ] || printf 'P:%s\nV:%s\nA:x86_64\nf:%s\n\n' "$1" "$2" "$3" >> $db.new
    mv $db.new $db
}
finish() {
    failed=$(grep -c '^f:.*s' $db)
    [ "$failed" = 0 ] && { echo "OK: 1 MiB in $(installed | wc -l) packages"; exit 0; }
    echo "$failed error; 1 MiB in $(installed | wc -l) packages"
    exit "$failed"
}
change() { # name version file
    touch "/run/apk-changing-$1"
    record "$1" "$2" S
    if ! sh "$3"; then
        echo "ERROR: lib/apk/exec/$1-$2.post-upgrade: exited with error 1" >&2
        record "$1" "$2" sS
    fi
}
while [ $# -gt 0 ]; do
    case $1 in
        --cache-dir) cache=$2; shift 2 ;;
        --wait) wait=$2; shift 2 ;;
        --no-progress) shift ;;
        *) break ;;
    esac
done
command=$1; shift
[ "$command" = cache ] && { shift 2; command=download; }
words=
for word in "$@"; do
    case $word in
        --simulate) simulate=yes ;;
        --upgrade | --reinstall | -- | -v | -l | "<") ;;
        *) words="$words $word" ;;
    esac
done
if [ -z "$simulate" ] && [ "$command" != version ]; then
    exec 9> /lib/apk/db/lock
    flock -w "$wait" 9 || die 99 "Unable to lock database: Resource temporarily unavailable"
fi
case $command in
    update)
        if ! cp "$(repository)/INDEX" "$cache/APKINDEX.lab" 2>/dev/null; then
            echo "WARNING: updating and opening $(repository)/x86_64/APKINDEX.tar.gz: Connection refused" >&2
            echo "1 unavailable, 0 stale; $(installed | wc -l) distinct packages available"
            exit 1
        fi
        echo "OK: $(wc -l < "$cache/APKINDEX.lab") distinct packages available" ;;
    version)
        echo "Installed:                                Available:"
        for name in $(installed); do
            new=$(indexed "$name")
            [ -z "$new" ] || [ "$new" = "$(version "$name")" ] || echo "$name-$(version "$name") < $new"
        done ;;
    download)
        for word in $words; do
            name=${word%%=*} file="${word%%=*}-${word##*=}"
            echo "(1/1) Downloading $file"
            cp "$(repository)/$file.apk" "$cache/$file.0a1b2c3d.apk" 2>/dev/null ||
                die 99 "$file: HTTP 404: Not Found"
        done ;;
    upgrade | fix)
        due=
        for name in ${words:-$(installed)}; do
            new=$(indexed "$name")
            [ -z "$new" ] || [ "$new" = "$(version "$name")" ] && [ "$command" = upgrade ] || due="$due $name"
        done
        number=0 total=$(echo $due | wc -w)
        for name in $due; do
            number=$((number + 1)) new=$(indexed "$name")
            echo "($number/$total) Upgrading $name ($(version "$name") -> $new)"
            [ -n "$simulate" ] || change "$name" "$new" "$cache/$name-$new.0a1b2c3d.apk"
        done
        finish ;;
    add)
        for file in $words; do
            base=${file##*/} && base=${base%.apk} && base=${base%.0a1b2c3d}
            name=${base%-*-r*} new=${base#"${base%-*-r*}"-}
            echo "(1/1) Downgrading $name ($(version "$name") -> $new)"
            change "$name" "$new" "$file"
            sed -i "s/^$name\$/$name><Q1pinned/" $world
        done
        finish ;;
    *) die 1 "'$command' is not an apk command." ;;
esac
