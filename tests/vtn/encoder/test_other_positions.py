"""A VTN with another number of positions than its checkpoint: refused with the key, adapted on request."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from slowfast.checkpoint.storage import read_checkpoint
from slowfast.checkpoint.weights import load_weights
from slowfast.engine.run import run
from slowfast.errors import CheckpointError
from tests.support.tiny import tiny_config
from tests.support.tiny_models import SMALL_VTN, random_clips, tiny
from vtn import VTN

TABLE = "temporal_encoder.embeddings.position_embeddings.weight"
REMEDY = r"VTN\.LONGFORMER\.ADAPT_POSITIONS True"
ADAPT = ("VTN.LONGFORMER.ADAPT_POSITIONS", True)


pytestmark = pytest.mark.usefixtures("projects_imported")


@pytest.mark.parametrize("rows", [7, 13, 30])
def test_frame_rows_are_cut_or_repeated_and_the_row_of_cls_is_kept(rows: int) -> None:
    source = tiny(max_position_embeddings=12)
    target = tiny(max_position_embeddings=rows, adapt_positions=True)
    load_weights(target, source.state_dict(), source="a file")
    old, new = (model.state_dict()[TABLE] for model in (source, target))
    assert torch.equal(new[: rows - 2], old[torch.arange(rows - 2) % 10])
    assert torch.equal(new[rows - 2], old[10])
    assert torch.equal(new[rows - 1], torch.zeros(new.shape[1]))


def test_a_model_with_more_positions_gives_the_same_scores() -> None:
    """Both repeat the rows of the frames: one by the modulus of its positions, one in its table."""
    source = tiny(max_position_embeddings=12).eval()
    target = tiny(max_position_embeddings=32, adapt_positions=True).eval()
    load_weights(target, source.state_dict(), source="a file")
    frames = random_clips(T=15)
    with torch.inference_mode():
        torch.testing.assert_close(target(frames), source(frames))


def test_without_the_request_the_refusal_names_it() -> None:
    state = tiny(max_position_embeddings=12).state_dict()
    with pytest.raises(CheckpointError, match=rf"\(12, 32\), the model's \(30, 32\)\n.*{REMEDY}"):
        load_weights(tiny(max_position_embeddings=30), state, source="a file")


def test_a_table_of_another_width_is_refused_in_any_case() -> None:
    state = {**tiny().state_dict(), TABLE: torch.zeros(12, 5)}
    with pytest.raises(CheckpointError, match=r"is \(12, 5\)") as caught:
        load_weights(tiny(adapt_positions=True), state, source="a file")
    assert "ADAPT_POSITIONS" not in str(caught.value)


def test_a_published_folder_is_loaded_with_more_positions(tmp_path: Path) -> None:
    source = tiny(max_position_embeddings=12)
    source.save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match=REMEDY):
        VTN.from_pretrained(tmp_path, max_position_embeddings=30)
    model = VTN.from_pretrained(tmp_path, max_position_embeddings=30, adapt_positions=True)
    assert torch.equal(model.state_dict()[TABLE][:10], source.state_dict()[TABLE][:10])


@pytest.fixture(scope="module")
def trained(colour_videos: Path, tmp_path_factory: pytest.TempPathFactory, projects_imported: None) -> Path:
    """The output folder of a run of two steps with 20 rows."""
    output = tmp_path_factory.mktemp("trained")
    assert run(config(colour_videos, output, "TRAIN.MAX_STEPS", 2)) == 0
    return output


def config(data: Path, output: Path, *changes: Any) -> Any:
    return tiny_config(data, output, *SMALL_VTN, "VTN.LONGFORMER.MAX_POSITION_EMBEDDINGS", 20, *changes)


class TestRuns:
    MORE = ("VTN.LONGFORMER.MAX_POSITION_EMBEDDINGS", 30, "TRAIN.MAX_STEPS", 3)
    FILE = "checkpoints/checkpoint_epoch_00000_step_000002.pyth"

    def test_resuming_is_refused_unless_forced(
        self, trained: Path, colour_videos: Path, tmp_path: Path
    ) -> None:
        shutil.copytree(trained, tmp_path / "out")
        changes = (*self.MORE, *ADAPT)
        with pytest.raises(CheckpointError, match=r"with VTN.LONGFORMER.MAX_POSITION_EMBEDDINGS: 20 → 30"):
            run(config(colour_videos, tmp_path / "out", *changes))
        assert run(config(colour_videos, tmp_path / "out", *changes, "TRAIN.FORCE_RESUME", True)) == 0
        end = read_checkpoint(tmp_path / "out" / "checkpoints" / "checkpoint_epoch_00000_step_000003.pyth")
        assert end["model_state"][TABLE].shape == (30, 32)
        shapes = {tuple(state["exp_avg"].shape) for state in end["optimizer_state"]["state"].values()}
        assert (30, 32) in shapes
        assert (20, 32) not in shapes

    def test_a_run_starts_from_the_weights(self, trained: Path, colour_videos: Path, tmp_path: Path) -> None:
        start = (*self.MORE, "TRAIN.CHECKPOINT_FILE_PATH", str(trained / self.FILE))
        reset = ("TRAIN.CHECKPOINT_EPOCH_RESET", True)
        with pytest.raises(CheckpointError, match=REMEDY):
            run(config(colour_videos, tmp_path / "a", *start, *reset))
        assert run(config(colour_videos, tmp_path / "b", *start, *reset, *ADAPT)) == 0
        with pytest.raises(CheckpointError, match=r"(?s)optimiser state does not fit .*EPOCH_RESET True"):
            run(config(colour_videos, tmp_path / "c", *start, *ADAPT))

    def test_a_test_uses_the_weights(self, trained: Path, colour_videos: Path, tmp_path: Path) -> None:
        test = ("TRAIN.ENABLE", False, "TEST.ENABLE", True, "TEST.NUM_ENSEMBLE_VIEWS", 1)
        test += ("TEST.CHECKPOINT_FILE_PATH", str(trained / self.FILE))
        with pytest.raises(CheckpointError, match=REMEDY):
            run(config(colour_videos, tmp_path / "a", *self.MORE, *test))
        assert run(config(colour_videos, tmp_path / "b", *self.MORE, *test, *ADAPT)) == 0
        assert "adapted to the model" in (tmp_path / "b" / "stdout.log").read_text()
