"""
A Hub in small, for tests: what the unmodified clients of huggingface_hub and transformers call, on 127.0.0.1.

`HubServer` starts it as a process of its own, with two origins as the real Hub has: the Hub, and the storage that LFS
files are sent to and redirected to. All is kept in memory. It is strict: an endpoint it does not know answers 404 and
is recorded; what is too long, of another checksum, or sent by the wrong way (regular, LFS) is refused; the storage
refuses a token. It knows models, data sets and Spaces, branches and tags, and neither Xet, pull requests, deletions of
repositories nor Range. A test can order errors, and connections that break in the middle of a request or an answer.

The process reads commands from stdin, a JSON a line, answers each by a line, and ends with stdin: it cannot outlive a
test that was killed.
"""

import base64
import binascii
import hashlib
import json
import re
import socket
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from fnmatch import fnmatch
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit


MAX_BODY = 32 * 2**20  # ours: a model of the tests has less than 1 MiB
USER = "user"
FIELDS = {
    "repo": "[^/]+/[^/]+",
    "revision": "[^/]+",
    "path": ".+",
    "branch": "[^/]+",
    "key": "[0-9a-f]{32}",
    "oid": "[0-9a-f]{64}",
}


class Refusal(Exception):
    """An answer other than the one asked for; `code` is the Hub's `X-Error-Code`."""

    def __init__(self, status: int, message: str, code: str | None = None, **headers: str) -> None:
        super().__init__(message)
        self.status = status
        self.headers = {"X-Error-Message": message, **({"X-Error-Code": code} if code else {}), **headers}


@dataclass(frozen=True)
class File:
    """A file of a revision; `oid` is git's SHA-1 of a regular file, the SHA-256 of an LFS file."""

    content: bytes
    lfs: bool

    @property
    def oid(self) -> str:
        if self.lfs:
            return hashlib.sha256(self.content).hexdigest()
        return hashlib.sha1(b"blob %d\0" % len(self.content) + self.content).hexdigest()

    def row(self, path: str) -> dict[str, Any]:
        """The file in a list of a revision's files; the two lists of the Hub name the same things differently."""
        size, lfs = len(self.content), {}
        if self.lfs:
            pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.oid}\nsize {size}\n"
            lfs = {"lfs": {"oid": self.oid, "sha256": self.oid, "size": size, "pointerSize": len(pointer)}}
        return {
            "type": "file",
            "path": path,
            "rfilename": path,
            "oid": self.oid,
            "blobId": self.oid,
            "size": size,
        } | lfs


