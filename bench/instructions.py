# SPDX-License-Identifier: MIT
"""
Counts the instructions of a null call, at either end, and compares them with those recorded in instructions.json.

Calls are counted in batches, and the cheapest batch is reported: on a busy machine threads are interrupted more often,
look more often whether there is something to read, and so take up to 15 % more instructions. A count that has grown by
more than 5 % has a reason. It stays, and is recorded, or goes.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

HERE = Path(__file__).resolve().parent
RECORD = HERE / 'instructions.json'
TOLERANCE = 1.05
BATCHES = 200
COUNT = 5  # calls in each: in few calls a thread that is interrupted at a bad moment is rare
SECONDS = 300  # a profiled process that takes longer hangs
Counts = dict[str, dict[str, int]]
"""Instructions per call, by end ('client', 'server') and place: the engine alone, or with interpreter and libraries."""


class CannotCountError(Exception):
    """There is nothing to compare here, for the reason given."""


def setting_of(build: Path) -> dict[str, str]:
    """What counts depend on besides the source."""
    cache = (build / 'CMakeCache.txt').read_text()

    def cached(name: str) -> str:
        found = re.search(rf'^{name}:[A-Z]+=(.*)$', cache, re.MULTILINE)
        return found[1] if found else ''

    compiler = subprocess.run([cached('CMAKE_C_COMPILER'), '--version'], stdout=subprocess.PIPE, text=True, check=True)
    return {
        'machine': platform.machine(),
        'compiler': compiler.stdout.splitlines()[0],
        'build': f'{cached("CMAKE_BUILD_TYPE")} {cached("AX_SANITIZE")}{cached("AX_COVERAGE")}',
        'python': sys.version,
        'libc': ' '.join(platform.libc_ver()),
    }


def check_setting(build: Path, recorded: dict[str, str]) -> None:
    if not shutil.which('valgrind'):
        raise CannotCountError('valgrind is not installed')
    here = setting_of(build)
    for name, value in recorded.items():
        if here[name] != value:
            raise CannotCountError(f'counts are recorded for the {name} {value}, and this is {here[name]}')


def self_costs(profile: Path) -> Counter[str]:
    """Instructions by the object file that they are in, of a profile as callgrind writes it."""
    names: dict[str, str] = {}
    costs: Counter[str] = Counter()
    current = ''
    called = False
    for line in profile.read_text().splitlines():
        named = re.match(r'(c?ob)=\((\d+)\)(?: (.*))?', line)
        if named:
            if named[3]:
                names[named[2]] = named[3]
            if named[1] == 'ob':
                current = named[2]
        elif line.startswith('calls='):
            called = True  # the next line tells what the call cost, which the called function tells, too
        elif line[:1].isdigit() or line[:1] in ('+', '-', '*'):
            if not called:
                costs[current] += int(line.split()[1])
            called = False
    return Counter({names.get(each, each): cost for each, cost in costs.items()})


def start(role: str, path: Path, env: dict[str, str], profile: Path | None = None) -> subprocess.Popen[bytes]:
    command = [sys.executable, str(HERE / 'null_calls.py'), role, str(path), str(BATCHES), str(COUNT)]
    if profile:
        options = [f'--callgrind-out-file={profile}', '--zero-before=getsid*', '--dump-before=getpgid*']
        command = ['valgrind', '--quiet', '--tool=callgrind', *options, *command]
    return subprocess.Popen(command, env=env)


def wait_for(path: Path, server: subprocess.Popen[bytes]) -> None:
    while not path.exists():
        if server.poll() is not None:
            raise RuntimeError(f'the server ended with status {server.returncode}')
        time.sleep(0.01)


def count(build: Path, counted: str) -> dict[str, int]:
    """At one end, while the other one runs as it is."""
    env = {**os.environ, 'PYTHONPATH': str(build / 'python'), 'PYTHONDONTWRITEBYTECODE': '1', 'PYTHONHASHSEED': '0'}
    with tempfile.TemporaryDirectory() as folder:
        path, profile = Path(folder, 's'), Path(folder, 'profile')
        server = start('server', path, env, profile if counted == 'server' else None)
        try:
            wait_for(path, server)
            client = start(
                'client' if counted == 'client' else 'marker', path, env, profile if counted == 'client' else None
            )
            for process in (client, server):
                if process.wait(SECONDS) != 0:
                    raise RuntimeError(f'{process.args} ended with status {process.returncode}')
        finally:
            server.kill()
            server.wait()
        batches = [self_costs(Path(folder, f'profile.{number}')) for number in range(1, BATCHES + 1)]
    engine = min(sum(cost for name, cost in costs.items() if '_across.' in name) for costs in batches)
    everything = min(sum(costs.values()) for costs in batches)
    calls = COUNT + (counted == 'server')  # what marks the end of a batch is a call of the server, too
    return {'engine': round(engine / calls), 'everything': round(everything / calls)}


def count_both(build: Path) -> Counts:
    return {end: count(build, end) for end in ('client', 'server')}


def grown(recorded: Counts, counted: Counts) -> list[str]:
    """A sentence for each count that has grown too much."""
    sentences = []
    for end, places in recorded.items():
        for place, before in places.items():
            now = counted[end][place]
            if now > before * TOLERANCE:
                more = (now / before - 1) * 100
                sentences.append(
                    f'a null call takes {now} instructions at the {end}, {place}: '
                    f'{more:.1f} % more than the {before} recorded'
                )
    return sentences


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--build', type=Path, required=True, help='the build folder, with python/across')
    parser.add_argument('--record', action='store_true', help='write the counts of this build to instructions.json')
    args = parser.parse_args()
    if args.record:
        document = {'holds for': setting_of(args.build), 'instructions per null call': count_both(args.build)}
        RECORD.write_text(json.dumps(document, indent=2) + '\n')
        print(RECORD.read_text(), end='')
        return
    recorded = json.loads(RECORD.read_text())
    try:
        check_setting(args.build, recorded['holds for'])
    except CannotCountError as error:
        raise SystemExit(f'nothing to compare: {error}') from None
    counted = count_both(args.build)
    print(json.dumps({'recorded': recorded['instructions per null call'], 'counted': counted}, indent=2))
    sentences = grown(recorded['instructions per null call'], counted)
    if sentences:
        raise SystemExit('\n'.join([*sentences, 'Find out why, or record it: dev/instructions --record']))


if __name__ == '__main__':
    main()
