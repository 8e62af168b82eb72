"""A scorer on the tiny PRM."""

import pytest

from mmprm_hf.models import MMPRMModel, MMPRMProcessor
from mmprm_hf.scoring import PRMScorer


@pytest.fixture(scope="session")
def tiny_scorer(tiny_prm_dir):
    """Do not change it; it has no store."""
    return PRMScorer(MMPRMModel.from_pretrained(tiny_prm_dir), MMPRMProcessor.from_pretrained(tiny_prm_dir))
