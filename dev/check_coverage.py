# SPDX-License-Identifier: MIT
"""Prints what gcovr counted, per file and per folder, and fails where a folder is below its goal.

usage: check_coverage.py SUMMARY.json
"""

import json
import sys

# Per folder: percentages of lines, and of branches where there is a goal for them. In protocol/ every failure can be
# made to happen; in the others some are the system's or the interpreter's alone.
GOALS = {'protocol': (98, 95), 'embed': (90, None), 'daemon': (90, None)}


def percent(covered, total):
    return 100 * covered / total if total else 100


class Count:
    """Lines and branches, of one file or of a folder's."""

    def __init__(self, files):
        self.lines = percent(sum(file['line_covered'] for file in files), sum(file['line_total'] for file in files))
        self.branches = percent(
            sum(file['branch_covered'] for file in files), sum(file['branch_total'] for file in files)
        )

    def print(self, name, end=''):
        print('{:32} lines {:6.1f} %   branches {:6.1f} %{}'.format(name, self.lines, self.branches, end))


def below_goal(count, lines, branches):
    """What to print behind a folder that is not covered well enough."""
    goal = '{} % of lines'.format(lines) + (', {} % of branches'.format(branches) if branches else '')
    if count.lines < lines or (branches and count.branches < branches):
        return '   BELOW THE GOAL: ' + goal
    return ''


def main():
    with open(sys.argv[1]) as file:
        files = json.load(file)['files']
    folders = {name: [file for file in files if file['filename'].startswith(name + '/')] for name in GOALS}
    for found in folders.values():
        for file in found:
            Count([file]).print(file['filename'])
        print()
    failed = False
    for name, goal in GOALS.items():
        end = below_goal(Count(folders[name]), *goal) if folders[name] else '   NOTHING WAS COUNTED'
        Count(folders[name]).print(name + '/', end)
        failed = failed or bool(end)
    return failed


sys.exit(main())
