"""Training of a PRM: rows, targets, losses, packed batches, metrics, dry runs, adapters, and the card of a run."""

from .._lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "best_of_n": ["BestOfNCallback", "read_candidate_sets"],
        "card_metadata": ["CardOptions", "add_to_card", "lacking_in_card", "metadata_of_data"],
        "checkpoints": ["newest_whole_checkpoint"],
        "dry_run": ["report_dry_run"],
        "dry_run_text": ["format_dry_run"],
        "lora": ["LoraOptions"],
        "merging": ["merge_adapter"],
        "option_names": ["trainer_options", "training_options"],
        "prm_config": ["PRMConfig"],
        "prm_trainer": ["PRMTrainer"],
    },
)
