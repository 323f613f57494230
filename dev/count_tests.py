# SPDX-License-Identifier: MIT
"""
Adds up JUnit reports and prints one line; the exit status is 1 when a test failed or none ran.

`--at-least-failed N`: so many commands failed. One may have ended before it wrote which of its tests did.
"""

import argparse
import sys
import xml.etree.ElementTree as ElementTree


def main() -> int:
    parser = argparse.ArgumentParser(description='Adds up JUnit reports.')
    parser.add_argument('--at-least-failed', type=int, default=0)
    parser.add_argument('reports', nargs='*')
    args = parser.parse_args()
    total = failed = skipped = 0
    for path in args.reports:
        for suite in ElementTree.parse(path).getroot().iter('testsuite'):
            total += int(suite.get('tests', 0))
            failed += int(suite.get('failures', 0)) + int(suite.get('errors', 0))
            skipped += int(suite.get('skipped', 0)) + int(suite.get('disabled', 0))
    passed = total - failed - skipped
    failed = max(failed, args.at_least_failed)
    print(f'tests: {passed} passed, {failed} failed, {skipped} skipped')
    return 0 if passed and not failed else 1


if __name__ == '__main__':
    sys.exit(main())
