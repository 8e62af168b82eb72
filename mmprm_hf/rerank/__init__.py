"""Candidates, step scores and a winner: the pipeline, its strategies and guided search."""

from .._lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "candidates": [
            "GUIDED_SEARCHES",
            "STRATEGIES",
            "check_step_scores",
            "generate_candidates",
            "winner_index",
            "scored_candidates",
        ],
        "inputs": ["read_problem"],
        "pipeline": ["GenerateAndRerankPipeline"],
        "process_reward_pipeline": ["ProcessRewardPipeline"],
        "policy_engines": ["FORMAT_OPTIONS"],
        "served_policy": ["ServedPolicy"],
        "solving": ["RerankConfig", "solve"],
    },
)
