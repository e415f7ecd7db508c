"""A test double of a model hub: repositories in memory, served over real HTTP to the real clients.

It answers the routes that huggingface_hub, transformers, datasets and the `hf` command use to create repositories, to
upload (small files inside the commit, large ones by LFS), to list and to download, and misbehaves on request.
It has no storage, no web pages and no Xet (clients need `HF_HUB_DISABLE_XET=1`), and is no proof of what the Hub does.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import socket
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

DATE = "2026-01-01T00:00:00.000Z"
LFS_SUFFIXES = (".safetensors", ".parquet", ".onnx", ".png", ".bin")
LFS_BYTES = 1_000_000  # files from this size on go by LFS, whatever they are called


@dataclass(frozen=True)
class File:
    content: bytes
    lfs: bool

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    @property
    def oid(self) -> str:
        return self.sha256 if self.lfs else self.blob_id

    @property
    def blob_id(self) -> str:
        """What git calls the file; of an LFS file, its pointer."""
        stored = self.content
        if self.lfs:
            stored = (
                f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.sha256}\nsize {len(stored)}\n".encode()
            )
        return hashlib.sha1(b"blob %d\0" % len(stored) + stored).hexdigest()


@dataclass(frozen=True)
class Commit:
    id: str  # 40 hexadecimal digits
    parent: str | None
    title: str
    files: dict[str, File]


@dataclass
class Repository:
    kind: str  # model, dataset or space
    id: str
    private: bool = False
    commits: dict[str, Commit] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    pulls: int = 0

    def add(self, branch: str, title: str, files: dict[str, File]) -> Commit:
        parent = self.branches.get(branch)
        written = json.dumps([self.id, parent, title, len(self.commits), {n: f.sha256 for n, f in files.items()}])
        commit = Commit(hashlib.sha1(written.encode()).hexdigest(), parent, title, files)
        self.commits[commit.id] = commit
        self.branches[branch] = commit.id
        return commit

    def find(self, revision: str) -> Commit | None:
        revision = revision.removeprefix("refs/heads/").removeprefix("refs/convert/")
        found = self.branches.get(revision) or self.tags.get(revision) or revision
        return self.commits.get(found)


class HubServer:
    """The double. `start` gives its address; state outlives `stop`, so that a server can die and come back."""

    def __init__(self) -> None:
        # token -> name of the user, namespaces that the user may write to
        self.accounts = {"hf_owner": ("owner", ("owner", "bertx")), "hf_other": ("other", ("other",))}
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.objects: dict[str, bytes] = {}  # LFS content by sha256
        self.requests: list[str] = []
        self.connections: set[socket.socket] = set()
        self.lock = threading.RLock()
        self.die_after_bytes: int | None = None  # of an LFS upload: then the process is gone, as far as a client sees
        self.die_before_commit = False
        self.refusals: list[list[Any]] = []  # [pattern of "METHOD path", status, code, how often or None for ever]
        self.interlopers = 0  # so many times somebody else commits right before a commit arrives: 412
        self._http: ThreadingHTTPServer | None = None
        self._thread: threading.Thread | None = None
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> str:
        hub = self
        if self._thread is not None:  # of a server that died, and holds the port until it notices
            self._thread.join()

        class Bound(_Handler):
            server_state = hub

        self._http = ThreadingHTTPServer(("127.0.0.1", self.port), Bound)
        self._http.daemon_threads = True
        self.port = self._http.server_address[1]
        serve = self._http.serve_forever
        self._thread = threading.Thread(target=serve, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()
        return self.url

    def stop(self) -> None:
        http, self._http = self._http, None
        if http is not None:
            http.shutdown()
            http.server_close()
            self._hang_up()

    def die(self) -> None:
        """Stops answering at once, from within a request."""
        self.die_after_bytes, self.die_before_commit = None, False
        http, self._http = self._http, None
        if http is not None:
            http.socket.close()
            self._hang_up()
            threading.Thread(target=http.shutdown, daemon=True).start()

    def _hang_up(self) -> None:
        for connection in list(self.connections):
            with suppress(OSError):  # it may be closed already
                connection.shutdown(socket.SHUT_RDWR)

    @property
    def dead(self) -> bool:
        return self._http is None

    def repository(self, repo_id: str, kind: str = "model") -> Repository:
        return self.repositories[kind, repo_id]

    def files(self, repo_id: str, kind: str = "model", revision: str = "main") -> dict[str, bytes]:
        commit = self.repository(repo_id, kind).find(revision)
        assert commit is not None, revision
        return {name: file.content for name, file in commit.files.items()}


class _Answer(Exception):  # what ends a request early, with its status and code
    def __init__(self, status: int, message: str, code: str | None = None) -> None:
        self.status, self.message, self.code = status, message, code


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_state: HubServer
    timeout = 30

    def setup(self) -> None:
        super().setup()
        self.server_state.connections.add(self.connection)

    def finish(self) -> None:
        self.server_state.connections.discard(self.connection)
        with suppress(OSError):  # the server died meanwhile
            super().finish()

    def log_message(self, *_: Any) -> None: ...

    def _serve(self) -> None:
        hub, parts = self.server_state, urlsplit(self.path)
        self.query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        self.done_reading = False
        with hub.lock:
            hub.requests.append(f"{self.command} {unquote(parts.path)}")
        try:
            for refusal in hub.refusals:
                if refusal[3] != 0 and re.search(refusal[0], f"{self.command} {parts.path}"):
                    refusal[3] = None if refusal[3] is None else refusal[3] - 1
                    raise _Answer(refusal[1], f"answered {refusal[1]} as ordered", refusal[2])
            for pattern, methods, act in _ROUTES:
                match = re.fullmatch(pattern, parts.path)
                if match and self.command in methods.split():
                    with hub.lock:
                        act(self, **{name: unquote(v) if v else v for name, v in match.groupdict().items()})
                    return
            raise _Answer(404, f"no route {self.command} {parts.path}")
        except _Answer as answer:
            headers = {"X-Error-Message": answer.message} | ({"X-Error-Code": answer.code} if answer.code else {})
            self.reply({"error": answer.message}, answer.status, headers)
        except _Gone:
            self.close_connection = True

    do_GET = do_HEAD = do_POST = do_PUT = _serve

    # ---- reading and answering

    def body(self) -> bytes:
        """The request's, read once; the server may die while it arrives."""
        if self.done_reading:
            return b""
        self.done_reading = True
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def json(self) -> Any:
        return json.loads(self.body() or b"{}")

    def reply(self, value: Any = None, status: int = 200, headers: dict[str, str] | None = None) -> None:
        content = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.body()  # what is not read stands before the next request of a kept connection
        self.send_response(status)
        usual = {"Content-Type": "application/json", "Content-Length": str(len(content))}
        for name, text in (usual | (headers or {})).items():
            self.send_header(name, text)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    # ---- who may do what

    def user(self) -> tuple[str, tuple[str, ...]] | None:
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        if token and token not in self.server_state.accounts:
            raise _Answer(401, "Invalid credentials in Authorization header")
        return self.server_state.accounts.get(token)

    def found(self, kind: str, repo: str, write: bool = False) -> Repository:
        user = self.user()
        repository = self.server_state.repositories.get((kind, repo))
        owned = user is not None and repo.partition("/")[0] in user[1]
        if repository is None or (repository.private and not owned):
            raise _Answer(404 if user else 401, "Repository not found", "RepoNotFound")
        if write and user is None:
            raise _Answer(401, "Invalid username or password.")
        if write and not owned and not self.query.get("create_pr"):
            raise _Answer(403, "Forbidden: you must have write access to this repository")
        return repository

    def at(self, repository: Repository, revision: str) -> Commit:
        commit = repository.find(revision)
        if commit is None:
            raise _Answer(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return commit

    # ---- accounts and repositories

    def whoami(self) -> None:
        user = self.user()
        if user is None:
            raise _Answer(401, "Invalid username or password.")
        orgs = [{"name": name, "type": "org", "roleInOrg": "admin"} for name in user[1] if name != user[0]]
        auth = {"type": "access_token", "accessToken": {"displayName": "test", "role": "write"}}
        self.reply({"type": "user", "name": user[0], "fullname": user[0], "orgs": orgs, "auth": auth})

    def validate_yaml(self) -> None:
        self.reply({"errors": [], "warnings": []})

    def create(self) -> None:
        asked, user = self.json(), self.user()
        if user is None:
            raise _Answer(401, "Invalid username or password.")
        owner = asked.get("organization") or user[0]
        kind, repo = asked.get("type") or "model", f"{owner}/{asked['name']}"
        if owner not in user[1]:
            raise _Answer(403, f'You don\'t have the rights to create a {kind} under the namespace "{owner}"')
        url = f"{self.server_state.url}/{'' if kind == 'model' else kind + 's/'}{repo}"
        if (kind, repo) in self.server_state.repositories:
            self.reply({"error": "You already created this repo", "url": url, "id": repo}, 409)
            return
        private = asked.get("visibility") == "private" or bool(asked.get("private"))
        repository = self.server_state.repositories[kind, repo] = Repository(kind, repo, private)
        repository.add("main", "initial commit", {".gitattributes": File(b"*.safetensors filter=lfs\n", False)})
        self.reply({"url": url, "name": repo, "id": repo})

    def info(self, kind: str, repo: str, revision: str | None = None) -> None:
        repository = self.found(kind, repo)
        commit = self.at(repository, revision or "main")
        siblings = [
            {"rfilename": name, "size": len(f.content), "blobId": f.blob_id}
            | ({"lfs": {"sha256": f.sha256, "size": len(f.content), "pointerSize": 130}} if f.lfs else {})
            for name, f in sorted(commit.files.items())
        ]
        known = {"id": repo, "author": repo.partition("/")[0], "sha": commit.id, "private": repository.private}
        dates = {"lastModified": DATE, "createdAt": DATE, "gated": False, "disabled": False}
        self.reply({**known, **dates, "siblings": siblings, "tags": [], "downloads": 0, "likes": 0, "modelId": repo})

    def refs(self, kind: str, repo: str) -> None:
        r = self.found(kind, repo)
        heads = [(n, c) for n, c in r.branches.items() if not n.startswith("refs/pr/")]
        branches = [{"name": n, "ref": f"refs/heads/{n}", "targetCommit": c} for n, c in heads]
        tags = [{"name": n, "ref": f"refs/tags/{n}", "targetCommit": c} for n, c in r.tags.items()]
        pulls = [{"name": n, "ref": n, "targetCommit": c} for n, c in r.branches.items() if n.startswith("refs/pr/")]
        self.reply({"branches": branches, "tags": tags, "converts": [], "pullRequests": pulls})

    def branch(self, kind: str, repo: str, name: str) -> None:
        r = self.found(kind, repo, write=True)
        if name in r.branches:
            raise _Answer(409, f"Reference {name} already exists")
        r.branches[name] = self.at(r, self.json().get("startingPoint") or "main").id
        self.reply({})

    def tag(self, kind: str, repo: str, name: str) -> None:
        """The route names what is tagged, the body the tag."""
        r, tag = self.found(kind, repo, write=True), self.json()["tag"]
        if tag in r.tags:
            raise _Answer(409, f"Tag {tag} already exists")
        r.tags[tag] = self.at(r, name).id
        self.reply({})

    # ---- trees and files

    def _entry(self, name: str, file: File) -> dict[str, Any]:
        entry = {"type": "file", "oid": file.blob_id, "size": len(file.content), "path": name}
        if file.lfs:
            entry["lfs"] = {"oid": file.sha256, "size": len(file.content), "pointerSize": 130}
        return entry

    def _folder(self, path: str) -> dict[str, Any]:
        return {"type": "directory", "oid": hashlib.sha1(path.encode()).hexdigest(), "size": 0, "path": path}

    def tree(self, kind: str, repo: str, revision: str, path: str | None = None) -> None:
        files = self.at(self.found(kind, repo), revision).files
        below = f"{path.strip('/')}/" if path else ""
        if below and not any(name.startswith(below) for name in files):
            raise _Answer(404, f"{path} does not exist", "EntryNotFound")
        deep = self.query.get("recursive", "").lower() in ("1", "true")
        entries: dict[str, dict[str, Any]] = {}
        for name, file in sorted(files.items()):
            if not name.startswith(below):
                continue
            steps = name[len(below) :].split("/")
            for depth in range(1, len(steps)):
                folder = below + "/".join(steps[:depth])
                if depth == 1 or deep:
                    entries.setdefault(folder, self._folder(folder))
            if len(steps) == 1 or deep:
                entries[name] = self._entry(name, file)
        self.reply(list(entries.values()))

    def resolve(self, repo: str, revision: str, path: str, kind: str | None = None) -> None:
        repository = self.found((kind or "models")[:-1], repo)
        commit = self.at(repository, revision)
        if path not in commit.files:
            self.reply(b"", 404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit.id})
            return
        file = commit.files[path]
        etag = f'"{file.oid}"'
        headers = {"X-Repo-Commit": commit.id, "ETag": etag}
        headers |= {"X-Linked-Etag": etag, "X-Linked-Size": str(len(file.content))} if file.lfs else {}
        self.reply(file.content, headers={"Content-Type": "application/octet-stream", **headers})

    # ---- uploads

    def preupload(self, kind: str, repo: str, revision: str) -> None:
        commit = self.at(self.found(kind, repo, write=True), revision)
        answers = []
        for file in self.json()["files"]:
            held = commit.files.get(file["path"])
            lfs = file["path"].endswith(LFS_SUFFIXES) or file["size"] >= LFS_BYTES
            answer = {"path": file["path"], "uploadMode": "lfs" if lfs else "regular", "shouldIgnore": False}
            answers.append({**answer, "oid": None if held is None else held.oid})
        self.reply({"files": answers})

    def lfs_batch(self, repo: str, kind: str | None = None) -> None:
        self.query["create_pr"] = "1"  # whoever may read may hand in objects; a commit is what has to be allowed
        self.found((kind or "models")[:-1], repo, write=True)
        objects = []
        for asked in self.json()["objects"]:
            known = {"oid": asked["oid"], "size": asked["size"]}
            if asked["oid"] not in self.server_state.objects:
                known["actions"] = {"upload": {"href": f"{self.server_state.url}/lfs/{asked['oid']}"}}
            objects.append(known)
        self.reply({"transfer": "basic", "objects": objects})

    def lfs_put(self, oid: str) -> None:
        hub = self.server_state
        if hub.die_after_bytes is not None:
            self.rfile.read(min(hub.die_after_bytes, int(self.headers["Content-Length"])))
            hub.die()
            raise _Gone
        content = self.body()
        assert hashlib.sha256(content).hexdigest() == oid
        hub.objects[oid] = content
        self.reply({})

    def commit(self, kind: str, repo: str, revision: str) -> None:
        hub = self.server_state
        repository = self.found(kind, repo, write=True)
        lines = [json.loads(line) for line in self.body().splitlines() if line.strip()]
        if hub.die_before_commit:
            hub.die()
            raise _Gone
        if hub.interlopers:
            hub.interlopers -= 1
            now = self.at(repository, revision)
            note = File(b"somebody else was here\n", False)
            repository.add(revision, "somebody else", {**now.files, f"note-{len(repository.commits)}.txt": note})
        head = self.at(repository, revision)
        title, files = "", dict(head.files)
        for line in lines:
            value = line["value"]
            if line["key"] == "header":
                title = value["summary"]
                if value.get("parentCommit") not in (None, head.id):
                    raise _Answer(412, "A commit has happened since. Please refresh and try again.")
            elif line["key"] == "file":
                files[value["path"]] = File(base64.b64decode(value["content"]), False)
            elif line["key"] == "lfsFile":
                files[value["path"]] = File(hub.objects[value["oid"]], True)
            elif line["key"] == "deletedFile":
                del files[value["path"]]
            else:
                raise _Answer(400, f"unknown key {line['key']}")
        url = f"{hub.url}/{'' if kind == 'model' else kind + 's/'}{repo}"
        answer = {"success": True}
        if self.query.get("create_pr"):
            repository.pulls += 1
            revision = f"refs/pr/{repository.pulls}"
            repository.branches[revision] = head.id
            answer["pullRequestUrl"] = f"{url}/discussions/{repository.pulls}"
        made = repository.add(revision, title, files)
        self.reply({**answer, "commitUrl": f"{url}/commit/{made.id}", "commitOid": made.id, "hookOutput": ""})


