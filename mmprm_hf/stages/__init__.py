"""One function per stage of the method, from folder to folder; the CLI calls these and nothing else.

Stages meet through files: problems -> trees -> label rows -> checkpoint -> results, so each restarts alone.
Top of the house: may import every room; nothing imports it but the CLI. Names are loaded when they are first used, for
each stage needs libraries of its own.
"""

import importlib

_PUBLIC = {
    "evaluate_benchmark": "benchmark_stage",
    "evaluate_candidates": "evaluate_stage",
    "evaluate_step_benchmark": "evaluate_stage",
    "format_evaluation": "evaluate_stage",
    "format_steps": "evaluate_stage",
    "curate_dataset": "curate_stage",
    "format_curation": "curate_stage",
    "SEARCHES": "label_stage",
    "build_nano_data": "label_stage",
    "estimate": "label_stage",
    "label": "label_stage",
    "write_label_rows": "label_stage",
    "Servers": "options",
    "read_config": "options",
    "format_rerank": "rerank_stage",
    "format_summary": "rerank_stage",
    "rerank_one": "rerank_stage",
    "rerank_problems": "rerank_stage",
    "restructure": "restructure_stage",
    "format_scores": "score_stage",
    "read_solution": "score_stage",
    "score_solutions": "score_stage",
    "train": "train_stage",
}

__all__ = list(_PUBLIC)


def __getattr__(name: str):
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")
    value = getattr(importlib.import_module(f".{_PUBLIC[name]}", __name__), name)
    globals()[name] = value
    return value
