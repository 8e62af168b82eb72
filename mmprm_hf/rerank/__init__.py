"""Generate candidates, score them, choose one (`pipeline.py`, `candidates.py`); the PRM as a reward (`reward.py`)."""
