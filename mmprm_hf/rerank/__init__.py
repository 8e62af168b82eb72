"""Generate candidates, score them, choose one: `pipeline.py` for transformers users, `candidates.py` underneath."""
