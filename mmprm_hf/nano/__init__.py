"""The embedded default: a procedural world with exact truth, and the shipped nano policy and PRM."""

from pathlib import Path

POLICY_PATH = Path(__file__).parent / "checkpoints" / "policy"
PRM_PATH = Path(__file__).parent / "checkpoints" / "prm"
