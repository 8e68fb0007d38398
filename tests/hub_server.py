"""A Hub of one process: what huggingface_hub asks for when it makes, fills and reads repositories.

Files that Git would keep are sent in the commit, large ones before it to a store, as LFS has it, or
to Xet, the Hub's other store, whose client can keep what it would send in a folder.
"""

import base64
import hashlib
import json
import re
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote

import yaml

REPO = r"(?P<repo>[\w.-]+/[\w.-]+)"
USER = "ada"


class Hub:
    """Repositories, and what they hold.

    Attributes:
        repos: for each repository its branches; for each branch its commits, the newest last; of
            each commit a title and the files.
        store: large files by their SHA-256, whether a commit names them or not.
        xet: the folder that Xet keeps large files in; a repository has their SHA-256 then.
        private: which repositories are.
        requests: what was asked, in order.
        failing: how many requests, whose method and path match a pattern, will get the error 500.
    """

    def __init__(self):
        self.repos = {}
        self.store = {}
        self.xet = None
        self.private = set()
        self.requests = []
        self.failing = {}

    def files(self, repo, revision="main"):
        """The files of the newest commit."""
        return self.repos[repo][revision][-1][1]

    def answer(self, method, target, body):
        """Return a status, a body and headers."""
        path, _, query = target.partition("?")
        path = unquote(path)
        self.requests.append(f"{method} {path}")
        for pattern, left in self.failing.items():
            if left and re.search(pattern, f"{method} {path}"):
                self.failing[pattern] -= 1
                return 500, {"error": "out of order"}, {}
        for route_method, pattern, function in ROUTES:
            found = re.fullmatch(pattern, path)
            if found and method in route_method:
                return function(self, body, parse_qs(query), **found.groupdict())
        return 404, {"error": f"no such thing: {method} {path}"}, {"X-Error-Code": "EntryNotFound"}

    def whoami(self, body, query):
        return 200, {"type": "user", "name": USER, "orgs": [{"name": "guild"}]}, {}

    def create_repo(self, body, query):
        asked = json.loads(body)
        repo = f"{asked.get('organization') or USER}/{asked['name']}"
        url = f"{self.url}/{repo}"
        if repo in self.repos:
            return 409, {"error": "You already created this model repo", "url": url}, {}
        self.repos[repo] = {"main": [("initial commit", {".gitattributes": b""})]}
        if asked.get("visibility") == "private":
            self.private.add(repo)
        return 200, {"url": url, "name": repo, "id": repo}, {}

    def create_branch(self, body, query, repo, branch):
        branches = self.repos[repo]
        if branch in branches:
            return 409, {"error": "Reference already exists"}, {}
        branches[branch] = branches["main"][:]
        return 200, {}, {}

    def validate_yaml(self, body, query):
        front = re.match(r"---\n(.*?)\n---\n", json.loads(body)["content"], re.DOTALL)
        try:
            errors = metadata_errors(yaml.safe_load(front[1]) if front else {})
        except yaml.YAMLError as error:
            errors = [str(error)]
        answer = {"errors": [{"message": each} for each in errors], "warnings": []}
        return 400 if errors else 200, answer, {}

    def preupload(self, body, query, repo, revision):
        files = json.loads(body)["files"]
        answers = [
            {
                "path": file["path"],
                "uploadMode": "lfs" if file["path"].endswith(".safetensors") else "regular",
                "shouldIgnore": False,
                "oid": None,
            }
            for file in files
        ]
        return 200, {"files": answers}, {}

    def lfs_batch(self, body, query, repo):
        objects = []
        for asked in json.loads(body)["objects"]:
            link = {"href": f"{self.url}/store/{asked['oid']}"}
            missing = asked["oid"] not in self.store
            objects.append(asked | ({"actions": {"upload": link}} if missing else {}))
        return 200, {"transfer": "basic", "objects": objects}, {}

    def keep(self, body, query, oid):
        assert hashlib.sha256(body).hexdigest() == oid
        self.store[oid] = body
        return 200, {}, {}

    def xet_token(self, body, query, repo, revision):
        if self.xet is None:
            return 404, {"error": "no Xet here"}, {}
        answer = {"casUrl": f"local://{self.xet}", "accessToken": "x", "exp": int(time.time()) + 99}
        return 200, answer, {}

    def commit(self, body, query, repo, revision):
        lines = [json.loads(line) for line in body.splitlines()]
        assert lines[0]["key"] == "header"
        branches = self.repos[repo]
        base = branches[revision]
        files = dict(base[-1][1])
        for line in lines[1:]:
            value = line["value"]
            if line["key"] == "lfsFile":
                oid = value["oid"]
                files[value["path"]] = oid.encode() if self.xet else self.store[oid]
            elif line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            else:
                files.pop(value["path"])
        pull_request = {}
        if "create_pr" in query:
            number = 1 + sum(name.startswith("refs/pr/") for name in branches)
            revision = f"refs/pr/{number}"
            branches[revision] = base[:]
            pull_request = {"pullRequestUrl": f"{self.url}/{repo}/discussions/{number}"}
        branches[revision].append((lines[0]["value"]["summary"], files))
        oid = self.oid(repo, revision)
        url = f"{self.url}/{repo}/commit/{oid}"
        return 200, {"commitUrl": url, "commitOid": oid, "success": True} | pull_request, {}

    def oid(self, repo, revision):
        """The name of a branch's newest commit."""
        count = len(self.repos[repo][revision])
        return hashlib.sha1(f"{repo} {revision} {count}".encode()).hexdigest()

    def info(self, body, query, repo, revision="main"):
        if revision not in self.repos.get(repo, {}):
            return 404, {"error": "not found"}, {"X-Error-Code": "RepoNotFound"}
        names = [{"rfilename": name} for name in self.files(repo, revision)]
        return 200, {"id": repo, "sha": self.oid(repo, revision), "siblings": names}, {}

    def tree(self, body, query, repo, revision, folder=None):
        branches = {self.oid(repo, branch): branch for branch in self.repos[repo]}
        files = self.files(repo, branches.get(revision, revision))
        found = [
            {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
            for name, data in files.items()
            if name.startswith((folder or "").strip("/"))
        ]
        return 200, found, {}

    def resolve(self, body, query, repo, revision, name):
        if repo not in self.repos:
            return 404, {"error": "not found"}, {"X-Error-Code": "RepoNotFound"}
        branches = {self.oid(repo, branch): branch for branch in self.repos[repo]}
        branch = branches.get(revision, revision)
        if branch not in self.repos[repo]:
            return 404, {"error": "not found"}, {"X-Error-Code": "RevisionNotFound"}
        data = self.files(repo, branch).get(name)
        if data is None:
            return 404, {"error": "not found"}, {"X-Error-Code": "EntryNotFound"}
        headers = {
            "ETag": f'"{hashlib.sha256(data).hexdigest()}"',
            "X-Repo-Commit": self.oid(repo, branch),
        }
        return 200, data, headers


def metadata_errors(card):
    """What the Hub finds wrong in the metadata of a card, of what tfhf writes."""
    if not isinstance(card, dict):
        return ["metadata must be names with values"]
    errors = []

    def check(name, value, kind):
        if not isinstance(value, kind):
            errors.append(f'"{name}" must be {kind}, but it is {value!r}')

    for name in ("library_name", "license", "pipeline_tag"):
        check(name, card.get(name, ""), str)
    for name in ("base_model", "datasets", "language", "metrics", "tags"):
        values = card.get(name, [])
        for value in values if isinstance(values, list) else [values]:
            check(name, value, str)
    for entry in card.get("model-index", []):
        check("model-index[].name", entry.get("name"), str)
        for result in entry["results"]:
            check("task.type", result.get("task", {}).get("type"), str)
            check("dataset.type", result.get("dataset", {}).get("type"), str)
            check("dataset.name", result.get("dataset", {}).get("name"), str)
            for metric in result["metrics"]:
                check("metrics[].type", metric.get("type"), str)
                check("metrics[].value", metric.get("value"), int | float)
    return errors


REVISION = r"(?P<revision>refs/pr/\d+|[^/]+)"
ROUTES = (
    ("GET", r"/api/whoami-v2", Hub.whoami),
    ("POST", r"/api/repos/create", Hub.create_repo),
    ("POST", r"/api/validate-yaml", Hub.validate_yaml),
    ("POST", rf"/api/models/{REPO}/branch/(?P<branch>.+)", Hub.create_branch),
    ("POST", rf"/api/models/{REPO}/preupload/{REVISION}", Hub.preupload),
    ("POST", rf"/{REPO}\.git/info/lfs/objects/batch", Hub.lfs_batch),
    ("GET", rf"/api/models/{REPO}/xet-write-token/{REVISION}", Hub.xet_token),
    ("PUT", r"/store/(?P<oid>\w+)", Hub.keep),
    ("POST", rf"/api/models/{REPO}/commit/{REVISION}", Hub.commit),
    ("GET", rf"/api/models/{REPO}/revision/{REVISION}", Hub.info),
    ("GET", rf"/api/models/{REPO}/tree/{REVISION}(?P<folder>/.*)?", Hub.tree),
    ("GET", rf"/api/models/{REPO}", Hub.info),
    ("GET HEAD", rf"/{REPO}/resolve/{REVISION}/(?P<name>.+)", Hub.resolve),
)


@contextmanager
def running_hub():
    """A :class:`Hub` that answers under its ``url``."""
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_one(self):
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if self.headers.get("Transfer-Encoding") == "chunked":
                body = self.chunks()
            may = "Authorization" in self.headers or self.path == "/api/validate-yaml"
            if self.command == "POST" and not may:
                status, answer, headers = 401, {"error": "Invalid username or password."}, {}
            else:
                status, answer, headers = hub.answer(self.command, self.path, body)
            data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        do_GET = do_POST = do_PUT = do_HEAD = handle_one

        def chunks(self):
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return body

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    # Seconds between looks whether it shall stop, which every test waits for.
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
