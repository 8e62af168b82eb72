"""Step labels: searches over solution prefixes, the resumable driver, judges, and trees to training rows."""

from .._lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "answer_judge": ["ChatAnswerJudge"],
        "consensus": ["ConsensusSearch"],
        "driver": ["LabelRun", "label_problems", "label_problems_async"],
        "engine_gate": ["FaultTolerance"],
        "estimate": ["Prices", "choose_sample", "estimate_folder", "format_estimate"],
        "failures": ["EngineFailedError", "NothingLabelledError", "RequestFailedError", "TooManyUndecidedError"],
        "label_check": ["check_label_dataset"],
        "label_files": ["dataset_configs", "has_card_of_its_own", "write_label_dataset"],
        "label_trees": ["tree_from_row"],
        "labels": ["tree_to_paths"],
        "ledger": ["LabelSummary"],
        "protocols": ["StepJudge", "Verifier"],
        "rows_config": ["LabelRowsConfig"],
        "run_folder": ["TreeFile"],
        "searches": ["SEARCHES"],
        "step_judges": ["ChatStepJudge", "PRMStepJudge"],
    },
)
