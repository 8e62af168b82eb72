"""Step scores of candidates: which tokens may be shared, packed rows, caches, the score store."""

from .._lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "backbones": ["forget_longer_rows", "packed_inputs", "packed_obstacle"],
        "layouts": ["LAYOUTS", "Layout", "choose_layout"],
        "packing": ["PackedTree", "pack_prefix_tree"],
        "row_plan": ["num_common"],
        "score_store": ["RecentScores", "ScoreStore"],
        "scorer": ["PRMScorer"],
        "session": ["ScoringSession"],
    },
)
