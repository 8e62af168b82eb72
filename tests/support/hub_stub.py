"""A Hub on loopback, as far as huggingface_hub asks it for uploading, listing and downloading. Without Xet.

A commit is applied whole or not at all; large files arrive before it, as in Git LFS.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import threading
import urllib.parse
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

LARGE = (".safetensors", ".parquet", ".png")


class HubStub:
    """What the server knows; tests look into it and set `refuse` and `hold_after`.

    Attributes:
        repositories: (kind, name) -> {"private", "sdk", "url", "branches": {branch: commit}}.
        commits: commit -> {path: bytes}.
        objects: sha256 -> bytes of a large file.
        requests: "METHOD path" of everything asked.
        tokens: the authorization headers seen.
        uploaded: sha256 of the large files that were sent, in order.
        refuse: Status of the answer to every POST. None: they are served.
        hold_after: Large files after this many get no answer until `release` is set. None: all do.
    """

    def __init__(self) -> None:
        self.repositories: dict[tuple[str, str], dict] = {}
        self.commits: dict[str, dict[str, bytes]] = {}
        self.objects: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.tokens: set[str | None] = set()
        self.uploaded: list[str] = []
        self.refuse: int | None = None
        self.hold_after: int | None = None
        self.held = threading.Event()
        self.release = threading.Event()
        self.lock = threading.Lock()
        self.url = ""

    def files(self, kind: str, name: str, branch: str = "main") -> dict[str, bytes]:
        """Files of a branch."""
        return self.commits[self.repositories[kind, name]["branches"][branch]]

    def commit(self, files: dict[str, bytes]) -> str:
        """Keep a state of files under a new id."""
        oid = hashlib.sha1(f"{len(self.commits)}{sorted(files)}".encode()).hexdigest()
        self.commits[oid] = files
        return oid


def _blob_id(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def _entry(path: str, data: bytes) -> dict:
    entry = {"type": "file", "path": path, "size": len(data), "oid": _blob_id(data)}
    if path.endswith(LARGE):
        entry["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}
    return entry


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: HubStub

    def log_message(self, *args: object) -> None:
        pass

    def _answer(self, content: object = None, status: int = 200, raw: bytes | None = None, **headers: str) -> None:
        data = json.dumps(content).encode() if raw is None else raw
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Content-Type", "application/json" if raw is None else "application/octet-stream")
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _missing(self, code: str) -> None:
        self._answer({"error": code}, 404, X_Error_Code=code)

    def _parts(self) -> tuple[list[str], dict[str, list[str]]]:
        url = urllib.parse.urlsplit(self.path)
        self.hub.requests.append(f"{self.command} {url.path}")
        self.hub.tokens.add(self.headers.get("Authorization"))
        return [urllib.parse.unquote(part) for part in url.path.strip("/").split("/")], urllib.parse.parse_qs(url.query)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        data = b""
        while size := int(self.rfile.readline().strip(), 16):
            data += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return data

    def do_POST(self) -> None:
        parts, _ = self._parts()
        data = self._body()
        if self.hub.refuse:
            return self._answer({"error": "no"}, self.hub.refuse)
        if parts[:2] == ["api", "validate-yaml"]:
            return self._answer({"errors": [], "warnings": []})
        if parts[:3] == ["api", "repos", "create"]:
            return self._create(json.loads(data))
        if parts[-3:] == ["lfs", "objects", "batch"]:
            return self._answer(
                {"transfer": "basic", "objects": [self._object(o) for o in json.loads(data)["objects"]]}
            )
        repository = self.hub.repositories.get((parts[1].removesuffix("s"), "/".join(parts[2:4])))
        if repository is None:
            return self._missing("RepoNotFound")
        action, revision = parts[4], "/".join(parts[5:])
        if action == "branch":
            if revision in repository["branches"]:
                return self._answer({"error": "exists"}, 409)
            repository["branches"][revision] = repository["branches"]["main"]
            return self._answer({})
        if revision not in (*repository["branches"], *self.hub.commits):
            return self._missing("RevisionNotFound")
        if action == "preupload":
            files = self.hub.commits[repository["branches"][revision]]
            return self._answer({"files": [self._upload_mode(f["path"], files) for f in json.loads(data)["files"]]})
        if action == "commit":
            return self._commit(repository, revision, [json.loads(line) for line in data.splitlines()])
        if action == "paths-info":
            files = self.hub.commits[repository["branches"].get(revision, revision)]
            question = json.loads(data) if data[:1] == b"{" else urllib.parse.parse_qs(data.decode())
            return self._answer([_entry(path, files[path]) for path in question["paths"] if path in files])
        return self._missing("EntryNotFound")

    def _create(self, question: dict) -> None:
        kind, name = question.get("type") or "model", f"{question['organization']}/{question['name']}"
        url = f"{self.hub.url}/{'' if kind == 'model' else kind + 's/'}{name}"
        if (kind, name) in self.hub.repositories:
            return self._answer({"url": url, "error": "exists"}, 409)
        self.hub.repositories[kind, name] = {
            "private": question.get("visibility") == "private" or bool(question.get("private")),
            "sdk": question.get("sdk"),
            "url": url,
            "branches": {"main": self.hub.commit({".gitattributes": b""})},
        }
        return self._answer({"url": url, "name": name, "id": "0" * 24})

    def _object(self, question: dict) -> dict:
        if question["oid"] in self.hub.objects:
            return question
        return {**question, "actions": {"upload": {"href": f"{self.hub.url}/objects/{question['oid']}"}}}

    def _upload_mode(self, path: str, files: dict[str, bytes]) -> dict:
        mode = "lfs" if path.endswith(LARGE) else "regular"
        oid = _entry(path, files[path]).get("lfs", {"oid": _blob_id(files[path])})["oid"] if path in files else None
        return {"path": path, "uploadMode": mode, "shouldIgnore": False, "oid": oid}

    def _commit(self, repository: dict, branch: str, lines: list[dict]) -> None:
        files = dict(self.hub.commits[repository["branches"][branch]])
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.hub.objects[value["oid"]]
            elif line["key"] == "deletedFile":
                del files[value["path"]]
        oid = repository["branches"][branch] = self.hub.commit(files)
        return self._answer({"success": True, "commitOid": oid, "commitUrl": f"{repository['url']}/commit/{oid}"})

    def do_PUT(self) -> None:
        parts, _ = self._parts()
        data = self._body()
        with self.hub.lock:
            must_wait = self.hub.hold_after is not None and len(self.hub.uploaded) >= self.hub.hold_after
            if not must_wait:  # both at once: who sees it counted finds it stored
                assert hashlib.sha256(data).hexdigest() == parts[-1]
                self.hub.objects[parts[-1]] = data
                self.hub.uploaded.append(parts[-1])
        if must_wait:
            self.hub.held.set()
            self.hub.release.wait(30)
            self.close_connection = True
            return
        self._answer({}, ETag='"x"')

    def do_GET(self) -> None:
        parts, query = self._parts()
        is_api = parts[0] == "api"
        kind, rest = "model", parts[1:] if is_api else parts
        if is_api or rest[0] in ("datasets", "spaces"):
            kind, rest = rest[0].removesuffix("s"), rest[1:]
        repository = self.hub.repositories.get((kind, "/".join(rest[:2])))
        if repository is None:
            return self._missing("RepoNotFound")
        action, rest = (rest[2] if len(rest) > 2 else "revision"), rest[3:]
        revision = rest[0] if rest else "main"
        oid = repository["branches"].get(revision, revision)
        if oid not in self.hub.commits:
            return self._missing("RevisionNotFound")
        files = self.hub.commits[oid]
        if action == "resolve":
            return self._resolve(files, "/".join(rest[1:]), oid)
        if action == "revision":
            return self._answer(self._info(kind, "/".join(parts[2:4]), repository, oid))
        if action == "tree":
            return self._answer(self._tree(files, "/".join(rest[1:]), query))
        if action == "refs":
            branches = [
                {"name": n, "ref": f"refs/heads/{n}", "targetCommit": c} for n, c in repository["branches"].items()
            ]
            return self._answer({"branches": branches, "tags": [], "converts": []})
        return self._missing("EntryNotFound")

    do_HEAD = do_GET

    def _info(self, kind: str, name: str, repository: dict, oid: str) -> dict:
        siblings = [{"rfilename": path} for path in sorted(self.hub.commits[oid])]
        facts = {"id": name, "sha": oid, "private": repository["private"], "siblings": siblings, "tags": []}
        return {**facts, "_id": "0" * 24, "downloads": 0, "likes": 0, "disabled": False, "gated": False}

    def _tree(self, files: dict[str, bytes], folder: str, query: dict[str, list[str]]) -> list[dict]:
        prefix = f"{folder}/" if folder else ""
        inside = {path: data for path, data in sorted(files.items()) if path.startswith(prefix)}
        if query.get("recursive", ["false"])[0].lower() in ("true", "1"):
            return [_entry(path, data) for path, data in inside.items()]
        folders = sorted({path[len(prefix) :].split("/")[0] for path in inside if "/" in path[len(prefix) :]})
        rows = [{"type": "directory", "path": prefix + name, "oid": "0" * 40, "size": 0} for name in folders]
        return rows + [_entry(path, data) for path, data in inside.items() if "/" not in path[len(prefix) :]]

    def _resolve(self, files: dict[str, bytes], path: str, oid: str) -> None:
        if path not in files:
            return self._missing("EntryNotFound")
        data, headers = files[path], {"X_Repo_Commit": oid, "ETag": f'"{_blob_id(files[path])}"'}
        if self.command == "GET" and (byte_range := self.headers.get("Range")):
            first, last = byte_range.split("=")[1].split("-")
            start, end = int(first or 0), int(last) + 1 if last else len(data)
            part = f"bytes {start}-{end - 1}/{len(data)}"
            return self._answer(raw=data[start:end], status=206, Content_Range=part, **headers)
        return self._answer(raw=data, Accept_Ranges="bytes", **headers)


@contextlib.contextmanager
def serve_hub() -> Iterator[HubStub]:
    """A running stub; its `url` is the endpoint."""
    hub = HubStub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.release.set()
        server.shutdown()
        server.server_close()
