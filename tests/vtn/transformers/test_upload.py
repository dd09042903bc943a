"""Uploads to the Hugging Face hub: files, options, and the model card."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from huggingface_hub import HfApi
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, LocalEntryNotFoundError

from slowfast.errors import InputError
from tests.support.tiny_models import FOLDER_FILES, tiny
from vtn.transformers import VTNForVideoClassification

EDITED = "---\nlicense: mit\n---\n\nMy own words.\n"


class Hub:
    """The hub, as far as an upload asks for it.

    Attributes:
        card: of the repository; None: it has none.
        missing: the error where it has none.
        uploaded: content of each file of the last commit.
        calls: arguments of each request that changes something.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.card: str | None = None
        self.missing: Exception = EntryNotFoundError("the repository has no card")
        self.uploaded: dict[str, bytes] = {}
        self.calls: list[tuple[str, str, dict[str, Any]]] = []

    def create_repo(self, api: HfApi, repo_id: str, **options: Any) -> Any:
        self.calls.append(("create_repo", repo_id, options))
        return SimpleNamespace(repo_id=repo_id)

    def create_branch(self, api: HfApi, repo_id: str, **options: Any) -> None:
        self.calls.append(("create_branch", repo_id, options))

    def create_commit(self, api: HfApi, repo_id: str, operations: Any, **options: Any) -> str:
        self.calls.append(("create_commit", repo_id, options))
        self.uploaded = {}
        for operation in operations:
            with operation.as_file() as file:
                self.uploaded[operation.path_in_repo] = file.read()
        return "commit"

    def hf_hub_download(self, api: HfApi, repo_id: str, name: str, **_: Any) -> str:
        if self.card is None:
            raise self.missing
        (self.folder / name).write_text(self.card)
        return str(self.folder / name)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Hub:
    """A hub without a network."""
    (tmp_path / "hub").mkdir()
    hub = Hub(tmp_path / "hub")
    for name in ("create_repo", "create_branch", "create_commit", "hf_hub_download"):
        method = getattr(hub, name)
        monkeypatch.setattr(
            HfApi, name, lambda api, *args, _method=method, **rest: _method(api, *args, **rest)
        )
    return hub


@pytest.fixture
def model() -> VTNForVideoClassification:
    return VTNForVideoClassification.from_vtn(tiny())


def test_an_upload_has_the_card_of_this_package(model: VTNForVideoClassification, hub: Hub) -> None:
    assert model.push_to_hub("me/x") == "commit"
    assert set(hub.uploaded) == FOLDER_FILES
    card = hub.uploaded["README.md"].decode()
    assert card == str(model.vtn.generate_model_card())
    assert "vtn.VTN.from_pretrained" in card


def test_saving_can_upload_at_once(model: VTNForVideoClassification, hub: Hub, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path / "mine", push_to_hub=True)
    assert hub.calls[-1][1] == "mine"
    assert set(hub.uploaded) == FOLDER_FILES
    assert hub.uploaded["README.md"] == (tmp_path / "mine" / "README.md").read_bytes()
    (tmp_path / "mine" / "notes.txt").write_text("private")
    model.save_pretrained(tmp_path / "mine", push_to_hub=True, repo_id="somebody/else")
    assert hub.calls[-1][1] == "somebody/else"
    assert set(hub.uploaded) == FOLDER_FILES


def test_an_edited_card_is_kept(model: VTNForVideoClassification, hub: Hub, tmp_path: Path) -> None:
    hub.card = EDITED
    model.push_to_hub("me/x")
    assert set(hub.uploaded) == FOLDER_FILES - {"README.md"}
    model.push_to_hub("me/x", tags=["gestures"])
    assert hub.uploaded["README.md"].decode() == EDITED.replace("mit\n", "mit\ntags:\n- gestures\n")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "README.md").write_text(EDITED.replace("own", "newer"))
    model.save_pretrained(tmp_path / "mine", push_to_hub=True)
    assert hub.uploaded["README.md"].decode() == EDITED.replace("own", "newer")


def test_a_card_that_cannot_be_read_is_not_replaced(model: VTNForVideoClassification, hub: Hub) -> None:
    hub.missing = LocalEntryNotFoundError("the connection was lost")
    with pytest.raises(LocalEntryNotFoundError):
        model.push_to_hub("me/x")
    assert hub.uploaded == {}


def test_tags_are_added_to_the_card_once(model: VTNForVideoClassification, hub: Hub) -> None:
    model.add_model_tags(["sports", "gestures"])
    for tags in (["gestures", "model_hub_mixin"], "gestures"):
        model.push_to_hub("me/x", tags=tags)
        lines = hub.uploaded["README.md"].decode().splitlines()
        assert [lines.count(f"- {tag}") for tag in ("sports", "gestures", "model_hub_mixin")] == [1, 1, 1]


def test_options_of_an_upload_reach_the_hub(
    model: VTNForVideoClassification, hub: Hub, tmp_path: Path
) -> None:
    """A private repository must not become a public one."""
    upload = {"commit_message": "hello", "revision": "dev", "create_pr": True}
    model.save_pretrained(tmp_path, push_to_hub=True, repo_id="me/x", private=True, **upload)
    created, branched, committed = hub.calls
    assert created == ("create_repo", "me/x", {"private": True, "exist_ok": True})
    assert branched == ("create_branch", "me/x", {"branch": "dev", "exist_ok": True})
    assert upload.items() <= committed[2].items()


@pytest.mark.parametrize("create_pr", [True, False])
def test_a_pull_request_needs_no_right_to_make_branches(
    model: VTNForVideoClassification, hub: Hub, monkeypatch: pytest.MonkeyPatch, create_pr: bool
) -> None:
    def refuse(api: HfApi, repo_id: str, **_: Any) -> None:
        response = httpx.Response(403, request=httpx.Request("POST", "http://hub"))
        raise HfHubHTTPError("403", response=response)

    monkeypatch.setattr(HfApi, "create_branch", refuse)
    if create_pr:
        assert model.push_to_hub("me/x", revision="dev", create_pr=True) == "commit"
    else:
        with pytest.raises(HfHubHTTPError):
            model.push_to_hub("me/x", revision="dev")


def test_options_that_do_not_exist_are_refused(model: VTNForVideoClassification, hub: Hub) -> None:
    with pytest.raises(InputError, match=r"nonsense: VTNForVideoClassification\.push_to_hub has no such"):
        model.push_to_hub("me/x", nonsense=3)
    model.push_to_hub("me/x", max_shard_size="1GB")
    assert len(hub.calls) == 2
