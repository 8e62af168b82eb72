"""One function per stage of the method, from folder to folder; the CLI calls these.

Stages meet through files: problems -> trees -> label rows -> checkpoint -> results, so that each restarts alone. This
room may import every room below it.
"""

from .._lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "benchmark_stage": ["BenchmarkData", "evaluate_benchmark", "rescore_benchmark"],
        "config_options": ["check_option_names", "format_options", "takes_options"],
        "curate_stage": ["curate_dataset", "format_curation"],
        "demo_stage": ["evaluate_nano", "load_models", "run_demo"],
        "evaluate_stage": ["evaluate_candidates", "evaluate_step_benchmark"],
        "label_checks": ["check_label_folder"],
        "label_stage": ["LabelOptions", "build_nano_data", "estimate", "label", "write_label_rows"],
        "options": ["PolicyForm", "Servers", "read_config", "read_yaml"],
        "places": ["check_demo_folder", "check_output_folder", "check_results_file", "replace_output_folder"],
        "problems": ["open_problems"],
        "rerank_stage": ["format_rerank", "format_summary", "rerank_one", "rerank_problems"],
        "restructure_stage": ["restructure"],
        "score_stage": ["format_scores", "read_solution", "score_solutions"],
        "train_checks": ["check_training_paths", "training_summary"],
        "train_stage": ["train"],
    },
)
