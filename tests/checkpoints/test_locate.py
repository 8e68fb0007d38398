"""Finding weights in folders, in the Hub's cache, and on a Hub that runs in the test."""

import hashlib
import http.server
import json
import os
import re
import socket
import threading
import time

import pytest
from huggingface_hub import constants

from tfhf.checkpoints.checkpoint import UnsafeCheckpointError
from tfhf.checkpoints.locate import WEIGHT_FILES, find_file, find_weights

# Folders.


@pytest.mark.parametrize("subfolder", ["", "inner", os.path.join("a", "b")])
def test_the_order_of_the_formats(tmp_path, subfolder):
    folder = tmp_path / subfolder
    folder.mkdir(parents=True, exist_ok=True)
    for name in reversed(WEIGHT_FILES):
        (folder / name).touch()
        assert find_weights(tmp_path, subfolder=subfolder) == str(folder / name)
        assert find_weights(str(tmp_path), subfolder=subfolder) == str(folder / name)
    for name in WEIGHT_FILES[2:]:
        assert find_weights(tmp_path, subfolder=subfolder, use_safetensors=False) == str(
            folder / name
        )
        (folder / name).unlink()


def test_safetensors_only(tmp_path):
    (tmp_path / "pytorch_model.bin").touch()
    assert find_weights(tmp_path, use_safetensors=None).endswith("pytorch_model.bin")
    with pytest.raises(
        OSError, match=r"none of model\.safetensors, model\.safetensors\.index\.json:"
    ):
        find_weights(tmp_path, use_safetensors=True)
    (tmp_path / "model.safetensors.index.json").touch()
    assert find_weights(tmp_path, use_safetensors=True).endswith(".index.json")


def test_a_folder_without_weights_says_what_it_has(tmp_path):
    (tmp_path / "config.json").touch()
    (tmp_path / "flax_model.msgpack").touch()
    (tmp_path / "model.safetensors").mkdir()  # A folder is no weight file.
    with pytest.raises(OSError) as caught:
        find_weights(tmp_path)
    message = str(caught.value)
    assert str(tmp_path) in message
    assert all(name in message for name in WEIGHT_FILES)
    assert "there is config.json, flax_model.msgpack, model.safetensors" in message
    with pytest.raises(OSError, match=r"absent has no weights.*: there is nothing"):
        find_weights(tmp_path, subfolder="absent")
    (tmp_path / "empty").mkdir()
    with pytest.raises(OSError, match=r"empty has no weights.*: there is nothing"):
        find_weights(tmp_path, subfolder="empty")


def test_one_file_of_a_folder(tmp_path):
    assert find_file(tmp_path, "config.json") is None
    (tmp_path / "sub").mkdir()
    for folder, subfolder in [(tmp_path, ""), (tmp_path / "sub", "sub")]:
        (folder / "config.json").touch()
        found = find_file(tmp_path, "config.json", subfolder=subfolder)
        assert found == str(folder / "config.json")


def test_a_file_in_place_of_a_folder(tmp_path):
    path = tmp_path / "model.safetensors"
    path.touch()
    with pytest.raises(OSError, match="is a file, expected its folder"):
        find_weights(path)


@pytest.mark.parametrize("name", ["./absent/folder", "/absent", "a/b/c", "", "a b", "C:\\x"])
def test_neither_a_folder_nor_an_id(name):
    with pytest.raises(OSError, match="is neither a folder nor the id of a model"):
        find_weights(name)


# The cache, offline: the test suite sets HF_HUB_OFFLINE.


def fill_cache(cache, files, commit="c" * 40):
    """The Hub's cache as `hf_hub_download` fills it."""
    repository = cache / "models--org--name"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    (repository / "blobs").mkdir()
    for name, content in files.items():
        path = repository / "snapshots" / commit / name
        path.parent.mkdir(parents=True, exist_ok=True)
        blob = repository / "blobs" / hashlib.sha1(name.encode()).hexdigest()
        blob.write_bytes(content)
        path.symlink_to(os.path.relpath(blob, path.parent))
    return repository / "snapshots" / commit


