"""The card of a label folder."""

from __future__ import annotations

import json

import pytest
from huggingface_hub import DatasetCard

from mmprm_hf.labelling import LabelRowsConfig, check_label_dataset
from mmprm_hf.nano import POLICY_PATH
from mmprm_hf.publish.cards import write_card
from mmprm_hf.publish.dataset_facts import label_facts
from mmprm_hf.publish.hub import push
from mmprm_hf.stages import LabelOptions, label, open_problems, write_label_rows

SEARCH = {"num_rollouts": 4, "max_rollouts": 12, "num_searches": 1, "validation_share": 0.3, "max_new_tokens": 96}


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "labels"
    label(LabelOptions(POLICY_PATH, folder, num_problems=10, config=SEARCH))
    return folder


def test_the_card_says_what_was_made_and_what_it_cost(labelled):
    text = (labelled / "README.md").read_text()
    statistics = json.loads((labelled / "statistics.json").read_text())
    summary = json.loads((labelled / "summary.json").read_text())
    card = DatasetCard(text)
    assert card.data.license == "apache-2.0"
    assert [config["config_name"] for config in card.data.configs] == ["paths", "trees", "problems"]
    assert f"| paths | {statistics['num_rows']} |" in text and "## What it cost" in text
    assert f"| rollouts | {summary['num_rollouts']} |" in text.replace(",", "")
    assert "| never or always solved |" in text and "Noise of the labels" in text
    assert write_card(labelled / "facts.json", labelled.parent / "again.md").read_text() == text
    assert check_label_dataset(labelled)["problems"] == 10 == sum(statistics["num_problems_by_split"].values())
    report = push(labelled, "me/labels", kind="dataset", dry_run=True)
    assert report["num_files"] >= 8


def test_words_of_people_stay(labelled):
    problems = open_problems(None, 10)
    path = labelled / "facts.json"
    facts = json.loads(path.read_text())
    path.write_text(json.dumps({**facts, "motivation": "To see.", "license": "mit"}))
    write_label_rows(problems, labelled, LabelRowsConfig(tree_rollouts=False))
    text = (labelled / "README.md").read_text()
    assert "To see." in text and DatasetCard(text).data.license == "apache-2.0"  # what the problems tell comes first
    assert "| `rollouts` |" not in text
    silent = label_facts(json.loads((labelled / "statistics.json").read_text()) | {"sources": []}, None, [], "x")
    assert silent["license"] is None
    assert "validation" not in text.split("## Columns")[0]
    own = text.replace("<!-- Made from facts.json", "<!-- Mine").replace("To see.", "My own words.")
    (labelled / "README.md").write_text(own)
    write_label_rows(problems, labelled, LabelRowsConfig(validation_share=0.3))
    kept = (labelled / "README.md").read_text()
    assert "My own words." in kept and "validation/" not in kept
    assert any(file["split"] == "validation" for file in DatasetCard(kept).data.configs[0]["data_files"])
