"""Benchmarks, and the tables, curves and diagnoses of judged candidates and step scores, as plain JSON."""

from .._lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "benchmarks": ["READERS", "load_benchmark"],
        "curves": ["best_of_n_curves"],
        "diagnosis": ["diagnose"],
        "evaluators": ["METRICS", "best_of_n_report"],
        "exact_truth": ["false_positive_report", "step_level_report"],
        "metric_modules": ["METRIC_MODULES", "metric_path"],
        "results": ["answer_costs", "make_results"],
        "step_metrics": ["tuned_threshold"],
        "subjects": ["best_of_n_by_subject"],
        "step_runner": ["STEP_BENCHMARKS", "evaluate_steps", "load_step_benchmark", "score_samples"],
    },
)
