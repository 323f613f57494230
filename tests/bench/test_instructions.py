# SPDX-License-Identifier: MIT
"""A null call takes no more instructions than are recorded, and what compares them can tell."""

import importlib
import json
import os
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).resolve().parent.parent.parent / 'bench'
sys.path.insert(0, str(BENCH))
instructions = importlib.import_module('instructions')

PROFILE = """\
events: Ir
ob=(1) /lib/one.so
fn=(1) first
10 100
+2 20
cob=(2) /lib/two.so
cfn=(2) second
calls=1 5
* 7000
ob=(2)
fn=(2)
5 7000
ob=(1)
fn=(1)
-3 3
"""


def test_profile_counts_instructions_once_and_where_they_are(tmp_path):
    profile = tmp_path / 'profile'
    profile.write_text(PROFILE)
    assert instructions.self_costs(profile) == {'/lib/one.so': 123, '/lib/two.so': 7000}


def test_growth_by_more_than_the_tolerance_is_told():
    recorded = {'client': {'engine': 1000, 'everything': 20000}}
    assert instructions.grown(recorded, {'client': {'engine': 1050, 'everything': 10}}) == []
    (sentence,) = instructions.grown(recorded, {'client': {'engine': 1051, 'everything': 20000}})
    assert 'takes 1051 instructions at the client, engine: 5.1 % more than the 1000 recorded' in sentence


def test_counts_of_another_compiler_are_not_compared(tmp_path):
    (tmp_path / 'CMakeCache.txt').write_text('CMAKE_C_COMPILER:FILEPATH=cc\nCMAKE_BUILD_TYPE:STRING=Debug\n')
    recorded = dict(instructions.setting_of(tmp_path), compiler='another one')
    with pytest.raises(instructions.CannotCountError, match='another one'):
        instructions.check_setting(tmp_path, recorded)


@pytest.mark.more
@pytest.mark.timeout(2 * 2 * instructions.SECONDS)
def test_null_call_takes_no_more_instructions_than_recorded():
    build = Path(os.environ['AX_BUILD_DIR'])
    document = json.loads(instructions.RECORD.read_text())
    try:
        instructions.check_setting(build, document['holds for'])
    except instructions.CannotCountError as error:
        pytest.skip(str(error))
    recorded = document['instructions per null call']
    counted = instructions.count_both(build)
    print(counted)
    assert instructions.grown(recorded, counted) == [], 'find out why, or record it: dev/instructions --record'
