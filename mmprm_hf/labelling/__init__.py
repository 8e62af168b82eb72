"""Step labels: searches over solution prefixes, the resumable driver, judges, and trees to training rows."""

from .._lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "chat_judge": ["ChatStepJudge"],
        "consensus": ["ConsensusSearch", "PRMStepJudge", "StepJudge"],
        "driver": ["LabelSummary", "label_problems"],
        "estimate": ["Prices", "choose_sample", "estimate_folder", "format_estimate"],
        "judge_verifier": ["JudgeVerifier"],
        "label_files": ["dataset_configs", "has_card_of_its_own", "write_label_dataset"],
        "label_selection": ["LabelRowsConfig"],
        "run_folder": ["TreeFile"],
        "searches": ["SEARCHES"],
        "tree_draft": ["Verifier"],
    },
)
