"""Metadata of cards: huggingface_hub reads it, gives it back as it is, and its `validate` finds nothing wrong.

`card.validate` sends the card to `/api/validate-yaml`, here to a stub on loopback (`card_rules.py`). This proves that
the metadata is what huggingface_hub expects and keeps every rule that is known offline, each with its source there. It
does not prove that the Hub accepts it: its own rules are not public and change.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from huggingface_hub import DatasetCard, ModelCard
from support.card_rules import metadata_errors, serve_rules
from support.layout import ROOT

from mmprm_hf.publish.cards import render_dataset_card, render_model_card

CARDS = sorted(path for room in ("model_cards", "dataset_cards") for path in ROOT.glob(f"{room}/*/README.md"))
IDS = [f"{path.parent.parent.name}/{path.parent.name}" for path in CARDS]
CONFIG = {"config_name": "paths", "data_files": [{"split": "train", "path": "paths/train.parquet"}], "default": True}
GOOD = {"license": "apache-2.0", "pretty_name": "Tiny", "tags": ["math"], "configs": [CONFIG]}


def kind_of(path: Path) -> str:
    return path.parent.parent.name.removesuffix("_cards")


def card_class(repo_type: str) -> type[ModelCard] | type[DatasetCard]:
    return {"model": ModelCard, "dataset": DatasetCard}[repo_type]


def with_metadata(metadata: object) -> str:
    return f"---\n{yaml.safe_dump(metadata)}---\n\n# Tiny\n"


@pytest.fixture
def rules(monkeypatch):
    with serve_rules() as (url, bodies):
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", url)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        yield bodies


@pytest.mark.parametrize("path", CARDS, ids=IDS)
def test_committed_card_is_read_and_given_back(path):
    content = path.read_text(encoding="utf-8")
    _, front_matter, text = content.split("---\n", 2)
    card = card_class(kind_of(path)).load(path)
    assert card.data.to_dict() == yaml.safe_load(front_matter)
    assert card.text == text
    assert str(card) == content  # a later edit by huggingface_hub changes what it edits, nothing else


@pytest.mark.parametrize("path", CARDS, ids=IDS)
def test_committed_card_is_valid(path, rules):
    repo_type = kind_of(path)
    card_class(repo_type).load(path).validate(repo_type=repo_type)
    assert [body["repoType"] for body in rules] == [repo_type]
    assert metadata_errors(repo_type, path.read_text(encoding="utf-8")) == []  # the file as it is pushed


def test_cards_that_know_nothing_are_valid(rules):
    ModelCard(render_model_card({"name": "tiny", "kind": "policy"})).validate()
    DatasetCard(render_dataset_card({"name": "tiny"})).validate()
    assert [body["repoType"] for body in rules] == ["model", "dataset"]


def test_cards_with_everything_are_valid(rules):
    facts = {"language": ["en", "zh"], "tags": ["no", "1.0"], "license": ["mit", "cc-by-4.0"], "configs": [CONFIG]}
    for num_rows in (0, 10**4, 10**9, 10**13):
        DatasetCard(render_dataset_card({"name": "yes: no", "splits": {"train": num_rows}, **facts})).validate()
    DatasetCard(render_dataset_card({"name": "tiny", "license": "other", "license_name": "ours-1.0"})).validate()
    ModelCard(render_model_card({"name": "tiny", "kind": "prm", "base_model": "a/b", "datasets": ["c/d"]})).validate()
    assert len(rules) == 6


BROKEN = [
    ({"license": "Apache-2.0"}, '"license" must be one of those known, found Apache-2.0'),
    ({"license": "agpl-3.0-or-later"}, "found agpl-3.0-or-later"),
    ({"license": ["mit", "free"]}, "found free"),
    ({"license": None}, '"license" must be a string, found None'),
    ({"license": []}, '"license" does not contain 1 required value'),
    ({"license": "other"}, '"license_name" is required'),
    ({"language": ["English"]}, '"language" must be one of those known, found English'),
    ({"tags": "math"}, '"tags" must be an array'),
    ({"tags": ["math", 1.0]}, '"tags" must be a string, found 1.0'),
    ({"pretty_name": True}, '"pretty_name" must be a string'),
    ({"size_categories": ["n>10M"]}, '"size_categories" must be one of those known, found n>10M'),
    ({"datasets": ["out/nano/data"]}, '"datasets" is no id of the Hub: out/nano/data'),
    ({"configs": CONFIG}, '"configs" must be an array of objects'),
    ({"configs": [{"data_files": "train.parquet"}]}, r'"configs\[0\].config_name" is required'),
    ({"configs": [{"config_name": "paths"}]}, r'"configs\[0\].data_files" must be a path'),
    ({"configs": [{**CONFIG, "data_files": [{"path": "a.parquet"}]}]}, r'"configs\[0\].data_files" must be a path'),
    ({"configs": [CONFIG, {**CONFIG, "default": False}]}, '"configs" holds a config_name twice'),
    ({"configs": [CONFIG, {**CONFIG, "config_name": "trees"}]}, "more than one default"),
]


def test_what_breaks_a_rule_is_refused(rules):
    DatasetCard(with_metadata(GOOD)).validate()
    for changes, message in BROKEN:
        broken = with_metadata({**GOOD, **changes})
        assert re.search(message, "\n".join(metadata_errors("dataset", broken))), changes
        if None not in changes.values():  # huggingface_hub leaves out a null when it writes the card again
            with pytest.raises(ValueError, match=message):
                DatasetCard(broken).validate()


def test_blocks_that_are_not_metadata_are_refused():
    for content, message in (
        ("# Tiny\n", "no metadata"),
        ("---\nlicense: mit\n---oops\n", "no metadata"),
        ("---\nlicense: [\n---\n", "no YAML"),
        ("---\nlicense: mit\nlicense: other\n---\n", "duplicated mapping key: license"),
        ("---\n- license\n---\n", "must be of type object, found list"),
    ):
        assert any(message in error for error in metadata_errors("model", content)), content
