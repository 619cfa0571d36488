#!/usr/bin/env bash
# Brings Asterisk and SIPp, which the telephony tests drive, into the cache folder ${TELEPHONY_PARTS:-.cache/parts}.
#
# Debian's current suites have no Asterisk, so both come from the newer ones, with every library they need and run by the
# loader that came with them (see parts.py). Prints the versions. How they are fetched: debian.sh.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
source tests/parts/debian.sh

what="Asterisk and SIPp"
size=100
needed_asterisk=22
needed="Asterisk $needed_asterisk and SIPp"
variable=TELEPHONY_PARTS
parts=${TELEPHONY_PARTS:-.cache/parts}
suites=${TELEPHONY_PARTS_SUITES:-forky sid}
packages="asterisk sip-tester"

print_versions() { # FOLDER
    local loader asterisk sipp
    loader=$(loader_in "$1") || return 1
    asterisk=$("$loader" --library-path "${loader%/*}" "$1/usr/sbin/asterisk" -V 2>/dev/null) || return 1
    # sipp -v exits with 99
    sipp=$("$loader" --library-path "${loader%/*}" "$1/usr/bin/sipp" -v 2>/dev/null) || [ $? = 99 ] || return 1
    asterisk=$(sed -nE 's/^Asterisk ([0-9]+(\.[0-9]+)*).*/\1/p' <<<"$asterisk")
    sipp=$(sed -nE 's/^ *SIPp v([0-9]+(\.[0-9]+)*).*/\1/p' <<<"$sipp")
    [ "${asterisk%%.*}" = "$needed_asterisk" ] && [ -n "$sipp" ] || return 1
    printf 'asterisk %s\nsipp %s\n' "$asterisk" "$sipp"
}

arrange() { # parts.py starts them as they are
    :
}

fetch
