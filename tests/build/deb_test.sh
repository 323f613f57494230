#!/bin/sh
# SPDX-License-Identifier: MIT
# The package's life in a Debian with systemd that is thrown away afterwards. Run there by dev/test-deb. Prints "the
# package is good" at the end, or stops before.
set -eu

say()
{
    printf '\n-- %s\n' "$*"
}

fail()
{
    printf 'FAILED: %s\n' "$*"
    journalctl --no-pager --unit=acrossd.service --unit=acrossd.socket || true
    exit 1
}

# expect TEXT COMMAND...: it prints exactly this.
expect()
{
    expected=$1
    shift
    got=$("$@") || fail "$* ended with exit status $?, and printed: $got"
    [ "$got" = "$expected" ] || fail "$* printed \"$got\", expected \"$expected\""
    printf 'ok: %s: %s\n' "$*" "$got"
}

# Runs a call in acrossd, as some user of this system; prints who runs it, and where.
call()
{
    runuser -u "$1" -- python3 -c '
import getpass, os, sys, across
try:
    with across.Connection.from_unix("/run/acrossd/across.sock") as conn:
        print(across.engine, conn.call(getpass.getuser), conn.call(os.getcwd), sep=" ")
except PermissionError:
    print("refused")
'
}

# Every file but those that change in any case, with owner, mode and size.
list_files()
{
    find / -xdev \( -path /proc -o -path /sys -o -path /dev -o -path /run -o -path /tmp -o -path /test -o -path /var/log \
        -o -path /var/cache -o -path /var/tmp -o -path /var/lib/dpkg \) -prune -o -type d -printf '%M %u %g %p\n' \
        -o -not -path '/etc/*passwd*' -not -path '/etc/*group*' -not -path '/etc/*shadow*' -printf '%M %u %g %s %p %l\n' | sort
}

is_active()
{
    systemctl is-active "$1" || true
}

processes()
{
    cat /proc/[0-9]*/comm 2>/dev/null | grep -c ^acrossd || true
}

useradd alice
useradd bob
list_files >/test/before

say "Install"
dpkg -i /test/acrossd.deb
expect active is_active acrossd.socket
expect active is_active acrossd.service
usermod --append --groups acrossd alice
expect "native acrossd /var/lib/acrossd" call alice
expect "native acrossd /var/lib/acrossd" call root
expect refused call bob
expect "660 root acrossd" stat -c '%a %U %G' /run/acrossd/across.sock
acrossd --version
python3 -c 'import across; print(across.__file__)'
systemctl --no-pager status acrossd.service
expect 4 processes
[ -d /usr/lib/acrossd/python/across/__pycache__ ] || fail "the package is not compiled"

say "Upgrade"
echo '# edited' >>/etc/default/acrossd
before=$(systemctl show --property=MainPID --value acrossd.service)
socket=$(stat -c %i /run/acrossd/across.sock)
dpkg -i /test/acrossd.deb
expect "# edited" tail -n 1 /etc/default/acrossd
expect active is_active acrossd.service
[ "$before" != "$(systemctl show --property=MainPID --value acrossd.service)" ] || fail "the old one still runs"
expect "$socket" stat -c %i /run/acrossd/across.sock
expect "native acrossd /var/lib/acrossd" call alice

say "Remove"
dpkg --remove acrossd
expect inactive is_active acrossd.service
expect inactive is_active acrossd.socket
expect 0 processes
expect "# edited" tail -n 1 /etc/default/acrossd
[ ! -e /usr/lib/acrossd ] || fail "files are left in /usr/lib/acrossd"
[ ! -e /run/acrossd ] || fail "/run/acrossd is left"

say "Install again, and purge"
dpkg -i /test/acrossd.deb
expect "# edited" tail -n 1 /etc/default/acrossd
expect "native acrossd /var/lib/acrossd" call alice
dpkg --purge acrossd
expect 0 processes
list_files >/test/after
diff /test/before /test/after || fail "files are left, or have changed"
[ ! -e /run/acrossd ] || fail "/run/acrossd is left"
expect "" systemctl list-units --all --no-legend 'acrossd*'

printf '\nthe package is good\n'
