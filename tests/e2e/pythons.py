# SPDX-License-Identifier: MIT
"""The Pythons on this machine."""

import functools
import glob
import os
import shutil
import subprocess
import sys

VERSIONS = ['3.9', '3.10', '3.11', '3.12', '3.13', '3.14', '3.15']


def _is(path, version):
    code = 'import sys; print("%d.%d" % sys.version_info[:2])'
    try:
        found = subprocess.run([path, '-I', '-c', code], capture_output=True, timeout=30)
    except OSError:
        return False
    return found.stdout.decode().strip() == version


@functools.lru_cache(None)
def find_python(version):
    """The path of a Python of this version, such as '3.9', or None."""
    pyenv = os.environ.get('PYENV_ROOT', os.path.expanduser('~/.pyenv'))
    candidates = [
        os.path.realpath(sys.executable),
        shutil.which('python' + version),
        *sorted(glob.glob(os.path.join(pyenv, 'versions', version + '.*', 'bin', 'python3'))),
    ]
    return next((path for path in candidates if path and _is(path, version)), None)
