# Sourced by fetch_*.sh: brings programs of Debian's archive into a cache folder. Nothing is installed, no root is needed,
# and the system's own package state is not touched. Safe to repeat, and to run twice at once.
#
# Who sources it sets
#   what      the programs' names, for people
#   size      megabytes to download, roughly
#   needed    what a message says has to run, such as "Asterisk 22 and SIPp"
#   parts     the cache folder, and variable: the name of the variable that names another
#   suites    Debian's suites, in the order in which they are tried
#   packages  what to fetch, with all that it needs
# and defines
#   print_versions FOLDER   prints a line for each program; fails when one is missing or does not run
#   arrange                 what is to be done in the folder of the unpacked programs before they can run
# then calls fetch.

marker=.ringback-parts # a folder without it is not ours to replace

fail() {
    echo "$(basename "$0" .sh): $*" >&2
    exit 1
}

loader_in() { # FOLDER: the loader that came with the programs; they need it, for they may be of a newer Debian
    find "$1"/usr/lib/*-linux-gnu -maxdepth 1 -name 'ld-linux-*.so.*' 2>/dev/null | grep . | head -n 1
}

repositories() { # Where this machine gets its packages from; the archives of security fixes have no whole suite.
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
    # shellcheck disable=SC2086 # several packages
    apt-get --config-file "$state/apt.conf" --quiet update &&
        apt-get --config-file "$state/apt.conf" --quiet --yes --download-only install $packages
}

unpack() { # WORK_FOLDER
    local package
    mkdir -p "$1/tree/usr"/{lib,lib64}
    ln -s usr/lib usr/lib64 "$1/tree" # some packages of Debian 12 still have files below /lib
    for package in "$1"/apt/archives/*.deb; do
        dpkg-deb --fsys-tarfile "$package" | tar --extract --keep-directory-symlink --directory "$1/tree" || return 1
    done
    (cd "$1/tree" && arrange) || return 1
    touch "$1/tree/$marker"
}

fetch() {
    local repository suite work log versions program
    mkdir -p "$(dirname "$parts")"
    parts=$(cd "$(dirname "$parts")" && pwd)/$(basename "$parts")
    exec 9>"$parts.lock"
    flock 9 # another run may be fetching right now: then everything is there in a moment
    print_versions "$parts" && return

    for program in apt-get dpkg-deb; do
        command -v "$program" >/dev/null ||
            fail "$program is missing: $what are fetched from Debian's archive, so this needs Debian"
    done
    keyring=$(find /usr/share/keyrings -name 'debian-archive-keyring.*' | sort | head -n 1)
    [ -n "$keyring" ] || fail "Debian's keys are missing; on Debian: apt-get install debian-archive-keyring"
    if [ -n "$(ls -A "$parts" 2>/dev/null)" ] && [ ! -e "$parts/$marker" ]; then
        fail "$parts holds something else, and no $needed that run; name another folder with $variable"
    fi
    work=$parts.new
    rm -rf "$work"
    mkdir "$work"
    log=$work/log
    for suite in $suites; do
        for repository in $(repositories); do
            echo "fetching $what of Debian $suite (about $size MB)" >&2
            if download "$repository" "$suite" "$work" >"$log" 2>&1 && unpack "$work" >>"$log" 2>&1; then
                if versions=$(print_versions "$work/tree"); then
                    rm -rf "$parts"
                    mv "$work/tree" "$parts"
                    rm -rf "$work"
                    echo "$versions"
                    return
                fi
                echo "the programs of $suite do not run here, or are not $needed" >>"$log"
            fi
            tail -n 3 "$log" >&2
            rm -rf "$work/tree"
        done
    done
    rm -rf "$work"
    fail "no $needed to be had: tried the suites $suites of this machine's Debian archive"
}
