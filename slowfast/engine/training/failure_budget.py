"""Single failures that training bears, and how many of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from slowfast.checkpoint.state import TrainingProgress
from slowfast.datasets.clip import BrokenVideo, ClipBatch
from slowfast.distributed.world import World
from slowfast.engine.training.train_step import StepResult
from slowfast.engine.training.training_log import describe_broken
from slowfast.errors import DataError, TrainingError
from slowfast.log import get_logger

logger = get_logger(__name__)


@dataclass
class FailureBudget:
    """Bears single failures and ends the run when there are too many.

    Attributes:
        max_broken: broken videos that an epoch bears.
        max_skipped: steps without finite loss and gradients that a run bears.
        paths: of the training videos, by id.
    """

    max_broken: float
    max_skipped: int
    paths: Any
    world: World
    broken: dict[int, BrokenVideo] = field(default_factory=dict)
    num_broken: int = 0
    num_skipped: int = 0
    first_skipped: str = ""

    def begin_epoch(self) -> None:
        self.broken, self.num_broken = {}, 0

    def check(self, position: TrainingProgress, batch: ClipBatch, result: StepResult) -> None:
        """Notes what went wrong in a step; all ranks decide alike.

        Raises:
            DataError: more broken videos in this epoch than it bears.
            TrainingError: more skipped steps than the run bears.
        """
        self.broken |= {video.video_id: video for video in batch.broken}
        self.num_broken += result.broken
        if result.broken and self.num_broken > self.max_broken:
            self._refuse_too_many(position)
        if not result.updated:
            self._count_skipped(position, batch, result)

    def _refuse_too_many(self, position: TrainingProgress) -> None:
        """Raises when there really are too many: a video that was also met as a substitute counts once."""
        videos = {i: video for some in self.world.share_objects(self.broken) for i, video in some.items()}
        self.num_broken = len(videos)
        if self.num_broken > self.max_broken:
            listing = "\n  ".join(describe_broken(videos[i]) for i in sorted(videos)[:50])
            raise DataError(
                f"{self.num_broken} of {len(self.paths)} videos are broken in epoch {position.epoch + 1}, "
                f"more than DATA.MAX_BROKEN_FRACTION allows; mend or remove them:\n  {listing}"
            )

    def _count_skipped(self, position: TrainingProgress, batch: ClipBatch, result: StepResult) -> None:
        ids = [i for some in self.world.share_objects(batch.video_id.tolist()) for i in some]
        what = (
            f"step {position.step + 1} of epoch {position.epoch + 1} has loss {result.loss:g} and gradient "
            f"norm {result.grad_norm:g}; its videos: " + ", ".join(f"{i} ({self.paths[i]})" for i in ids)
        )
        self.num_skipped += 1
        self.first_skipped = self.first_skipped or what
        logger.warning("skipped: %s", what)
        if self.num_skipped > self.max_skipped:
            raise TrainingError(
                f"{self.num_skipped} steps without a finite loss and gradient, more than "
                f"SOLVER.MAX_SKIPPED_STEPS allows; the first: {self.first_skipped}. Lower SOLVER.BASE_LR, "
                "set SOLVER.CLIP_GRAD_L2NORM, or look at these videos"
            )

    def all_broken(self) -> list[BrokenVideo]:
        """Returns this epoch's broken videos of all ranks on rank 0; all ranks call it."""
        return [video for some in self.world.gather_objects(self.broken) for video in some.values()]
