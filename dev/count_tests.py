# SPDX-License-Identifier: MIT
"""
Adds up JUnit reports and prints one line, below the names of tests that failed; the exit status is 1 when a test
failed or none ran.

`--at-least-failed N`: so many commands failed. One may have ended before it wrote which of its tests did.
"""

import argparse
import os
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator

NAMES = 20  # so many tests are named


def list_failed(suite: ElementTree.Element, report: str) -> Iterator[str]:
    """For each test of the suite that failed: its name, the report that has the rest, and the first line of why."""
    for case in suite.iter('testcase'):
        for result in case.findall('failure') + case.findall('error'):
            reason = (result.get('message') or '').strip().split('\n')[0][:200]
            yield f'{case.get("classname") or suite.get("name")}::{case.get("name")} ({report}): {reason}'


def main() -> int:
    parser = argparse.ArgumentParser(description='Adds up JUnit reports.')
    parser.add_argument('--at-least-failed', type=int, default=0)
    parser.add_argument('reports', nargs='*')
    args = parser.parse_args()
    total = failed = skipped = 0
    names = []
    for path in args.reports:
        for suite in ElementTree.parse(path).getroot().iter('testsuite'):
            total += int(suite.get('tests', 0))
            failed += int(suite.get('failures', 0)) + int(suite.get('errors', 0))
            names += list_failed(suite, os.path.basename(path))
            skipped += int(suite.get('skipped', 0)) + int(suite.get('disabled', 0))
    passed = total - failed - skipped
    failed = max(failed, args.at_least_failed)
    for name in names[:NAMES]:
        print('FAILED', name)
    if len(names) > NAMES:
        print(f'and {len(names) - NAMES} more')
    print(f'tests: {passed} passed, {failed} failed, {skipped} skipped')
    return 0 if passed and not failed else 1


if __name__ == '__main__':
    sys.exit(main())
