"""``tfhf push``: what it asks of the Hub."""

import huggingface_hub
import pytest
from huggingface_hub import CommitInfo, RepoUrl


@pytest.fixture
def hub(monkeypatch):
    """Stand in for the Hub's client; gives the calls that were made."""
    calls = []

    def create_repo(self, repo_id, **settings):
        calls.append(("create_repo", repo_id, settings))
        return RepoUrl(f"https://huggingface.co/{repo_id}")

    def create_branch(self, repo_id, **settings):
        calls.append(("create_branch", settings))

    def upload_folder(self, **settings):
        calls.append(("upload_folder", settings))
        address = "https://huggingface.co/me/films/commit/1"
        pull_request = "https://huggingface.co/me/films/discussions/7"
        return CommitInfo(
            commit_url=address,
            commit_message="",
            commit_description="",
            oid="1",
            pr_url=pull_request if settings["create_pr"] else None,
        )

    for method in (create_repo, create_branch, upload_folder):
        monkeypatch.setattr(huggingface_hub.HfApi, method.__name__, method)
    return calls


def test_a_folder_is_uploaded(hub, tmp_path, tfhf_command):
    done = tfhf_command("push", tmp_path, "me/films", "--private", "-m", "Two epochs")
    assert done.exit_code == 0, done.stderr
    assert done.stdout == "https://huggingface.co/me/films/commit/1\n"
    (_, repo, made), (_, uploaded) = hub
    assert repo == "me/films" and made["private"] is True
    assert str(uploaded["folder_path"]) == str(tmp_path)
    assert uploaded["commit_message"] == "Two epochs"


def test_a_pull_request(hub, tmp_path, tfhf_command):
    done = tfhf_command("push", tmp_path, "me/films", "--pr", "--revision", "next")
    assert done.stdout == "https://huggingface.co/me/films/discussions/7\n"
    assert hub[0][2]["private"] is None
    assert hub[-1][1]["revision"] == "next"


def test_no_connection_is_told_in_a_line(tmp_path, tfhf_command, monkeypatch):
    from huggingface_hub.errors import HTTPError

    def fail(*arguments, **settings):
        raise HTTPError("Name or service not known")

    monkeypatch.setattr(huggingface_hub.HfApi, "create_repo", fail)
    done = tfhf_command("push", tmp_path, "me/films")
    assert done.exit_code == 1
    reason = "Name or service not known"
    assert done.stderr == f"tfhf: {tmp_path} cannot be uploaded to me/films: {reason}\n"


def test_a_folder_that_is_not_there(tmp_path, tfhf_command):
    done = tfhf_command("push", tmp_path / "absent", "me/films")
    assert done.exit_code == 2 and "does not exist" in done.stderr
