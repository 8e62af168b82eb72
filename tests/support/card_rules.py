"""`/api/validate-yaml` on loopback: what is known of the Hub's checks of a card's metadata. Standard library and YAML.

Each rule has its source; what the Hub checks besides is not known here, so that this stub refuses less than the Hub:

- The block's pattern is huggingface_hub's `REGEX_YAML_BLOCK`, which says to be the server's own.
- The Hub reads YAML with a parser that refuses a key that comes twice; PyYAML takes the last one.
- LICENSES is the Hub's own answer to an unknown license, as quoted in huggingface_hub's issue 4218 (May 2026).
- "other" with `license_name`, `tags`, `pretty_name` and `configs`: the Hub's specification of dataset cards
  (huggingface/hub-docs, datasetcard.md). Languages and sizes: the lists that `datasets` ships for the same keys.
- Models and datasets that are linked are ids of the Hub, as huggingface_hub's `validate_repo_id` has them.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from typing import Any

import yaml
from huggingface_hub.errors import HFValidationError
from huggingface_hub.repocard import REGEX_YAML_BLOCK
from huggingface_hub.utils import validate_repo_id

_LICENSES = """
apache-2.0 mit openrail bigscience-openrail-m creativeml-openrail-m bigscience-bloom-rail-1.0 bigcode-openrail-m
afl-3.0 artistic-2.0 bsl-1.0 bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear c-uda cc cc0-1.0 cc-by-2.0 cc-by-2.5
cc-by-3.0 cc-by-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nd-4.0 cc-by-nc-nd-3.0
cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cdla-sharing-1.0 cdla-permissive-1.0
cdla-permissive-2.0 wtfpl ecl-2.0 epl-1.0 epl-2.0 etalab-2.0 eupl-1.1 eupl-1.2 agpl-3.0 gfdl gpl gpl-2.0 gpl-3.0 lgpl
lgpl-2.1 lgpl-3.0 isc h-research intel-research lppl-1.3c ms-pl apple-ascl apple-amlr mpl-2.0 odc-by odbl openmdw-1.0
openrail++ osl-3.0 postgresql ofl-1.1 ncsa unlicense zlib pddl lgpl-lr deepfloyd-if-license
fair-noncommercial-research-license llama2 llama3 llama3.1 llama3.2 llama3.3 llama4 grok2-community gemma unknown
other
"""
LICENSES = frozenset(_LICENSES.split())


def _listed(name: str) -> frozenset[str]:
    """Values of a list that `datasets` ships."""
    return frozenset(json.loads(files("datasets.utils.resources").joinpath(name).read_text(encoding="utf-8")))


LANGUAGES = _listed("languages.json") | {"code", "multilingual"}
SIZES = _listed("size_categories.json") - {"unknown"}


class _Loader(yaml.SafeLoader):
    """Refuses a key that comes twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        keys = [self.construct_object(key, deep=deep) for key, _ in node.value]
        if twice := sorted({str(key) for key in keys if keys.count(key) > 1}):
            raise yaml.YAMLError(f"duplicated mapping key: {', '.join(twice)}")
        return super().construct_mapping(node, deep)


def metadata_errors(repo_type: str, content: str) -> list[str]:
    """Return what is wrong with a card's metadata; empty if nothing is known to be.

    Args:
        repo_type: "model" or "dataset".
        content: The whole card.
    """
    block = REGEX_YAML_BLOCK.search(content)
    if block is None:
        return ["no metadata: the card must begin with a block between two lines of ---"]
    try:
        data = yaml.load(block.group(2), _Loader)
    except yaml.YAMLError as error:
        return [f"no YAML: {error}"]
    if not isinstance(data, dict):
        return [f"metadata must be of type object, found {type(data).__name__}"]
    errors = [
        *_each(data, "license", LICENSES),
        *_each(data, "language", LANGUAGES),
        *_each(data, "datasets"),
        *_each(data, "base_model"),
    ]
    licenses = data.get("license")
    if "other" in (licenses if isinstance(licenses, list) else [licenses]) and not data.get("license_name"):
        errors.append('"license" is other: "license_name" is required')
    for key in ("pretty_name", "license_name", "library_name", "pipeline_tag"):
        if key in data and not isinstance(data[key], str):
            errors.append(f'"{key}" must be a string')
    if "tags" in data and not isinstance(data["tags"], list):
        errors.append('"tags" must be an array')
    else:
        errors += _each(data, "tags")
    for key in ("datasets", "base_model"):
        errors += [f'"{key}" is no id of the Hub: {name}' for name in _texts(data.get(key)) if not _is_hub_id(name)]
    if repo_type == "dataset":
        errors += [*_each(data, "size_categories", SIZES), *_each(data, "task_categories"), *_config_errors(data)]
    return errors


def _texts(value: Any) -> list[str]:
    """The strings of a value that is one or a list of them."""
    return [entry for entry in (value if isinstance(value, list) else [value]) if isinstance(entry, str)]


def _each(data: dict, key: str, allowed: frozenset[str] | None = None) -> list[str]:
    """Errors of a key that holds a string or a list of strings, out of those allowed."""
    if key not in data:
        return []
    entries = data[key] if isinstance(data[key], list) else [data[key]]
    errors = [f'"{key}" must be a string, found {entry!r}' for entry in entries if not isinstance(entry, str)]
    if not entries:
        errors.append(f'"{key}" does not contain 1 required value')
    for name in _texts(entries):
        if allowed is not None and name not in allowed:
            errors.append(f'"{key}" must be one of those known, found {name}')
    return errors


def _is_hub_id(name: str) -> bool:
    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return True


def _config_errors(data: dict) -> list[str]:
    """Errors of `configs`: an array of named configs with files, one of them at most the default."""
    configs = data.get("configs", [])
    if not isinstance(configs, list) or not all(isinstance(config, dict) for config in configs):
        return ['"configs" must be an array of objects']
    names = [config.get("config_name") for config in configs]
    errors = [f'"configs[{index}].config_name" is required' for index, name in enumerate(names) if not _texts(name)]
    if len(set(map(str, names))) < len(names):
        errors.append('"configs" holds a config_name twice')
    if sum(config.get("default") is True for config in configs) > 1:
        errors.append('"configs" holds more than one default')
    for index, config in enumerate(configs):
        files = config.get("data_files")
        entries = files if isinstance(files, list) else [files]
        if not entries or not all(_is_data_file(entry) for entry in entries):
            errors.append(f'"configs[{index}].data_files" must be a path, or an array of paths or of split and path')
    return errors


def _is_data_file(entry: Any) -> bool:
    if isinstance(entry, dict):
        return isinstance(entry.get("split"), str) and bool(_texts(entry.get("path")))
    return isinstance(entry, str)


class _Handler(BaseHTTPRequestHandler):
    bodies: list[dict]

    def log_message(self, *args: object) -> None:
        pass

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.bodies.append(body)
        errors = metadata_errors(body["repoType"], body["content"])
        status = 404 if self.path != "/api/validate-yaml" else 400 if errors else 200
        answer = "\n".join(errors).encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)


@contextlib.contextmanager
def serve_rules() -> Iterator[tuple[str, list[dict]]]:
    """A running stub: its address, and the bodies of all questions so far."""
    bodies: list[dict] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"bodies": bodies}))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", bodies
    finally:
        server.shutdown()
        server.server_close()
