#!/usr/bin/env bash
# Brings Asterisk and SIPp, which the telephony tests drive, into the cache folder ${TELEPHONY_PARTS:-.cache/parts}.
#
# Debian's current suites have no Asterisk, so both come from the newer ones, with every library they need and run by the
# loader that came with them (see parts.py). Nothing is installed, no root is needed, and the system's own package state
# is not touched. Prints the versions. Safe to repeat, and to run twice at once.
set -euo pipefail
cd "$(dirname "$0")/../.."

parts=${TELEPHONY_PARTS:-.cache/parts}
suites=${TELEPHONY_PARTS_SUITES:-forky sid}
needed_asterisk=22
marker=.ringback-parts # a folder without it is not ours to replace

fail() {
    echo "fetch_telephony: $*" >&2
    exit 1
}

print_versions() { # FOLDER; fails when a program is missing or does not run
    local loader asterisk sipp
    loader=$(find "$1"/usr/lib/*-linux-gnu -maxdepth 1 -name 'ld-linux-*.so.*' 2>/dev/null | head -n 1)
    [ -n "$loader" ] || return 1
    asterisk=$("$loader" --library-path "${loader%/*}" "$1/usr/sbin/asterisk" -V 2>/dev/null) || return 1
    # sipp -v exits with 99
    sipp=$("$loader" --library-path "${loader%/*}" "$1/usr/bin/sipp" -v 2>/dev/null) || [ $? = 99 ] || return 1
    asterisk=$(sed -nE 's/^Asterisk ([0-9]+(\.[0-9]+)*).*/\1/p' <<<"$asterisk")
    sipp=$(sed -nE 's/^ *SIPp v([0-9]+(\.[0-9]+)*).*/\1/p' <<<"$sipp")
    [ "${asterisk%%.*}" = "$needed_asterisk" ] && [ -n "$sipp" ] || return 1
    printf 'asterisk %s\nsipp %s\n' "$asterisk" "$sipp"
}

repositories() { # Where this machine gets its packages from; the archives of security fixes have no Asterisk.
    apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -v security | sort -u
}

download() { # REPOSITORY SUITE WORK_FOLDER
    local state=$3/apt
    rm -rf "$state"
    mkdir -p "$state"/{lists/partial,archives/partial}
    : >"$state/status"
    echo "deb [signed-by=$keyring] $1 $2 main" >"$state/sources.list"
    # A file, because only a file can switch off the hooks of the machine: they would clean its own caches.
    cat >"$state/apt.conf" <<END
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear DPkg::Pre-Install-Pkgs;
#clear DPkg::Pre-Invoke;
#clear DPkg::Post-Invoke;
Dir::Etc::sourcelist "$state/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Dir::State "$state";
Dir::State::lists "$state/lists";
Dir::State::status "$state/status";
Dir::Cache "$state";
Dir::Cache::archives "$state/archives";
Dir::Log "$state";
Debug::NoLocking "1";
APT::Install-Recommends "false";
APT::Sandbox::User "$(id -un)";
Acquire::Languages "none";
Acquire::Retries "3";
END
    apt-get --config-file "$state/apt.conf" --quiet update &&
        apt-get --config-file "$state/apt.conf" --quiet --yes --download-only install asterisk sip-tester
}

unpack() { # WORK_FOLDER
    local package
    mkdir "$1/tree"
    for package in "$1"/apt/archives/*.deb; do
        dpkg-deb --extract "$package" "$1/tree" || return 1
    done
    touch "$1/tree/$marker"
}

main() {
    local repository suite work log versions program
    mkdir -p "$(dirname "$parts")"
    parts=$(cd "$(dirname "$parts")" && pwd)/$(basename "$parts")
    exec 9>"$parts.lock"
    flock 9 # another run may be fetching right now: then everything is there in a moment
    print_versions "$parts" && return

    for program in apt-get dpkg-deb; do
        command -v "$program" >/dev/null ||
            fail "$program is missing: Asterisk and SIPp are fetched from Debian's archive, so this needs Debian"
    done
    keyring=$(find /usr/share/keyrings -name 'debian-archive-keyring.*' | sort | head -n 1)
    [ -n "$keyring" ] || fail "Debian's keys are missing; on Debian: apt-get install debian-archive-keyring"
    if [ -n "$(ls -A "$parts" 2>/dev/null)" ] && [ ! -e "$parts/$marker" ]; then
        fail "$parts holds something else, and no Asterisk $needed_asterisk and SIPp that run; name another folder with TELEPHONY_PARTS"
    fi
    work=$parts.new
    rm -rf "$work"
    mkdir "$work"
    log=$work/log
    for suite in $suites; do
        for repository in $(repositories); do
            echo "fetching Asterisk and SIPp of Debian $suite (about 100 MB)" >&2
            if download "$repository" "$suite" "$work" >"$log" 2>&1 && unpack "$work" >>"$log" 2>&1; then
                if versions=$(print_versions "$work/tree"); then
                    rm -rf "$parts"
                    mv "$work/tree" "$parts"
                    rm -rf "$work"
                    echo "$versions"
                    return
                fi
                echo "the programs of $suite do not run here, or are not Asterisk $needed_asterisk" >>"$log"
            fi
            tail -n 3 "$log" >&2
            rm -rf "$work/tree"
        done
    done
    rm -rf "$work"
    fail "no Asterisk $needed_asterisk and SIPp to be had: tried the suites $suites of this machine's Debian archive"
}

main
