from __future__ import annotations

import os
import re
import sys

import pytest

from common.errors import WorkError
from common.paths import PROJECT
from common.steps import step


def test_a_step_is_printed_as_it_can_be_typed_and_run_in_the_projects_folder(capfd):
    code = "import os; print('in', os.getcwd(), os.environ['GIVEN'])"
    step("a title", ["python", "-c", "some 'code'", f"{PROJECT}/x"], {"GIVEN": "yes"}, [sys.executable, "-c", code])
    out = " ".join(capfd.readouterr().out.split())
    assert """== a title $ python -c 'some '"'"'code'"'"'' $PWD/x""" in out
    assert f"in {PROJECT} yes" in out
    assert re.search(r"\(\d+ s\)", out)


def test_a_step_that_fails_ends_it_with_its_status():
    command = [sys.executable, "-c", "raise SystemExit(3)"]
    with pytest.raises(WorkError, match=r"^a title: the command above ended with status 3\."):
        step("a title", command, dict(os.environ))