def test_weights_in_the_cache(tmp_path):
    snapshot = fill_cache(tmp_path, {"config.json": b"{}", "sub/pytorch_model.bin": b"x"})
    where = {"cache_dir": tmp_path, "local_files_only": True}
    assert find_file("org/name", "config.json", **where) == str(snapshot / "config.json")
    assert find_file("org/name", "generation_config.json", **where) is None
    found = find_weights("org/name", subfolder="sub", **where)
    assert found == str(snapshot / "sub" / "pytorch_model.bin")
    with pytest.raises(OSError, match=r"org/name has no weights, none of .*: the cache has none"):
        find_weights("org/name", **where)


def test_a_sharded_model_in_the_cache(tmp_path):
    index = json.dumps({"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}})
    files = {"model.safetensors.index.json": index.encode(), "model-1.safetensors": b"x"}
    fill_cache(tmp_path, files)
    with pytest.raises(OSError, match=r"lists model-2\.safetensors, which org/name does not have"):
        find_weights("org/name", cache_dir=tmp_path)


def test_a_model_that_is_not_in_the_cache(tmp_path):
    for arguments in ({}, {"local_files_only": True}):
        for find in (find_weights, lambda *a, **k: find_file(*a, "config.json", **k)):
            with pytest.raises(
                OSError, match=r"org/name is no folder, is not in the cache .*offline"
            ):
                find("org/name", cache_dir=str(tmp_path), **arguments)


def test_a_download_that_is_forced_offline(tmp_path):
    with pytest.raises(OSError, match=r"model\.safetensors of org/name cannot be downloaded"):
        find_weights("org/name", cache_dir=tmp_path, local_files_only=True, force_download=True)


# A Hub.


class Hub(http.server.BaseHTTPRequestHandler):
    """As much of the Hub's protocol as downloads need."""

    repositories = {}  # {(repository, revision): (commit, {file: content})}
    requests = []

    def log_message(self, *arguments):
        pass

    def answer(self, status, content=b"", **headers):
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def do_GET(self):
        Hub.requests.append((self.command, self.path, self.headers.get("Authorization")))
        file = re.fullmatch(r"/(org/[^/]+)/resolve/([^/]+)/(.+)", self.path)
        tree = re.fullmatch(r"/api/models/(org/[^/?]+)(?:/revision/([^/?]+))?(?:\?.*)?", self.path)
        match = file or tree
        if match is None:
            return self.answer(404)
        name, revision = match[1], match[2] or "main"
        if name == "org/gated":
            return self.answer(403, X_Error_Code="GatedRepo")
        if name == "org/broken":
            return self.answer(418)
        if (name, "main") not in Hub.repositories:
            return self.answer(401, X_Error_Code="RepoNotFound")
        if (name, revision) not in Hub.repositories:
            return self.answer(404, X_Error_Code="RevisionNotFound")
        commit, files = Hub.repositories[name, revision]
        if tree:
            siblings = [{"rfilename": path} for path in files]
            return self.answer(200, json.dumps({"id": name, "siblings": siblings}).encode())
        if file[3] not in files:
            return self.answer(404, X_Error_Code="EntryNotFound", X_Repo_Commit=commit)
        etag = hashlib.sha1(files[file[3]]).hexdigest()
        return self.answer(200, files[file[3]], ETag=f'"{etag}"', X_Repo_Commit=commit)

    do_HEAD = do_GET


INDEX = json.dumps(
    {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
).encode()


def use_endpoint(monkeypatch, endpoint):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    monkeypatch.setattr(
        constants,
        "HUGGINGFACE_CO_URL_TEMPLATE",
        endpoint + "/{repo_id}/resolve/{revision}/{filename}",
    )


@pytest.fixture
def hub(monkeypatch):
    """A Hub with one repository; main has shards and TensorFlow weights, v1 is older."""
    new, old = "a" * 40, "b" * 40
    files = {
        "config.json": b"{}",
        "model.safetensors.index.json": INDEX,
        "model-1.safetensors": b"one",
        "model-2.safetensors": b"two",
        "tf_model.h5": b"tf",
        "sub/pytorch_model.bin": b"bin",
    }
    Hub.repositories = {
        ("org/name", "main"): (new, files),
        ("org/name", new): (new, files),
        ("org/name", "v1"): (old, {"pytorch_model.bin": b"old"}),
        ("org/empty", "main"): (new, {"README.md": b"", "flax_model.msgpack": b""}),
    }
    Hub.requests = []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever, args=[0.01], daemon=True)
    thread.start()
    use_endpoint(monkeypatch, f"http://127.0.0.1:{server.server_port}")
    yield Hub
    server.shutdown()
    server.server_close()
    thread.join()


def read(path):
    with open(path, "rb") as file:
        return file.read()


def test_downloading_an_index_brings_its_shards(hub, tmp_path):
    path = find_weights("org/name", cache_dir=tmp_path)
    assert os.path.basename(path) == "model.safetensors.index.json"
    assert read(path) == INDEX
    folder = os.path.dirname(path)
    assert read(os.path.join(folder, "model-1.safetensors")) == b"one"
    assert read(os.path.join(folder, "model-2.safetensors")) == b"two"
    assert not os.path.exists(os.path.join(folder, "tf_model.h5"))
    # All from one commit, whatever happens to the branch.
    shards = [path for command, path, _ in hub.requests if "model-" in path]
    assert shards
    assert all(f"/resolve/{'a' * 40}/" in path for path in shards)
    # Now it is in the cache.
    assert find_weights("org/name", cache_dir=tmp_path, local_files_only=True) == path


def test_other_formats_revisions_and_subfolders(hub, tmp_path):
    path = find_weights("org/name", cache_dir=tmp_path, use_safetensors=False)
    assert read(path) == b"tf"
    assert read(find_weights("org/name", cache_dir=tmp_path, revision="v1")) == b"old"
    assert read(find_weights("org/name", cache_dir=tmp_path, subfolder="sub")) == b"bin"
    assert read(find_file("org/name", "config.json", cache_dir=tmp_path)) == b"{}"
    assert find_file("org/name", "generation_config.json", cache_dir=tmp_path) is None


def test_the_token_is_sent(hub, tmp_path):
    find_file("org/name", "config.json", cache_dir=tmp_path, token="hf_secret")
    assert ("HEAD", "/org/name/resolve/main/config.json", "Bearer hf_secret") in hub.requests


def test_a_forced_download_replaces_the_cached_file(hub, tmp_path):
    first = find_weights("org/name", cache_dir=tmp_path, revision="v1")
    with open(first, "wb") as file:
        file.write(b"damaged")
    assert read(find_weights("org/name", cache_dir=tmp_path, revision="v1")) == b"damaged"
    path = find_weights("org/name", cache_dir=tmp_path, revision="v1", force_download=True)
    assert read(path) == b"old"


def test_an_index_on_the_hub_that_points_elsewhere(hub, tmp_path):
    _, files = hub.repositories["org/name", "main"]
    files["model.safetensors.index.json"] = b'{"weight_map": {"a": "../../../x"}}'
    with pytest.raises(UnsafeCheckpointError, match="no plain file name"):
        find_weights("org/name", cache_dir=tmp_path)


@pytest.mark.parametrize(
    ("name", "arguments", "fault"),
    [
        ("org/absent", {}, r"org/absent is no folder, and no model on .*token="),
        ("org/name", {"revision": "v9"}, "org/name has no branch, tag or commit 'v9'"),
        ("org/gated", {}, r"org/gated is a gated model: ask for access at .*token="),
        ("org/broken", {}, r"org/broken is no folder.*cannot be reached \(.*418"),
        (
            "org/empty",
            {},
            r"org/empty has no weights, none of .*: there is README\.md, flax_model\.msgpack$",
        ),
    ],
)
def test_what_the_hub_refuses(hub, tmp_path, name, arguments, fault):
    with pytest.raises(OSError, match=fault):
        find_weights(name, cache_dir=tmp_path, **arguments)


def test_a_hub_that_cannot_be_reached(monkeypatch, tmp_path):
    start = time.monotonic()
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # Bound, but not listening.
        use_endpoint(monkeypatch, f"http://127.0.0.1:{closed.getsockname()[1]}")
        with pytest.raises(OSError, match=r"the Hub \(http://127.*\) cannot be reached"):
            find_weights("org/name", cache_dir=tmp_path)
        snapshot = fill_cache(tmp_path, {"pytorch_model.bin": b"x"})
        found = find_weights("org/name", cache_dir=tmp_path)
        assert found == str(snapshot / "pytorch_model.bin")
        with pytest.raises(
            OSError, match=r"has no weights.*: the cache has none, and the Hub .* did not answer"
        ):
            find_weights("org/name", cache_dir=tmp_path, use_safetensors=True)
    assert time.monotonic() - start < 15  # The Hub's client tries for 20 seconds per file.
