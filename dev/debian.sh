# SPDX-License-Identifier: MIT
# New Debian systems in folders, for the commands in dev/ that test in them. Sourced after lib.sh. Everything here needs
# root, the functions that make a system need the network, too.

# Ends the command unless it can make and enter such a system.
debian_require()
{
    local tool
    [ "$(id -u)" = 0 ] || fail "needs root, for debootstrap and chroot"
    for tool in debootstrap unshare chroot; do
        command -v "$tool" >/dev/null || fail "no $tool: apt-get install debootstrap util-linux"
    done
}

# Prints the mirror that apt uses on this machine, or Debian's own when this is not Debian.
debian_mirror()
{
    local mirror
    mirror=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources 2>/dev/null |
        sed -nE 's,^(deb +(\[[^]]*\] +)?|URIs: *)(https?://[^ ]*/debian/?)( .*)?$,\3,p' | head -n 1)
    printf '%s\n' "${mirror:-http://deb.debian.org/debian}"
}

# debian_make SUITE FOLDER [debootstrap option...]: a minimal Debian, with the essential packages and apt alone. SUITE may be
# an alias, such as testing for the next release. The output of the tools goes to FOLDER.log.
debian_make()
{
    local suite=$1 folder=$2 scripts=/usr/share/debootstrap/scripts
    shift 2
    # A host may be older than the release. Releases have had the same script for years.
    [ -e "$scripts/$suite" ] && scripts+=/$suite || scripts+=/sid
    # What it mounts and starts ends with it.
    run unshare --mount-proc --pid --fork --kill-child debootstrap --variant=minbase "$@" "$suite" "$folder" \
        "$(debian_mirror)" "$scripts" >"$folder.log" 2>&1 ||
        fail "debootstrap failed: $(tail -n 5 "$folder.log")"
    cp -L /etc/resolv.conf "$folder/etc/resolv.conf"
    # A mirror that has fallen behind is good enough for tests.
    echo 'Acquire::Check-Valid-Until "false";' >"$folder/etc/apt/apt.conf.d/90old-mirror"
    # Where a proxy inspects TLS, its authority is known to the host, and pip needs it. The package ca-certificates, once it
    # is installed, adds what is in this folder to its own.
    mkdir -p "$folder/usr/local/share/ca-certificates"
    cp /usr/local/share/ca-certificates/*.crt "$folder/usr/local/share/ca-certificates/" 2>/dev/null || true
    debian_run "$folder" apt-get update --quiet=2 >>"$folder.log" 2>&1 ||
        fail "apt-get update failed: $(tail -n 5 "$folder.log")"
}

# debian_install FOLDER PACKAGE...
debian_install()
{
    local folder=$1
    shift
    debian_run "$folder" apt-get install --yes --quiet=2 --no-install-recommends "$@" >>"$folder.log" 2>&1 ||
        fail "apt-get install failed: $(tail -n 5 "$folder.log")"
}

# debian_run FOLDER COMMAND...: as root in that Debian, in a clean environment. It has its own process identifiers, mounts
# and shared memory, and the host's network and devices. All that it started ends with it.
debian_run()
{
    local folder=$1 name
    shift
    local environment=(PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8
        "TERM=${TERM:-dumb}" DEBIAN_FRONTEND=noninteractive)
    [ ! -e "$folder/etc/ssl/certs/ca-certificates.crt" ] || environment+=(PIP_CERT=/etc/ssl/certs/ca-certificates.crt)
    for name in http_proxy https_proxy no_proxy; do
        [ -z "${!name:-}" ] || environment+=("$name=${!name}")
    done
    unshare --mount --pid --ipc --fork --kill-child sh -euc '
        folder=$1
        shift
        mount --bind "$folder" "$folder"
        mount -t proc proc "$folder/proc"
        mount --rbind /sys "$folder/sys"
        mount --rbind /dev "$folder/dev"
        mount -t tmpfs tmpfs "$folder/dev/shm"
        mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts "$folder/dev/pts"
        mount --bind "$folder/dev/pts/ptmx" "$folder/dev/ptmx"
        exec chroot "$folder" "$@"' sh "$folder" env -i "${environment[@]}" "$@" </dev/null
}

# debian_remove FOLDER: for the trap on EXIT of a command whose systems are in that folder. A signal may have ended the
# command alone: what it has started ends first, and does not go on in a system that is being removed.
debian_remove()
{
    local children
    children=$(cat "/proc/$$/task/$$/children")
    kill -KILL $children 2>/dev/null || true
    wait
    rm -rf --one-file-system "$1"
}

# debian_copy FOLDER TARGET: the files of this working tree, as they are now and without what is built, into that Debian.
debian_copy()
{
    local folder=$1 target=$2
    mkdir -p "$folder$target"
    copy_project "$folder$target"
}
