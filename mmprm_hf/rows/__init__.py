"""Problems <-> dataset rows in MM-K12's schema: reading, writing, keys, images, splits. Imports no torch."""

from .._lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "candidate_rows": ["candidate_outcome", "check_candidate_row", "read_candidate_rows", "refuse_results"],
        "cells": ["cell", "is_absent", "text_cell", "texts_cell"],
        "column_names": ["check_columns", "missing_column", "without_rows"],
        "figure_rules": ["FigureFinder", "FigureRules"],
        "input_paths": ["check_data_path", "check_file_path", "check_model_path"],
        "parquet_splits": ["hub_configs", "write_splits"],
        "problem_keys": ["problem_fingerprint", "problem_key"],
        "problem_rows": [
            "problem_features",
            "problem_from_row",
            "problem_to_row",
            "row_images",
            "shown_question",
            "stored_figure",
            "stored_problem",
        ],
        "problem_source": ["ProblemSource"],
        "raw_rows": ["FIGURE_COLUMNS", "RawRows"],
        "results": ["RESULTS_VERSION", "check_results", "read_results"],
        "table_files": ["HUB_PREFIX", "is_data_file"],
    },
)
