"""The embedded default: a procedural world with exact truth, and the shipped nano policy and PRM."""

from pathlib import Path

from .._lazy import attach

POLICY_PATH = Path(__file__).parent / "checkpoints" / "policy"
PRM_PATH = Path(__file__).parent / "checkpoints" / "prm"

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "drawing": ["FIGURE_SIZE"],
        "families": ["FAMILIES"],
        "shipped": ["checkpoint_or_nano", "config_or_nano"],
        "solver": ["Noise", "StepTruth"],
        "world": [
            "NanoProblem",
            "NanoProblems",
            "foreign_problem_note",
            "load_nano",
            "make_problem",
            "nano_problems",
            "problem_from_id",
        ],
    },
)
__all__ += ["POLICY_PATH", "PRM_PATH"]
