"""Writes the folder of a Hugging Face Space that serves the app with models of the Hub."""

from __future__ import annotations

import importlib.metadata
import importlib.resources
import json
import string
from pathlib import Path

import yaml

GRADIO_VERSION = "6.31.0"  # the version that the app is tested with
_FILES = ("app.py", "requirements.txt", "README.md")


def write_space(
    output: str | Path,
    policy: str | None = None,
    prm: str | None = None,
    *,
    title: str = "Step by step",
    requirement: str | None = None,
) -> Path:
    """Write ``app.py``, ``requirements.txt`` and ``README.md`` into a folder and return it.

    Args:
        output: The folder; made if missing, files of these names are replaced.
        policy, prm: Hub ids; None takes the nano models, which the package ships.
        title: The Space's title.
        requirement: The package as pip installs it in the Space, such as "mmprm_hf @ git+https://...". None takes it
            from where this installation came.

    Raises:
        ValueError: for a model that is not a hub id: a path of this machine means nothing there. Without a requirement,
            if this package was installed from a folder.

    Example:
        >>> write_space("out/space", "me/my-policy", "me/my-prm")  # doctest: +SKIP
    """
    _check_hub_ids(policy=policy, prm=prm)
    requirement = requirement or _distribution()
    models = [model for model in (policy, prm) if model is not None]
    front_matter = {
        "title": title,
        "emoji": "🪜",
        "colorFrom": "green",
        "colorTo": "yellow",
        "sdk": "gradio",
        "sdk_version": GRADIO_VERSION,
        "python_version": "3.12",
        "app_file": "app.py",
        "tags": ["mmprm_hf", "process-reward-model"],
        **({"models": models} if models else {}),
    }
    named_policy, named_prm = (
        f"the nano {kind} that `mmprm_hf` ships" if model is None else f"`{model}`"
        for kind, model in (("policy", policy), ("PRM", prm))
    )
    values = {
        "policy": repr(policy),
        "prm": repr(prm),
        "requirement": requirement,
        "title": title,
        "summary": f"Policy: {named_policy}; PRM: {named_prm}.",
        "front_matter": yaml.safe_dump(front_matter, sort_keys=False, allow_unicode=True).rstrip("\n"),
    }
    output = Path(output)
    output.mkdir(parents=True, exist_ok=True)
    templates = importlib.resources.files(__package__).joinpath("templates")
    for name in _FILES:
        text = string.Template(templates.joinpath(f"{name}.template").read_text(encoding="utf-8")).substitute(values)
        (output / name).write_text(text, encoding="utf-8")
    return output


def _distribution() -> str:
    """This package as pip installs it elsewhere: by the git repository or wheel that it was installed from.

    It is not on the package index, so its name alone installs nothing.
    """
    try:
        source = json.loads(importlib.metadata.distribution("mmprm_hf").read_text("direct_url.json") or "{}")
    except importlib.metadata.PackageNotFoundError:  # found on PYTHONPATH
        source = {}
    url, vcs = source.get("url", ""), source.get("vcs_info")
    if not url.startswith(("https://", "http://", "ssh://")):
        raise ValueError(
            "This package was installed from a folder, which a Space cannot read, and it is not on the package index. "
            'Push the clone to a git server, and give --requirement "mmprm_hf @ git+https://HOST/OWNER/REPO", or the '
            "address of a wheel."
        )
    return f"mmprm_hf @ {vcs['vcs']}+{url}@{vcs['commit_id']}" if vcs else f"mmprm_hf @ {url}"


def _check_hub_ids(**models: str | None) -> None:
    """Refuse models that are paths."""
    for name, model in models.items():
        if model is not None and not _is_hub_id(model):
            raise ValueError(
                f"The Space's {name} is {model!r}, which is not a hub id (owner/name). Push the model first (mmprm "
                "push), then give its id; without one the Space takes the shipped nano model."
            )


def _is_hub_id(model: str) -> bool:
    """Whether it is written owner/name and is not a folder of this machine."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(model)
    except HFValidationError:
        return False
    return "/" in model and not Path(model).exists()
