"""The catalogue of mistakes fits the code of today; `python -m tests.mutants` makes each and runs its tests."""

import ast

import pytest

from tests.mutants.__main__ import ROOT
from tests.mutants.catalogue import MUTANTS, Mutant


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_each_mistake_can_still_be_made_and_is_watched_by_tests_that_exist(mutant: Mutant) -> None:
    for change in mutant.changes:
        assert (ROOT / change.file).read_text().count(change.snippet) == 1, change.file
    for test in mutant.tests:
        file, _, name = test.partition("::")
        found = ast.walk(ast.parse((ROOT / file).read_text()))
        assert name in {one.name for one in found if isinstance(one, ast.AsyncFunctionDef)}, test