@dataclass
class Repo:
    """Every revision by its commit id, and which of them each branch and each tag names."""

    private: bool = False
    revisions: dict[str, dict[str, File]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    def commit(self, branch: str, files: dict[str, File]) -> str:
        commit_id = hashlib.sha1(uuid.uuid4().bytes).hexdigest()
        self.revisions[commit_id] = files
        self.branches[branch] = commit_id
        return commit_id


@dataclass
class Request:
    """What an endpoint gets: the fields of the path, the query, the body."""

    fields: dict[str, str]
    query: str
    body: bytes

    @property
    def is_form(self) -> bool:
        return not self.body.startswith(b"{")

    def json(self) -> Any:
        return json.loads(self.body)


Answer = tuple[int, bytes, dict[str, str]]
Endpoint = tuple[re.Pattern, bool, Callable[["Hub", Request], Answer]]
# Where a client finds what is not a model.
OTHER_PATHS = (
    {"/api/models/": "/api/datasets/", "/": "/datasets/"},
    {"/api/models/": "/api/spaces/", "/": "/spaces/"},
)
PREFIXES = {"model": "", "dataset": "datasets/", "space": "spaces/"}
CUTS = ("request", "answer")
HUB_ENDPOINTS: dict[str, Endpoint] = {}
STORAGE_ENDPOINTS: dict[str, Endpoint] = {}


def endpoint(table: dict[str, Endpoint], *labels: str, write: bool = False) -> Callable:
    """
    Register a method of `Hub` under `"METHOD /path/with/{fields}"`; with `write` a token is asked for. What is there
    for models is there for data sets and Spaces too, whose repositories are called `datasets/USER/NAME` and
    `spaces/USER/NAME` here.
    """

    def register(function: Callable[["Hub", Request], Answer]) -> Callable[["Hub", Request], Answer]:
        of_others = [
            re.sub(
                r"^(\w+) (/api/models/|/)\{repo\}",
                lambda found, paths=paths: f"{found[1]} {paths[found[2]]}{{repo}}",
                label,
            )
            for label in labels
            if "{repo}" in label
            for paths in OTHER_PATHS
        ]
        for label in [*labels, *of_others]:
            pattern = re.sub(r"\\\{(\w+)\\\}", lambda match: f"(?P<{match[1]}>{FIELDS[match[1]]})", re.escape(label))
            table[label] = (re.compile(pattern), write, function)
        return function

    return register


def answer_json(value: Any, status: int = 200, **headers: str) -> Answer:
    return status, json.dumps(value).encode(), {"Content-Type": "application/json", **headers}


class Hub:
    """State and endpoints of both origins; a file that `lfs` names or that is above `lfs_above` bytes comes by LFS."""

    def __init__(self, token: str, lfs: list[str], lfs_above: int) -> None:
        self.token, self.lfs, self.lfs_above = token, lfs, lfs_above
        self.repos: dict[str, Repo] = {}
        self.objects: dict[str, bytes] = {}  # LFS, by SHA-256
        self.key = uuid.uuid4().hex  # stands for the signature in an address of the storage
        self.url = self.storage_url = ""
        self.calls: list[list[Any]] = []
        self.unknown: list[str] = []
        self.faults: dict[str, tuple[int | str, int]] = {}  # a status or one of `CUTS`, and how often yet
        self.lock = threading.Lock()

    def take_fault(self, table: dict[str, Endpoint], method: str, target: str) -> int | str | None:
        """The fault that was ordered for this call, if any; it is used up."""
        for label, (pattern, *_) in table.items():
            fault, times = self.faults.get(label, (None, 0))
            if times > 0 and pattern.fullmatch(f"{method} {urlsplit(target).path}"):
                self.faults[label] = (fault, times - 1)
                self.calls.append([label, fault])
                return fault
        return None

    def answer(self, table: dict[str, Endpoint], method: str, target: str, token: str | None, body: bytes) -> Answer:
        """Find the endpoint, check the token, and call."""
        url = urlsplit(target)
        found = [label for label, (pattern, *_) in table.items() if pattern.fullmatch(f"{method} {url.path}")]
        if len(found) != 1:
            self.unknown.append(f"{method} {target}")
            return answer_json({"error": "unknown endpoint"}, 404)
        label = found[0]
        pattern, write, function = table[label]
        fields = {
            name: unquote(value) for name, value in pattern.fullmatch(f"{method} {url.path}").groupdict().items()
        }
        for prefix in filter(None, PREFIXES.values()):
            if f"/{prefix}{{repo}}" in label:
                fields["repo"] = f"{prefix}{fields['repo']}"
        try:
            if table is STORAGE_ENDPOINTS and (token is not None or fields["key"] != self.key):
                raise Refusal(400, "the storage takes a signed address and no token")
            if token not in (None, f"Bearer {self.token}"):
                raise Refusal(401, "Invalid credentials in Authorization header")
            if write and token is None:
                raise Refusal(401, "Invalid username or password.")
            if (
                token is None
                and "repo" in fields
                and fields["repo"] in self.repos
                and self.repos[fields["repo"]].private
            ):
                raise Refusal(401, "Invalid username or password.", "RepoNotFound")
            answer = function(self, Request(fields, url.query, body))
        except Refusal as error:
            answer = answer_json({"error": str(error)}, error.status, **error.headers)
        except (ValueError, KeyError, TypeError, binascii.Error) as error:
            answer = answer_json({"error": f"malformed request: {error!r}"}, 400)
        self.calls.append([label, answer[0]])
        return answer

    def repo(self, fields: dict[str, str]) -> Repo:
        if fields["repo"] not in self.repos:
            raise Refusal(404, "Repository not found", "RepoNotFound")
        return self.repos[fields["repo"]]

    def revision(self, fields: dict[str, str]) -> tuple[str, dict[str, File]]:
        repo, name = self.repo(fields), fields.get("revision", "main")
        commit_id = (repo.tags | repo.branches).get(name, name)
        if commit_id not in repo.revisions:
            raise Refusal(404, f"Invalid rev id: {name}", "RevisionNotFound")
        return commit_id, repo.revisions[commit_id]

    def must_be_lfs(self, path: str, size: int) -> bool:
        return size > self.lfs_above or any(fnmatch(path, pattern) for pattern in self.lfs)

    @endpoint(HUB_ENDPOINTS, "POST /api/repos/create", write=True)
    def create(self, request: Request) -> Answer:
        value = request.json()
        if (value.get("organization") or USER) != USER:
            raise Refusal(403, "You don't have the rights to create a repo under this namespace")
        prefix = PREFIXES[value.get("type", "model")]
        if prefix == PREFIXES["space"] and value.get("sdk") not in ("static", "gradio", "docker"):
            raise Refusal(400, "a Space needs an sdk")
        given_name = f"{USER}/{value['name']}"
        name = prefix + given_name
        made = {"url": f"{self.url}/{name}", "name": given_name, "id": given_name}
        if name in self.repos:
            return answer_json(made | {"error": "You already created this repo"}, 409)
        attributes = "".join(f"{pattern} filter=lfs diff=lfs merge=lfs -text\n" for pattern in self.lfs)
        self.repos[name] = Repo(private=value.get("visibility") == "private" or bool(value.get("private")))
        self.repos[name].commit("main", {".gitattributes": File(attributes.encode(), lfs=False)})
        return answer_json(made)

    @endpoint(HUB_ENDPOINTS, "GET /api/models/{repo}/auth-check/write", write=True)
    def may_write(self, request: Request) -> Answer:
        self.repo(request.fields)
        return answer_json({})

    @endpoint(HUB_ENDPOINTS, "POST /api/validate-yaml")
    def validate_yaml(self, request: Request) -> Answer:
        request.json()["content"]
        return answer_json({"errors": [], "warnings": []})

    @endpoint(HUB_ENDPOINTS, "POST /api/models/{repo}/preupload/{revision}", write=True)
    def preupload(self, request: Request) -> Answer:
        _, files = self.revision(request.fields)
        rows = []
        for row in request.json()["files"]:
            mode = "lfs" if self.must_be_lfs(row["path"], row["size"]) else "regular"
            known = {"oid": files[row["path"]].oid} if row["path"] in files else {}
            rows.append({"path": row["path"], "uploadMode": mode, "shouldIgnore": False} | known)
        return answer_json({"files": rows})

    @endpoint(HUB_ENDPOINTS, "POST /{repo}.git/info/lfs/objects/batch", write=True)
    def lfs_batch(self, request: Request) -> Answer:
        self.repo(request.fields)
        rows = []
        for row in request.json()["objects"]:
            if row["oid"] not in self.objects:
                href = f"{self.storage_url}/{self.key}/{row['oid']}"
                row["actions"] = {"upload": {"href": href}, "verify": {"href": f"{self.url}/lfs/verify"}}
            rows.append(row)
        return answer_json({"transfer": "basic", "objects": rows})

    @endpoint(STORAGE_ENDPOINTS, "PUT /{key}/{oid}")
    def lfs_put(self, request: Request) -> Answer:
        if hashlib.sha256(request.body).hexdigest() != request.fields["oid"]:
            raise Refusal(400, "checksum mismatch")
        self.objects[request.fields["oid"]] = request.body
        return answer_json({})

    @endpoint(STORAGE_ENDPOINTS, "GET /{key}/{oid}")
    def lfs_get(self, request: Request) -> Answer:
        if request.fields["oid"] not in self.objects:
            raise Refusal(404, "no such object")
        return 200, self.objects[request.fields["oid"]], {}

    @endpoint(HUB_ENDPOINTS, "POST /lfs/verify", write=True)
    def lfs_verify(self, request: Request) -> Answer:
        value = request.json()
        if value["oid"] not in self.objects or len(self.objects[value["oid"]]) != value["size"]:
            raise Refusal(404, "the object was not uploaded")
        return answer_json({})

    @endpoint(HUB_ENDPOINTS, "POST /api/models/{repo}/commit/{revision}", write=True)
    def commit(self, request: Request) -> Answer:
        """All operations or none: the revision is made when the last one was understood."""
        repo, branch = self.repo(request.fields), request.fields["revision"]
        if branch not in repo.branches:
            raise Refusal(404, f"Invalid rev id: {branch}", "RevisionNotFound")
        operations = [json.loads(line) for line in request.body.splitlines()]
        if [operation["key"] for operation in operations].index("header") != 0 or len(operations) < 2:
            raise Refusal(400, "expected a header, then operations")
        if operations[0]["value"].get("parentCommit", repo.branches[branch]) != repo.branches[branch]:
            raise Refusal(412, "A commit has happened since")
        files = dict(repo.revisions[repo.branches[branch]])
        for operation in operations[1:]:
            key, value = operation["key"], operation["value"]
            path = value["path"]
            if key == "deletedFile":
                if path not in files:
                    raise Refusal(404, "A file with this name doesn't exist", "EntryNotFound")
                del files[path]
                continue
            if path.startswith("/") or ".." in path.split("/"):
                raise Refusal(400, f"bad path {path!r}")
            if key == "file" and value["encoding"] == "base64":
                files[path] = File(base64.b64decode(value["content"], validate=True), lfs=False)
            elif key == "lfsFile" and value["algo"] == "sha256":
                files[path] = File(self.objects[value["oid"]], lfs=True)
            else:
                raise Refusal(400, f"unknown operation {key!r}")
            if files[path].lfs != self.must_be_lfs(path, len(files[path].content)):
                raise Refusal(400, f"{path} was sent by the wrong way")
        commit_id = repo.commit(branch, files)
        address = f"{self.url}/{request.fields['repo']}/commit/{commit_id}"
        return answer_json({"success": True, "commitOid": commit_id, "commitUrl": address})

    @endpoint(HUB_ENDPOINTS, "GET /api/models/{repo}", "GET /api/models/{repo}/revision/{revision}")
    def info(self, request: Request) -> Answer:
        commit_id, files = self.revision(request.fields)
        name, private = "/".join(request.fields["repo"].split("/")[-2:]), self.repo(request.fields).private
        value = {"_id": commit_id[:24], "id": name, "sha": commit_id, "private": private, "tags": []}
        value["siblings"] = [file.row(path) for path, file in sorted(files.items())]
        return answer_json(value | {"lastModified": "2026-01-01T00:00:00.000Z", "downloads": 0, "likes": 0})

    @endpoint(HUB_ENDPOINTS, "GET /api/models/{repo}/refs")
    def refs(self, request: Request) -> Answer:
        repo = self.repo(request.fields)
        rows = {
            kind: [{"name": name, "ref": f"refs/{where}/{name}", "targetCommit": oid} for name, oid in names.items()]
            for kind, where, names in (("branches", "heads", repo.branches), ("tags", "tags", repo.tags))
        }
        return answer_json(rows | {"converts": []})

    @endpoint(HUB_ENDPOINTS, "POST /api/models/{repo}/branch/{branch}", write=True)
    def make_branch(self, request: Request) -> Answer:
        repo, name = self.repo(request.fields), request.fields["branch"]
        if name in repo.branches:
            raise Refusal(409, "Reference already exists")
        start = request.json().get("startingPoint", "main")
        repo.branches[name], _ = self.revision(request.fields | {"revision": start})
        return answer_json({})

    @endpoint(HUB_ENDPOINTS, "POST /api/models/{repo}/tag/{revision}", write=True)
    def make_tag(self, request: Request) -> Answer:
        repo, name = self.repo(request.fields), request.json()["tag"]
        if name in repo.tags:
            raise Refusal(409, "Tag reference exists already")
        repo.tags[name], _ = self.revision(request.fields)
        return answer_json({})

    @endpoint(HUB_ENDPOINTS, "GET /api/models/{repo}/tree/{revision}")
    def tree(self, request: Request) -> Answer:
        if "recursive=true" not in request.query.split("&"):
            raise Refusal(400, "only the whole tree")
        return answer_json([file.row(path) for path, file in sorted(self.revision(request.fields)[1].items())])

    @endpoint(HUB_ENDPOINTS, "GET /api/models/{repo}/tree/{revision}/{path}")
    def tree_below(self, request: Request) -> Answer:
        files, folder = self.revision(request.fields)[1], f"{request.fields['path']}/"
        rows = [file.row(path) for path, file in sorted(files.items()) if path.startswith(folder)]
        if not rows:
            raise Refusal(404, "Entry not found", "EntryNotFound")
        return answer_json(rows)

    @endpoint(HUB_ENDPOINTS, "POST /api/models/{repo}/paths-info/{revision}")
    def paths_info(self, request: Request) -> Answer:
        """Rows of the files and folders that are asked for and that are there."""
        files, rows = self.revision(request.fields)[1], []
        for path in parse_qs(request.body.decode())["paths"] if request.is_form else request.json()["paths"]:
            if path in files:
                rows.append(files[path].row(path))
            elif any(name.startswith(f"{path}/") for name in files):
                rows.append({"type": "directory", "path": path, "oid": hashlib.sha1(path.encode()).hexdigest()})
        return answer_json(rows)

    @endpoint(
        HUB_ENDPOINTS,
        "HEAD /{repo}/resolve/{revision}/{path}",
        "GET /{repo}/resolve/{revision}/{path}",
    )
    def resolve(self, request: Request) -> Answer:
        commit_id, files = self.revision(request.fields)
        headers = {"X-Repo-Commit": commit_id}
        if request.fields["path"] not in files:
            raise Refusal(404, "Entry not found", "EntryNotFound", **headers)
        file = files[request.fields["path"]]
        if not file.lfs:
            return 200, file.content, headers | {"ETag": f'"{file.oid}"'}
        headers |= {"X-Linked-Size": str(len(file.content)), "X-Linked-Etag": f'"{file.oid}"'}
        return 302, b"", headers | {"Location": f"{self.storage_url}/{self.key}/{file.oid}"}

    def state(self) -> dict[str, Any]:
        """Repositories with their revisions (oldest first), the LFS objects, and what was called with which status."""
        repos = {
            name: {
                "private": repo.private,
                "branches": repo.branches,
                "tags": repo.tags,
                "revisions": {
                    commit_id: {path: file.oid for path, file in files.items()}
                    for commit_id, files in repo.revisions.items()
                },
            }
            for name, repo in self.repos.items()
        }
        return {"repos": repos, "objects": sorted(self.objects), "calls": self.calls, "unknown": self.unknown}

    def command(self, value: dict[str, Any]) -> Any:
        with self.lock:
            if value["command"] == "fail":
                if value["endpoint"] not in HUB_ENDPOINTS | STORAGE_ENDPOINTS:
                    raise ValueError(f"no endpoint {value['endpoint']!r}")
                self.faults[value["endpoint"]] = (value["fault"], value["times"])
                return None
            if value["command"] == "take_by_lfs":
                self.lfs, self.lfs_above = value["lfs"], value["lfs_above"]
                return None
            return self.state()


def make_origin(hub: Hub, table: dict[str, Endpoint]) -> tuple[ThreadingHTTPServer, str]:
    """One server on a free port of the loopback, and its address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # one packet for head and body
        timeout = 60

        def log_message(self, *args: Any) -> None:
            pass

        def read_body(self) -> bytes | None:
            """None where the length is missing, wrong or too large."""
            length = self.headers.get("Content-Length", "0")
            if "Transfer-Encoding" in self.headers or not length.isdecimal() or int(length) > MAX_BODY:
                return None
            body = self.rfile.read(int(length))
            return body if len(body) == int(length) else None

        def cut(self) -> None:
            """End the connection at once, whatever is still to be read or written."""
            self.close_connection = True
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)

        def handle_request(self) -> None:
            with hub.lock:
                fault = hub.take_fault(table, self.command, self.path)
            if fault == "request":
                self.rfile.read(int(self.headers.get("Content-Length", "0")) // 2)
                self.cut()
                return
            body = self.read_body()
            if body is None:
                self.close_connection = True
                status, content, headers = answer_json({"error": "body without length or too large"}, 413)
            elif isinstance(fault, int):
                status, content, headers = answer_json({"error": "ordered"}, fault, **{"Retry-After": "0"})
            else:
                with hub.lock:
                    token = self.headers.get("Authorization")
                    status, content, headers = hub.answer(table, self.command, self.path, token, body)
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            if fault == "answer":
                self.wfile.write(content[: len(content) // 2])
                self.cut()
            elif self.command != "HEAD":
                self.wfile.write(content)

        do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = handle_request

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server, f"http://127.0.0.1:{server.server_address[1]}"


class HubServer:
    """
    The server as a process, for a `with`: `url` is the `HF_ENDPOINT`.

    Args:
        token: the only one it takes, of a user who may write to `user/...`
        lfs: patterns of paths that must come by LFS
        lfs_above: the largest regular file, in bytes
    """

    def __init__(self, token: str, lfs: tuple[str, ...] = (), lfs_above: int = MAX_BODY) -> None:
        self.options = {"token": token, "lfs": lfs, "lfs_above": lfs_above}

    def __enter__(self) -> "HubServer":
        self.process = subprocess.Popen(
            [sys.executable, "-I", __file__, json.dumps(self.options)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.url = self._read()["url"]
        return self

    def __exit__(self, *error: object) -> None:
        self.process.stdin.close()
        try:
            self.process.wait(timeout=10)
        finally:
            self.process.kill()
            self.process.stdout.close()

    def _read(self) -> Any:
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"The Hub server ended with status {self.process.wait(10)}; see its stderr.")
        return json.loads(line)

    def _send(self, **command: Any) -> Any:
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()
        return self._read()

    def fail(self, endpoint: str, times: int, fault: int | str = 500) -> None:
        """
        Answer the next `times` calls of an endpoint (0: no more) with an error; the body is read, nothing is done. Or
        break the connection: with `"request"` when half of the body was read, and nothing is done; with `"answer"`
        when half of the answer was sent, and all was done.
        """
        if isinstance(fault, str) and fault not in CUTS:
            raise ValueError(f"expected a status or one of {CUTS}, got {fault!r}")
        self._send(command="fail", endpoint=endpoint, times=times, fault=fault)

    def take_by_lfs(self, *lfs: str, above: int = MAX_BODY) -> None:
        """From now on: patterns of paths that must come by LFS, and the largest regular file, in bytes."""
        self._send(command="take_by_lfs", lfs=lfs, lfs_above=above)

    def state(self) -> dict[str, Any]:
        """See [`Hub.state`]."""
        return self._send(command="state")


def main() -> None:
    hub = Hub(**json.loads(sys.argv[1]))
    _, hub.url = make_origin(hub, HUB_ENDPOINTS)
    _, hub.storage_url = make_origin(hub, STORAGE_ENDPOINTS)
    print(json.dumps({"url": hub.url}), flush=True)
    for line in sys.stdin:
        print(json.dumps(hub.command(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
