"""Configurations: what may be given, and the messages about what may not."""

from __future__ import annotations

import pytest

from mmprm_hf.curation.config import CurationConfig, SourceConfig


def test_a_source_is_a_path_a_mapping_or_a_list_of_them():
    assert CurationConfig(sources="a").sources == CurationConfig(sources={"path": "a"}).sources == (SourceConfig("a"),)
    config = CurationConfig(sources=("a",), benchmarks=None, languages="en")
    assert config.benchmarks == () and config.languages == ("en",)


def test_a_wrong_value_is_named_with_its_rule():
    for options, message in (
        ({"sources": ()}, "Found no source. Name at least one"),
        ({"sources": ({"path": "a", "licence": "mit"},)}, "source option 'licence'. Did you mean 'license'"),
        ({"sources": ({"name": "a"},)}, "Found the source {'name': 'a'}. Give a path, or a mapping with"),
        ({"sources": (5,)}, "Found the source 5. Give a path, or a mapping with"),
        ({"sources": ("x/a", "y/a")}, "Found sources of the same name: a, a. Give each a name of its own"),
        ({"languages": ("english",)}, "it must be some of en, zh"),
        ({"min_figure_side": -1}, "Found min_figure_side=-1 in CurationConfig; it must be at least 0"),
        ({"near_similarity": 2}, r"Found near_similarity=2 in CurationConfig; it must be in \(0, 1\]"),
    ):
        with pytest.raises(ValueError, match=message):
            CurationConfig(**{"sources": ("a",), **options})
    for options in ({"path": 5}, {"num_rows": "2"}, {"num_rows": -1}, {"columns": "question"}, {"split": ""}):
        with pytest.raises(ValueError, match="it must be a"):
            SourceConfig(**{"path": "a", **options})
    with pytest.raises(ValueError, match="Found into='validation' in SourceConfig; it must be one of auto, train, te"):
        SourceConfig("a", into="validation")


def test_a_source_is_named_after_its_path():
    for path, title in {
        "raw/plain.jsonl": "plain",
        "raw/plain.parquet": "plain",
        "raw/rows.jsonl": "raw",
        "/home/alice/problems.jsonl": "problems",
        "hub:Cierra0506/MM-K12@main": "MM-K12",
        "data/mathvision/problems.jsonl": "mathvision",
        "data/nano": "nano",
    }.items():
        assert SourceConfig(path).title == title
    assert SourceConfig("data/nano", name="n").title == "n"
