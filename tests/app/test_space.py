"""A Space's folder: what the app gets, and that the Hub takes it."""

import ast
import importlib.metadata
import json

import pytest
import yaml
from support.hub_stub import serve_hub

from mmprm_hf.app.space import GRADIO_VERSION, write_space
from mmprm_hf.publish.hub import push


def test_folder_names_its_models(tmp_path):
    folder = write_space(tmp_path / "space", "me/policy", "me/prm", title='A "title": {x}', requirement="mmprm_hf==9")
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "app.py", "requirements.txt"]
    call = ast.parse((folder / "app.py").read_text()).body[-1].value
    assert ast.unparse(call) == "launch(policy='me/policy', prm='me/prm')"
    assert (folder / "requirements.txt").read_text() == "mmprm_hf==9\n"
    _, front_matter, text = (folder / "README.md").read_text().split("---\n", 2)
    metadata = yaml.safe_load(front_matter)
    assert metadata["title"] == 'A "title": {x}' and metadata["models"] == ["me/policy", "me/prm"]
    assert (metadata["sdk"], metadata["sdk_version"], metadata["app_file"]) == ("gradio", GRADIO_VERSION, "app.py")
    assert "Policy: `me/policy`; PRM: `me/prm`." in text


def test_nano_models_are_the_default_and_paths_are_refused(tmp_path, monkeypatch):
    folder = write_space(tmp_path / "space", requirement="mmprm_hf==9")
    assert "launch(policy=None, prm=None)" in (folder / "app.py").read_text()
    assert "models:" not in (folder / "README.md").read_text()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out" / "prm").mkdir(parents=True)
    for path in ("out/prm", str(tmp_path / "out/prm"), "prm", "a/b/c"):
        with pytest.raises(ValueError, match=r"The Space's prm is .*, which is not a hub id \(owner/name\). Push the"):
            write_space(tmp_path / "other", "me/policy", path)
    assert not (tmp_path / "other").exists()


def test_push_takes_it(tmp_path, monkeypatch):
    """Texts only, so that huggingface_hub's own way of uploading (Xet's pipeline) is taken."""
    folder = write_space(tmp_path / "space", "me/policy", "me/prm", requirement="mmprm_hf==9")
    with serve_hub() as hub:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.url)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        report = push(folder, "me/space", kind="space", private=True)
        assert report["url"] == f"{hub.url}/spaces/me/space"
        assert hub.repositories["space", "me/space"]["sdk"] == "gradio"
        for path in folder.iterdir():
            assert hub.files("space", "me/space")[path.name] == path.read_bytes()
        again = push(folder, "me/space", kind="space", private=True)
        assert again["commit"] == report["commit"], "nothing changed, so nothing was committed"


def test_a_space_installs_what_this_installation_came_from_or_asks(tmp_path, monkeypatch):
    """The package is not on the index: its name alone would build no Space."""

    def installed_from(source):
        text = json.dumps(source)
        distribution = type("Distribution", (), {"read_text": lambda self, name: text})
        monkeypatch.setattr(importlib.metadata, "distribution", lambda name: distribution())

    wheel = "https://example.com/mmprm_hf-0.1.0-py3-none-any.whl"
    git = {"url": "https://example.com/me/repo", "vcs_info": {"vcs": "git", "commit_id": "abc"}}
    for source, line in (
        (git, "mmprm_hf @ git+https://example.com/me/repo@abc"),
        ({"url": wheel, "archive_info": {}}, f"mmprm_hf @ {wheel}"),
    ):
        installed_from(source)
        assert (write_space(tmp_path / "space") / "requirements.txt").read_text() == f"{line}\n"
    for source in ({"url": "file:///clone", "dir_info": {"editable": True}}, {}):
        installed_from(source)
        with pytest.raises(ValueError, match=r'not on the package index.*--requirement "mmprm_hf @ git\+https'):
            write_space(tmp_path / "other")
    assert not (tmp_path / "other").exists()
