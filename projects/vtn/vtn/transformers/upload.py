"""Upload of a model's folder to the Hugging Face hub, with the model card of this package.

``PreTrainedModel.push_to_hub`` of ``transformers`` replaces the card by a template of its own, which does not
say how the model is loaded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import CommitOperationAdd, HfApi, ModelCard
from huggingface_hub.constants import CONFIG_NAME, SAFETENSORS_SINGLE_FILE
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, LocalEntryNotFoundError

from slowfast.errors import InputError
from vtn.folder.entries import PROCESSOR_NAME, REMOTE_CODE_NAME

CARD_NAME = "README.md"

_OPTIONS = (
    *("private", "token", "revision", "create_pr", "tags"),
    *("commit_message", "commit_description"),
)
# Options of save_pretrained and push_to_hub that do not matter to one file of weights.
_OF_SHARDS = (
    *("max_shard_size", "safe_serialization", "save_function"),
    *("save_original_format", "save_peft_format"),
)
_FILES = (SAFETENSORS_SINGLE_FILE, CONFIG_NAME, PROCESSOR_NAME, REMOTE_CODE_NAME)
_FORBIDDEN = 403


def take_upload_options(
    options: Mapping[str, Any], method: str, model_tags: Sequence[str] | None
) -> dict[str, Any]:
    """Returns the options of :func:`upload_model` among those of a method of a model.

    Args:
        options: given by the user; ``tags`` may be a single one.
        method: that they are given to, for the message.
        model_tags: those of ``PreTrainedModel.add_model_tags``.

    Raises:
        InputError: for options that are neither of an upload nor without effect.
    """
    if unknown := [name for name in options if name not in (*_OPTIONS, *_OF_SHARDS)]:
        raise InputError(
            f"{', '.join(unknown)}: VTNForVideoClassification.{method} has no such option; leave it out, or, "
            f"for an upload, give repo_id, {', '.join(_OPTIONS)}"
        )
    upload = {name: value for name, value in options.items() if name in _OPTIONS}
    tags = upload.get("tags") or ()
    upload["tags"] = [*(model_tags or ()), *([tags] if isinstance(tags, str) else tags)]
    return upload


def upload_model(
    folder: Path,
    repo_id: str,
    *,
    replaces_card: bool,
    private: bool | None = None,
    token: bool | str | None = None,
    revision: str | None = None,
    create_pr: bool = False,
    tags: Sequence[str] = (),
    commit_message: str | None = None,
    commit_description: str | None = None,
) -> Any:
    """Uploads the files of a model and their card; returns the commit.

    Args:
        folder: with the model and its card; other files in it are not uploaded.
        repo_id: name on the hub; the repository is created where it does not exist.
        replaces_card: False: a card that the repository has already is kept, as its owner may have edited it.
        private: whether a new repository is private; None: as its owner has chosen for all.
        token: for the hub; None: that of ``hf auth login``.
        revision: branch; None: the main one.
        create_pr: whether to open a pull request.
        tags: to add to the card.
        commit_message, commit_description: of the commit.
    """
    api = HfApi(token=token)
    repo_id = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
    if revision is not None and not revision.startswith("refs/pr"):
        _create_branch(api, repo_id, revision, may_be_forbidden=create_pr)
    files = [CommitOperationAdd(name, str(folder / name)) for name in _FILES]
    present = None if replaces_card else _find_card(api, repo_id)
    if present is None or tags:
        card = _tagged(present or ModelCard.load(folder / CARD_NAME), tags)
        files.append(CommitOperationAdd(CARD_NAME, str(card).encode()))
    return api.create_commit(
        repo_id,
        files,
        commit_message=commit_message or "Upload model",
        commit_description=commit_description,
        revision=revision,
        create_pr=create_pr,
    )


def _create_branch(api: HfApi, repo_id: str, branch: str, *, may_be_forbidden: bool) -> None:
    try:
        api.create_branch(repo_id, branch=branch, exist_ok=True)
    except HfHubHTTPError as error:
        # A pull request may be for another user's repository, whose branch then has to exist.
        if not (may_be_forbidden and error.response.status_code == _FORBIDDEN):
            raise


def _find_card(api: HfApi, repo_id: str) -> ModelCard | None:
    """Returns the card of a repository; None where it has none."""
    try:
        return ModelCard(Path(api.hf_hub_download(repo_id, CARD_NAME)).read_text(encoding="utf-8-sig"))
    except LocalEntryNotFoundError:  # a special case: the connection was lost
        raise
    except EntryNotFoundError:
        return None


def _tagged(card: ModelCard, tags: Sequence[str]) -> ModelCard:
    data: Any = card.data
    present = data.tags or []
    if missing := [tag for tag in dict.fromkeys(tags) if tag not in present]:
        data.tags = [*present, *missing]
    return card
