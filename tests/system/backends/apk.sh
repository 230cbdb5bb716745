#!/bin/bash
# Stands in for apk 3 on hosts of the lab, because Debian has none: it keeps apk's state (world, database,
# cache, lock) and prints what apk 3.0.6 was recorded to print. A package is an archive of its files with
# `.known` (name, version, what it needs) and `.post-upgrade` in it; a repository has a file INDEX of the
# same lines, and a pool.
set -u
db=/lib/apk/db/installed world=/etc/apk/world cache=/etc/apk/cache simulate= wait=0
die() { code=$1; shift; echo "ERROR: $*" >&2; exit "$code"; }
repository() { sed -n '/^[^#]/p' /etc/apk/repositories | head -n 1; }
indexed() { awk -v n="$1" '$1 == n { print $2 }' "$cache/APKINDEX.lab" 2>/dev/null; }
needed() { awk -v n="$1" '$1 == n { for (i = 3; i <= NF; i++) print $i }' "$cache/APKINDEX.lab" 2>/dev/null; }
field() { awk -v n="$1" -v f="$2:" 'BEGIN { RS = ""; FS = "\n" } $1 == "P:" n { for (i = 2; i <= NF; i++) if (sub("^" f, "", $i)) print $i }' $db; }
version() { field "$1" V; }
installed() { sed -n 's/^P://p' $db; }
cached() { echo "$cache/$1-$2.0a1b2c3d.apk"; }
record() { # name version mark needs
    awk -v n="$1" 'BEGIN { RS = ""; ORS = "\n\n" } $0 !~ "^P:" n "\n"' $db > $db.new
    [ -z "$2" ] || {
        printf 'P:%s\nV:%s\nA:x86_64\nf:%s\nD:%s\n' "$1" "$2" "$3" "$4"
        sed 's|^/\(.*\)/\([^/]*\)$|F:\1\nR:\2|' "/lib/apk/db/files-$1"
        echo
    } >> $db.new
    mv $db.new $db
}
answer() { # path file; the server is on descriptor 8
    printf 'GET /%s HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n\r\n' "$1" >&8
    IFS=' ' read -r _ status _ <&8 || { echo 'network error (check Internet connection and firewall)'; return 1; }
    while IFS= read -r line <&8 && [ "$line" != $'\r' ]; do :; done
    [ "$status" = 200 ] || { echo "HTTP $status: Not Found"; return 1; }
    cat <&8 > "$2.part" && mv "$2.part" "$2"
}
fetch() { # path file; prints why it could not
    local where why
    where=$(repository) && where=${where#http://} && where=${where%%/*}
    { why=$(answer "$1" "$2" 8<> "/dev/tcp/${where%%:*}/${where##*:}"); } 2>/dev/null && return
    echo "${why:-could not connect to server (check repositories file)}"
    return 1
}
download() { # name version
    local why
    echo "(1/1) Downloading $1-$2"
    why=$(fetch "pool/$1-$2.apk" "$(cached "$1" "$2")") || die 99 "$1-$2: $why"
}
finish() {
    failed=$(grep -c '^f:.*s' $db)
    [ "$failed" = 0 ] && { echo "OK: 1 MiB in $(installed | wc -l) packages"; exit 0; }
    echo "$failed error; 1 MiB in $(installed | wc -l) packages"
    exit "$failed"
}
change() { # file
    local name new needs
    read -r name new needs < <(tar -xOf "$1" ./.known)
    tar -C / --exclude ./.known --exclude ./.post-upgrade --keep-directory-symlink --no-overwrite-dir -xf "$1" ||
        die 1 "$name-$new: cannot be extracted"
    tar -tf "$1" | sed -n '/\/\./d; s/^\.//; /[^/]$/p' > "/lib/apk/db/files-$name"
    record "$name" "$new" S "$needs"
    script=$(tar -xOf "$1" ./.post-upgrade) || die 1 "$name-$new: has no script"
    if ! sh -c "$script"; then
        echo "ERROR: lib/apk/exec/$name-$new.post-upgrade: exited with error 1" >&2
        record "$name" "$new" sS "$needs"
    fi
}
purge() { # what nobody asked for and nobody needs any more
    local name
    for name in $(installed); do
        grep -q "^$name\b" $world || grep -q "^D:.*\b$name\b" $db && continue
        echo "(1/1) Purging $name ($(version "$name"))"
        xargs -r rm -f < "/lib/apk/db/files-$name"
        record "$name" "" "" ""
    done
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
    mkdir -p "$cache"
    exec 9> /lib/apk/db/lock
    flock -w "$wait" 9 || die 99 "Unable to lock database: Resource temporarily unavailable"
fi
case $command in
    update)
        if ! why=$(fetch INDEX "$cache/APKINDEX.lab"); then
            echo "WARNING: updating and opening $(repository)x86_64/APKINDEX.tar.gz: $why" >&2
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
        for word in $words; do download "${word%%=*}" "${word##*=}"; done ;;
    upgrade | fix)
        due=
        for name in ${words:-$(installed)}; do
            old=$(version "$name") new=$(indexed "$name")
            { [ -z "$old" ] || [ -z "$new" ] || [ "$new" = "$old" ]; } && [ "$command" = upgrade ] && continue
            for need in $(needed "$name"); do [ -n "$(version "$need")" ] || due="$due $need"; done
            due="$due $name"
        done
        number=0 total=$(echo $due | wc -w)
        for name in $due; do
            number=$((number + 1)) old=$(version "$name") new=$(indexed "$name")
            if [ -z "$old" ]; then
                echo "($number/$total) Installing $name ($new)"
            else
                echo "($number/$total) Upgrading $name ($old -> $new)"
            fi
            [ -z "$simulate" ] || continue
            [ -e "$(cached "$name" "$new")" ] || download "$name" "$new"
            change "$(cached "$name" "$new")"
        done
        finish ;;
    add)
        for file in $words; do
            read -r name new _ < <(tar -xOf "$file" ./.known)
            old=$(version "$name")
            if [ -z "$old" ]; then
                echo "(1/1) Installing $name ($new)"
                echo "$name" >> $world
            else
                echo "(1/1) Downgrading $name ($old -> $new)"
                sed -i "s/^$name\$/$name><Q1pinned/" $world
            fi
            change "$file"
        done
        purge
        finish ;;
    *) die 1 "'$command' is not an apk command." ;;
esac
