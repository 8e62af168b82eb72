"""Results in words, reports, cards and uploads, from result files only."""

from .._lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "cards": ["facts_template", "write_card"],
        "dataset_facts": ["PROBLEM_COLUMNS", "hub_license", "nano_dataset_facts", "write_label_card"],
        "hub": ["format_push", "push"],
        "report_rows": ["group_candidates"],
        "reports": ["write_report"],
        "results_table": ["write_results_table"],
        "solution_html": ["render_message", "render_reranked", "render_scored"],
        "terminal": ["format_best_of_n", "format_results"],
    },
)
