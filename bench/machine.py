# SPDX-License-Identifier: MIT
"""On what the figures were taken."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path

PACKAGES = ('rpyc', 'Pyro5', 'execnet', 'mitogen', 'numpy')


def output_of(*command: str) -> str:
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False).stdout


def describe() -> dict[str, str]:
    model = 'unknown processor'
    for line in Path('/proc/cpuinfo').read_text().splitlines():
        if line.startswith('model name'):
            model = line.partition(':')[2].strip()
            break
    governor = Path('/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor')
    changed = ', with changes' if output_of('git', 'status', '--porcelain', '--untracked-files=no') else ''
    return {
        'processor': f'{model}, {os.cpu_count()} cores',
        'frequency governor': governor.read_text().strip()
        if governor.exists()
        else 'none to be seen (a virtual machine)',
        'kernel': platform.release(),
        'python': platform.python_version(),
        'compiler': output_of('cc', '--version').splitlines()[0],
        'commit': (output_of('git', 'rev-parse', '--short', 'HEAD').strip() or 'unknown') + changed,
        'packages': ', '.join(version_of(name) for name in PACKAGES),
        'load before': '{:.2f}; ran at niceness {}'.format(os.getloadavg()[0], os.nice(0)),
    }


def version_of(name: str) -> str:
    try:
        return f'{name} {importlib.metadata.version(name)}'
    except importlib.metadata.PackageNotFoundError:
        return f'{name} missing'
