# SPDX-License-Identifier: MIT
"""Where sites are in the sources."""

import functools
import os
import re
import subprocess

from e2e import daemon as daemons


@functools.lru_cache(None)
def _files():
    folder = os.path.join(daemons.BUILD, 'python', 'across')
    extension = next(name for name in os.listdir(folder) if re.match(r'_across[.].*so$', name))
    return {
        'acrossd': daemons.ACROSSD,
        'acrossd-openssl': os.path.join(daemons.BUILD, 'acrossd-openssl.so'),
        '_across': os.path.join(folder, extension),
    }


@functools.lru_cache(None)
def name_frame(module, offset):
    """The function, and the line in its file; of a library its name alone."""
    if module not in _files():
        return module, ''
    command = ['addr2line', '-s', '-f', '-e', _files()[module], hex(offset)]
    function, line = subprocess.check_output(command).decode().split('\n')[:2]
    return function, line.split(' ')[0]


def name_functions(site):
    """Those of ours that led to it, the innermost first."""
    return [name_frame(*frame)[0] for frame in site.frames]


def describe(site):
    """For people."""
    places = ' < '.join(' '.join(name_frame(*frame)).rstrip() for frame in site.frames)
    return '{} in the {}: {}'.format(site.function.name, site.role, places)
