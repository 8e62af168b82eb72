"""Every example in a docstring of the package runs and gives what it says."""

import doctest
import importlib
import pkgutil

import mmprm_hf

NOT_IMPORTED = ("mmprm_hf.evaluation.modules", "mmprm_hf.__main__")


def test_the_examples_are_true():
    failed = []
    for module in pkgutil.walk_packages(mmprm_hf.__path__, "mmprm_hf."):
        if not module.name.startswith(NOT_IMPORTED):
            outcome = doctest.testmod(importlib.import_module(module.name), optionflags=doctest.NORMALIZE_WHITESPACE)
            failed += [module.name] if outcome.failed else []
    assert not failed
