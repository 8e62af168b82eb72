"""Metric modules: `evaluate` loads them from their folders, their READMEs are true, and they refuse what is wrong."""

from __future__ import annotations

import doctest
import re
import shutil
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import evaluate
import pytest
from evaluate.utils.file_utils import DownloadConfig

from mmprm_hf.evaluation.metric_modules import METRIC_MODULES, metric_path


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory):
    """Copies of the modules go to a folder of their own, one for all tests: the first is what Python imports from."""
    folder = tmp_path_factory.mktemp("evaluate")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("evaluate.config.HF_MODULES_CACHE", folder / "modules")
        patch.setattr("evaluate.config.HF_METRICS_CACHE", folder / "metrics")
        yield


@pytest.mark.parametrize("name", METRIC_MODULES)
def test_readmes_are_true(name):
    readme = Path(metric_path(name)) / "README.md"
    code = readme.read_text().split("```python\n")[1].split("```")[0]
    runner = doctest.DocTestRunner()
    runner.run(doctest.DocTestParser().get_doctest(code, {}, name, str(readme), 0))
    assert runner.tries >= 5 and runner.failures == 0
    assert (readme.parent / "requirements.txt").read_text() == "mmprm_hf\n"


def test_a_copy_as_a_repository_has_it(tmp_path):
    shutil.copytree(metric_path("first_error"), tmp_path / "first_error")
    metric = evaluate.load(str(tmp_path / "first_error"))
    found = metric.compute(
        predictions=[[0.9, 0.2], [0.2], [0.9]], references=[1, -1, 0], threshold=0.5, subsets=["a", "a", "b"]
    )
    assert found["subsets"]["a"]["error_accuracy"] == 1.0 and found["subsets"]["a"]["correct_accuracy"] == 0.0
    assert found["average_f1"] is None  # subset b has no right solution


class _Hub(SimpleHTTPRequestHandler):
    """Answers as the Hub does for the files of a Space: ``/spaces/{owner}/{name}/resolve/main/{file}``."""

    def translate_path(self, path):
        match = re.fullmatch(r"/spaces/you/(\w+)/resolve/main/(.*)", path)
        return str(Path(metric_path(match[1])) / match[2]) if match and match[1] in METRIC_MODULES else "/nowhere"

    def log_message(self, *args):
        pass


@pytest.mark.parametrize("name", METRIC_MODULES)
def test_from_a_repository_of_a_hub(name, tmp_path, monkeypatch):
    """`evaluate.load("owner/name")` over HTTP: the script alone is fetched, so it must stand alone."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Hub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/spaces/{{path}}/resolve/{{revision}}/{{name}}"
        monkeypatch.setattr("evaluate.config.HUB_EVALUATE_URL", address)
        monkeypatch.setattr("evaluate.config.HF_EVALUATE_OFFLINE", False)
        settings = DownloadConfig(cache_dir=tmp_path / "downloads", local_files_only=False)
        metric = evaluate.load(f"you/{name}", revision="main", download_config=settings)
        with pytest.raises(FileNotFoundError):
            evaluate.load("you/absent", revision="main", download_config=settings)
        server.shutdown()
    call = {"predictions": [[0.9, 0.2], [0.8]], "references": [[1, 0], [1]], "threshold": 0.5}
    if name == "first_error":
        call["references"] = [1, -1]
    if name == "prm_score":
        call["categories"] = ["a", "a"]
    if name == "best_of_n":
        call = {"predictions": [[0.2, 0.9]], "references": [[0, 1]]}
    assert metric.compute(**call) == evaluate.load(metric_path(name)).compute(**call)


def test_process_f1_by_hand():
    metric = evaluate.load(metric_path("process_f1"))
    found = metric.compute(predictions=[[0.9, 0.9, 0.1]], references=[[1, 0, 0]], threshold=0.5)
    assert found["f1_right"] == pytest.approx(2 / 3) == found["f1_wrong"] and found["tuned_on"] == "none"


def test_prm_score_needs_categories():
    metric = evaluate.load(metric_path("prm_score"))
    with pytest.raises(TypeError, match="categories"):
        metric.compute(predictions=[[0.9]], references=[[1]])


def test_best_of_n_without_answers_takes_no_votes():
    metric = evaluate.load(metric_path("best_of_n"))
    found = metric.compute(predictions=[[0.9, 0.2], [0.1, 0.3]], references=[[1, 0], [1, None]])
    assert "majority_vote" not in found and found["num_candidates"] == 2
    assert found["best_of_n"]["value"] == 1.0 and found["mean_pass_at_1"]["value"] == 0.75
    with pytest.raises(ValueError, match="same number"):
        metric.compute(predictions=[[0.9, 0.2], [0.1]], references=[[1, 0], [1]])


def test_unknown_metric():
    with pytest.raises(ValueError, match="Unknown metric 'f1'.* Choose one of process_f1, first_error, prm_score"):
        metric_path("f1")
