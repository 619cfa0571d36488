#!/usr/bin/env bash
# Finds the PostgreSQL (15 or newer) that the tests bring up for themselves, and prints its version and folder:
#
#   1. POSTGRES_BIN, when it names a folder: that or nothing
#   2. the machine's own: the newest of /usr/lib/postgresql, else the search path's (not with POSTGRES_OWN=no)
#   3. ${POSTGRES_PARTS:-.cache/parts-postgres}, into which it is fetched from Debian's archive: see debian.sh
#
# With --where nothing is fetched, and only the folder is printed.
set -euo pipefail
here=$(dirname "${BASH_SOURCE[0]}")
cd "$here/../.."
source tests/parts/debian.sh

what=PostgreSQL
size=90
needed_postgres=15
needed="PostgreSQL $needed_postgres or newer"
variable=POSTGRES_PARTS
parts=${POSTGRES_PARTS:-.cache/parts-postgres}
suites=${POSTGRES_PARTS_SUITES:-$(sed -nE 's/^VERSION_CODENAME=//p' /etc/os-release) stable}
packages=postgresql
programs="postgres initdb pg_ctl psql pg_dump pg_restore pg_basebackup"

version_in() { # FOLDER_OF_PROGRAMS; fails when one is missing or does not run, or when they are too old
    local program version
    for program in $programs; do
        version=$("$1/$program" --version 2>/dev/null) || return 1
    done
    version=$(sed -nE 's/^[^0-9]*([0-9]+(\.[0-9]+)*).*/\1/p' <<<"$version")
    [ "${version%%.*}" -ge "$needed_postgres" ] && echo "$version"
}

own() { # The folder of the machine's own programs
    local folder found
    for folder in $(printf '%s\n' /usr/lib/postgresql/*/bin | sort --version-sort --reverse); do
        version_in "$folder" >/dev/null && echo "$folder" && return
    done
    found=$(command -v postgres) || return 1
    for folder in "$(dirname "$found")" "$(dirname "$(readlink -f "$found")")"; do
        version_in "$folder" >/dev/null && echo "$folder" && return
    done
    return 1
}

fetched() { # FOLDER: the folder of the fetched programs below it
    local postgres
    postgres=$(find "$1"/usr/lib/postgresql/*/bin -maxdepth 1 -name postgres 2>/dev/null | grep . | head -n 1) || return 1
    dirname "$(realpath "$postgres")"
}

print_versions() { # FOLDER
    local bin version
    bin=$(fetched "$1") && version=$(version_in "$bin") || return 1
    echo "postgres $version"
}

# The programs start one another by name, so each becomes a script of its name that starts it by the loader that came with
# it. The script finds everything from its own place: the tree may be moved or copied.
arrange() {
    local loader program
    # Just-in-time compiling is most of the size, and off; what is not PostgreSQL's is not wanted either.
    rm -rf usr/lib/postgresql/*/lib/{bitcode,llvmjit*} usr/lib/*-linux-gnu/{libLLVM*,libz3*,perl*}
    find usr usr/share usr/lib -mindepth 1 -maxdepth 1 ! -name share ! -name lib ! -name postgresql ! -name '*-linux-gnu' \
        -exec rm -rf {} +
    find . -mindepth 1 -maxdepth 1 ! -name usr -exec rm -rf {} +
    loader=$(loader_in .) && cd usr/lib/postgresql/*/bin || return 1
    mkdir elf
    for program in $programs; do
        mv "$program" elf/
        cat >"$program" <<END
#!/bin/sh
bin=\$(dirname "\$0")
libraries=\$bin/../../../$(basename "${loader%/*}")
exec "\$libraries/${loader##*/}" --library-path "\$libraries" --argv0 "\$0" "\$bin/elf/$program" "\$@"
END
        chmod 755 "$program"
    done
}

where() {
    if [ -n "${POSTGRES_BIN:-}" ]; then
        version_in "$POSTGRES_BIN" >/dev/null ||
            fail "POSTGRES_BIN is $POSTGRES_BIN: no $needed there with $programs"
        echo "$POSTGRES_BIN"
    elif [ "${POSTGRES_OWN:-yes}" = no ] || ! own; then
        print_versions "$parts" >/dev/null || return 1
        fetched "$parts"
    fi
}

if [ "${1:-}" = --where ]; then
    where || fail "$needed is missing: make parts"
elif bin=$(where); then
    echo "postgres $(version_in "$bin") ($bin)"
elif [ -z "${POSTGRES_BIN:-}" ]; then
    fetch
else
    exit 1
fi