class _Gone(Exception):  # the server died while it answered
    ...


_KIND, _REPO, _REVISION = r"(?P<kind>model|dataset|space)s", r"(?P<repo>[^/]+/[^/]+)", r"(?P<revision>[^/]+)"
_API = f"/api/{_KIND}/{_REPO}"
_PREFIX = f"/(?:(?P<kind>datasets|spaces)/)?{_REPO}"
_ROUTES: tuple[tuple[str, str, Any], ...] = (
    ("/api/whoami-v2", "GET", _Handler.whoami),
    ("/api/validate-yaml", "POST", _Handler.validate_yaml),
    ("/api/repos/create", "POST", _Handler.create),
    (_API, "GET", _Handler.info),
    (f"{_API}/revision/{_REVISION}", "GET", _Handler.info),
    (f"{_API}/refs", "GET", _Handler.refs),
    (f"{_API}/branch/(?P<name>.+)", "POST", _Handler.branch),
    (f"{_API}/tag/(?P<name>.+)", "POST", _Handler.tag),
    (f"{_API}/tree/{_REVISION}(?:/(?P<path>.+))?", "GET", _Handler.tree),
    (f"{_API}/preupload/{_REVISION}", "POST", _Handler.preupload),
    (f"{_API}/commit/{_REVISION}", "POST", _Handler.commit),
    (rf"{_PREFIX}\.git/info/lfs/objects/batch", "POST", _Handler.lfs_batch),
    ("/lfs/(?P<oid>[0-9a-f]{64})", "PUT", _Handler.lfs_put),
    (f"{_PREFIX}/resolve/{_REVISION}/(?P<path>.+)", "GET HEAD", _Handler.resolve),
)
