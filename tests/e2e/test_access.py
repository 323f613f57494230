# SPDX-License-Identifier: MIT
"""As whom calls run, and what is not given to anybody who may connect."""

import os
import re

import pytest

from . import remote_tasks as tasks
from .daemon import LOG
from .test_configuration import run_with
from .test_daemon import check_failure, run_acrossd
from .test_limits import needs_root, open_folder, powerless_command
from .test_secret import secret_file  # noqa: F401

__all__ = ['open_folder']

both_modes = pytest.mark.parametrize('isolation', ['process', 'shared'])


def insecure(address, what):
    """The line about an address that is open to everybody."""
    return LOG + address + ' can be reached from other hosts, without encryption [(]--insecure[)]: ' + what


# ---- --insecure ----


@both_modes
def test_insecure_is_said_aloud(make_daemon, isolation):
    daemon = make_daemon(
        '--insecure', listen=['tcp:0.0.0.0:0', 'tcp:127.0.0.1:0'], isolation=isolation, command=powerless_command()
    )
    daemon.expect(insecure(re.escape(daemon.addresses[0]), 'whoever connects may run anything'))
    with daemon.connect(address=daemon.addresses[0].replace('0.0.0.0', '127.0.0.1')) as conn:
        assert conn.call(tasks.add, 1, 2) == 3


@needs_root
def test_insecure_with_a_secret_is_still_insecure(make_daemon, secret_file):  # noqa: F811
    os.chown(secret_file, 54321, -1)
    os.chmod(os.path.dirname(secret_file), 0o755)
    daemon = make_daemon(
        '--insecure', '--secret-file', secret_file, listen=['tcp:0.0.0.0:0'], command=powerless_command(), warm=False
    )
    daemon.expect(insecure('tcp:0.0.0.0:[0-9]+', 'whoever can read or change what passes by .*'))


@needs_root
@pytest.mark.parametrize('options', [(), ('--user', 'root'), ('--user', '0'), ('--check-config',)])
def test_insecure_is_not_for_root(options):
    result = run_acrossd('--listen', 'tcp:0.0.0.0:0', '--insecure', *options)
    check_failure(result, 2, '--insecure is not for root: .*add --user NAME, or start acrossd as another user')


@needs_root
def test_insecure_is_for_root_who_has_calls_run_as_somebody_else():
    result = run_with('--check-config', '--listen', 'tcp:0.0.0.0:0', '--insecure', '--user', 'nobody')
    assert (result.returncode, result.stdout) == (0, 'the configuration is good\n')
