"""Failures of single videos and steps that training tolerates, and their number.

No library counts both over all ranks: GradScaler skips steps of float16 without a limit, and data loaders
raise the first error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fvcore.common.config import CfgNode

from slowfast.checkpoint.state import TrainingProgress
from slowfast.datasets.clip import Batch, BrokenVideo
from slowfast.datasets.video_dataset import ViewDataset
from slowfast.distributed.world import World
from slowfast.engine.training.train_step import StepResult
from slowfast.errors import DataError, TrainingError, counted
from slowfast.log import get_logger

logger = get_logger(__name__)

# Overflows in a row that end a run. From its initial 65536 the scale of the loss reaches 1 after 17.
MAX_OVERFLOWS = 30
# Fraction of a run's steps that may overflow without a warning: those by which the scale is found.
_USUAL_OVERFLOWS = 0.1
_SAVED = frozenset({"num_skipped", "first_skipped", "num_unchanged"})


@dataclass
class FailureBudget:
    """Counts failures of single videos and steps, and ends the run if there are too many.

    Attributes:
        max_broken: number of broken videos that are tolerated per epoch.
        max_skipped: number of steps without finite loss and gradients that are tolerated per run.
        paths: of the training videos, by id.
        broken: this epoch's broken videos on this rank, by id.
        num_broken: an upper bound of this epoch's broken videos over all ranks.
        num_skipped: steps skipped since the first start of the run, except for overflows of float16.
        first_skipped: description of the first of them.
        num_overflows: steps in a row, up to the last one, whose gradients overflowed in float16.
        num_unchanged: steps since the first start of the run that left the weights as they were, for either
            reason.
    """

    max_broken: float
    max_skipped: int
    paths: Sequence[str]
    world: World
    broken: dict[int, BrokenVideo] = field(default_factory=dict)
    num_broken: int = 0
    num_skipped: int = 0
    first_skipped: str = ""
    num_overflows: int = 0
    num_unchanged: int = 0

    def state_dict(self) -> dict[str, Any]:
        """Returns the counts of skipped steps, which belong to the run and are saved with it."""
        return {name: getattr(self, name) for name in _SAVED}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what :meth:`state_dict` returned; an empty state changes nothing."""
        for name in _SAVED & state.keys():
            setattr(self, name, state[name])
        # Checkpoints of older versions have the count of skipped steps alone.
        self.num_unchanged = max(self.num_unchanged, self.num_skipped)

    def begin_epoch(self) -> None:
        """Resets the count of broken videos."""
        self.broken, self.num_broken = {}, 0

    def check(self, progress: TrainingProgress, batch: Batch, result: StepResult) -> None:
        """Counts the failures of the step after ``progress``; the decision is the same on all ranks.

        Raises:
            DataError: for more broken videos in this epoch than tolerated.
            TrainingError: for more skipped steps than tolerated, and for float16 gradients that overflow in
                many steps in a row or even unscaled.
        """
        self.broken |= {video.video_id: video for video in batch.broken}
        self.num_broken += result.broken
        if result.broken and self.num_broken > self.max_broken:
            self._check_broken(progress)
        self.num_unchanged += not result.updated
        if result.overflow_scale is not None:
            self._count_overflow(progress, result.overflow_scale)
            return
        self.num_overflows = 0
        if not result.updated:
            self._count_skipped(progress, batch, result)

    def check_end(self, steps: int) -> None:
        """Logs a warning after a run of that many steps, unless all but single overflows were taken.

        Raises:
            TrainingError: if no step has changed the weights.
        """
        unchanged = f"{self.num_unchanged} of {counted(steps, 'step')} left the weights as they were"
        first = f"; the first: {self.first_skipped}" if self.first_skipped else ""
        cause = f"loss or gradients were not finite{first}"
        if 0 < steps <= self.num_unchanged:
            raise TrainingError(
                f"nothing was learned: {unchanged}, since {cause}. Lower SOLVER.BASE_LR, use bfloat16 or "
                "float32 (TRAIN.PRECISION), or check the videos"
            )
        if self.num_skipped or self.num_unchanged > _USUAL_OVERFLOWS * steps:
            logger.warning("%s, since %s", unchanged, cause)

    def all_broken(self) -> list[BrokenVideo]:
        """Returns this epoch's broken videos of all ranks on rank 0; all ranks must call it."""
        return [video for some in self.world.gather_objects(self.broken) for video in some.values()]

    def _check_broken(self, progress: TrainingProgress) -> None:
        """Counts each video once, even if several ranks read it, and raises if there are too many."""
        on_ranks = self.world.all_gather_objects(self.broken)
        videos = {i: video for on_rank in on_ranks for i, video in on_rank.items()}
        self.num_broken = len(videos)
        if self.num_broken > self.max_broken:
            listing = "\n  ".join(videos[i].describe() for i in sorted(videos)[:50])
            raise DataError(
                f"{self.num_broken} of {len(self.paths)} videos are broken in epoch {progress.epoch + 1}, "
                f"more than DATA.MAX_BROKEN_FRACTION allows; fix or remove them:\n  {listing}"
            )

    def _count_overflow(self, progress: TrainingProgress, scale: float) -> None:
        """Counts an overflow; single ones are part of training in float16, and the scaler reacts to them."""
        self.num_overflows += 1
        logger.info(
            "step %d of epoch %d: gradients overflow in float16 at scale %g; the scale is halved",
            progress.step + 1,
            progress.epoch + 1,
            scale,
        )
        if self.num_overflows >= MAX_OVERFLOWS or scale <= 1:
            raise TrainingError(
                f"gradients in float16 are not finite in {self.num_overflows} steps in a row, the last with "
                f"a loss scale of {scale:g}: the weights no longer change. Set TRAIN.PRECISION float32 "
                "and TRAIN.MIXED_PRECISION False, or use bfloat16 on a device that has it"
            )

    def _count_skipped(self, progress: TrainingProgress, batch: Batch, result: StepResult) -> None:
        ids = [i for on_rank in self.world.all_gather_objects(batch.video_id.tolist()) for i in on_rank]
        description = (
            f"step {progress.step + 1} of epoch {progress.epoch + 1} has loss {result.loss:g} and gradient "
            f"norm {result.grad_norm:g}; its videos: " + ", ".join(f"{i} ({self.paths[i]})" for i in ids)
        )
        self.num_skipped += 1
        self.first_skipped = self.first_skipped or description
        logger.warning("skipped: %s", description)
        if self.num_skipped > self.max_skipped:
            raise TrainingError(
                f"{self.num_skipped} steps without a finite loss and gradient, more than "
                f"SOLVER.MAX_SKIPPED_STEPS allows; the first: {self.first_skipped}. Lower SOLVER.BASE_LR, "
                "set SOLVER.CLIP_GRAD_L2NORM, or check these videos"
            )


def build_failure_budget(cfg: CfgNode, dataset: ViewDataset, world: World) -> FailureBudget:
    """Builds the budget of a configuration for the videos of a training set."""
    return FailureBudget(
        max_broken=cfg.DATA.MAX_BROKEN_FRACTION * dataset.num_videos,
        max_skipped=cfg.SOLVER.MAX_SKIPPED_STEPS,
        paths=dataset.paths,
        world=world,
    )
