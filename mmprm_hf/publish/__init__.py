"""Results in words, reports, cards and uploads, from result files only."""

from .._lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "cards": ["write_card"],
        "columns": ["PROBLEM_COLUMNS"],
        "hub": ["format_push", "push"],
        "label_card": ["hub_license", "write_label_card"],
        "nano_card": ["nano_dataset_facts"],
        "report_rows": ["group_candidates"],
        "reports": ["write_report"],
        "results_table": ["write_results_table"],
        "solution_html": ["render_message", "render_reranked", "render_scored"],
        "terminal": ["format_best_of_n", "format_results"],
    },
)
