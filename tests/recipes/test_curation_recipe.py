"""The curation recipe: its configurations can be read, its numbers are those of the committed decisions."""

from __future__ import annotations

import json

import pytest
import yaml
from support.layout import ROOT, import_recipe

from mmprm_hf.curation import CurationConfig
from mmprm_hf.curation.criteria import criteria_in_words
from mmprm_hf.files import read_jsonl
from mmprm_hf.stages.curate_stage import DatasetCardConfig
from mmprm_hf.stages.options import read_config

RECIPE = ROOT / "recipes" / "curation"
DATA = ROOT.parent / "shared" / "data" / "mathvision"


def test_configurations_have_known_options_only():
    for name in ("mm_k12.yaml", "mathvision.yaml"):
        options, card = read_config(RECIPE / name, CurationConfig, DatasetCardConfig)
        assert CurationConfig(**options).sources and DatasetCardConfig(**card).title


def test_the_card_of_mm_k12_states_the_criteria_in_force():
    options, _ = read_config(RECIPE / "mm_k12.yaml", CurationConfig, DatasetCardConfig)
    words = criteria_in_words(CurationConfig(**options))
    stated = json.loads((ROOT / "dataset_cards" / "mm-k12" / "facts.json").read_text())["criteria"]
    assert stated == {reason: words[reason] for reason in stated}
    assert set(words) - set(stated) == {"language", "in_benchmark", "solved_without_figure", "in_test"}


def test_the_readme_has_the_committed_counts():
    text = (RECIPE / "README.md").read_text()
    report = json.loads((RECIPE / "mathvision_curation.json").read_text())
    for source in report["sources"]:
        assert source["num_read"] == source["num_kept"] + sum(source["num_dropped"].values())
    mathvision, gaokao = report["sources"]
    assert f"| kept | {mathvision['num_kept']} | {gaokao['num_kept']} |" in text
    for reason, count in mathvision["num_dropped"].items():
        assert any(line.startswith(f"| {reason}") and f"| {count} | 0 |" in line for line in text.splitlines()), reason
    results = json.loads((RECIPE / "results.json").read_text())
    assert results["precision"]["near"]["num_found"] == results["precision"]["near"]["num_read"] == 27
    assert "All 27 near pairs" in text and round(results["recall_listed"]["value"] * 25) == 22
    assert yaml.safe_load(text.split("```yaml\n")[1].split("```")[0])["num_test"] == 500


@pytest.mark.results
def test_the_committed_results_are_found_again():
    if not (DATA / "problems.jsonl").is_file():
        pytest.skip("mathvision is not there: shared/ is absent beside the repository")
    module = import_recipe("curation", "check_rules")
    ids, pairs = module.found_pairs(DATA / "problems.jsonl")
    kinds = {frozenset((ids[pair.first], ids[pair.second])): pair.kind for pair in pairs}
    listed = [frozenset((row["a"], row["b"])) for row in read_jsonl(DATA / "near_duplicates.jsonl")]
    verdicts = {frozenset(row["pair"]): row["said"] for row in read_jsonl(RECIPE / "read_pairs.jsonl")}
    near = [pair for pair, kind in kinds.items() if kind != "variant"]
    committed = json.loads((RECIPE / "results.json").read_text())
    recall, precision = committed["recall_listed"]["value"], committed["precision"]["near"]["value"]
    assert sum(pair in kinds for pair in listed) == pytest.approx(recall * len(listed))
    assert sum(verdicts.get(pair) == "same" for pair in near) == pytest.approx(precision * len(near))
    assert committed["num_pairs"]["near"] == len(near)
