"""Open sources: repaired problems, facts that a source lacks."""

from __future__ import annotations

import pytest
from support.raw_problems import raw_row, write_source

from mmprm_hf.curation.config import SourceConfig
from mmprm_hf.curation.records import RowError
from mmprm_hf.curation.sources import Source


def test_a_source_knows_the_columns_of_the_schema_that_it_lacks(tmp_path):
    source = write_source(tmp_path, [raw_row(tmp_path, 0)])
    for adapter, options, missing in (
        ("mm_k12", {}, ["subject", "grade", "license"]),
        ("mm_k12", {"license": "mit"}, ["subject", "grade"]),
        ("mathvision", {}, ["grade", "license"]),
        ("gaokao_mm", {}, ["license"]),
    ):
        assert Source(SourceConfig(**source, adapter=adapter, **options)).unknown_columns() == missing


def test_unreadable_figures_are_left_out_of_a_benchmark_only(tmp_path):
    config = SourceConfig(**write_source(tmp_path, [raw_row(tmp_path, 0, image=["0.png", "absent.png"])]))
    benchmark, source = Source(config, is_benchmark=True), Source(config)
    assert len(benchmark.figures(benchmark.problem(0))) == 1
    with pytest.raises(RowError, match="figure_unreadable"):
        source.figures(source.problem(0))
