"""Benchmarks, evaluators and the tables, curves and diagnoses made from candidates and step scores."""

from .._lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "benchmarks": ["load_benchmark"],
        "curves": ["best_of_n_curves"],
        "diagnosis": ["diagnose", "format_diagnosis"],
        "evaluators": ["METRIC_NAMES", "best_of_n_report", "format_table"],
        "exact_truth": ["false_positive_report", "step_level_report"],
        "results": ["answer_costs", "make_results"],
        "step_runner": ["evaluate_steps", "score_samples"],
        "step_samples": ["load_prm_bench", "load_process_bench", "load_visual_process_bench"],
    },
)
