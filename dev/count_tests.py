# SPDX-License-Identifier: MIT
"""Adds up JUnit reports and prints one line; the exit status is 1 when a test failed or none ran."""

import sys
import xml.etree.ElementTree as ElementTree


def main(paths: 'list[str]') -> int:
    total = failed = skipped = 0
    for path in paths:
        for suite in ElementTree.parse(path).getroot().iter('testsuite'):
            total += int(suite.get('tests', 0))
            failed += int(suite.get('failures', 0)) + int(suite.get('errors', 0))
            skipped += int(suite.get('skipped', 0)) + int(suite.get('disabled', 0))
    passed = total - failed - skipped
    print(f'tests: {passed} passed, {failed} failed, {skipped} skipped')
    return 0 if passed and not failed else 1


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
