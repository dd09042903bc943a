"""A training run put together: everything that the loop in ``train.py`` works with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slowfast.checkpoint.resume import RunIdentity, choose_global_batch, fingerprint
from slowfast.checkpoint.state import TrainingProgress, TrainingState
from slowfast.checkpoint.storage import checkpoint_path, record_validation
from slowfast.checkpoint.writer import CheckpointWriter
from slowfast.datasets.build import build_dataset
from slowfast.datasets.class_names import named_classes
from slowfast.datasets.clip import ClipBatch
from slowfast.datasets.loading.loader import build_loader
from slowfast.datasets.views.mixing import BatchMixer, build_mixer
from slowfast.distributed.blocking import blocking_on
from slowfast.distributed.dtensor import full_state_on_cpu
from slowfast.distributed.parallel import Parallelism, build_parallelism, distribute, synchronize_batch_norms
from slowfast.distributed.world import World
from slowfast.engine.evaluated_model import EvaluatedModel
from slowfast.engine.evaluator import (
    SplitEvaluator,
    build_evaluator,
    build_precision,
    build_seeded_model,
    frame_normalization,
    log_model_info,
)
from slowfast.engine.tensorboard import open_tensorboard
from slowfast.engine.training.failure_budget import FailureBudget
from slowfast.engine.training.schedule import Schedule
from slowfast.engine.training.train_step import TrainStep
from slowfast.engine.training.training_log import TrainingLog
from slowfast.errors import ConfigError
from slowfast.interrupt import Interrupt, Interrupted
from slowfast.log import get_logger
from slowfast.models.feature_head import measured_network, network_for
from slowfast.models.frame_format import adopt_frame_format
from slowfast.models.losses import get_loss
from slowfast.models.precision import Precision
from slowfast.solver import LRPolicy, build_lr_policy, build_optimizer, lr_scale
from slowfast.solver.ema import build_average, evaluates_average

logger = get_logger(__name__)


@dataclass(frozen=True)
class TrainingRun:
    """A run, ready to go.

    Attributes:
        step: takes one optimiser step; holds model, optimiser and scaler.
        loader: this rank's batches of an epoch, from the step that its batch sampler was set to.
        mixer: mixes the clips of a batch; None: they stay as they are.
        evaluator: of the validation split.
        evaluated: the model as it is evaluated.
        writer: of checkpoints; on rank 0 it does something.
        output_dir: where they go.
        class_names: travel in them; empty where the configuration names no file of them.
    """

    step: TrainStep
    loader: Any
    mixer: BatchMixer | None
    evaluator: SplitEvaluator
    evaluated: EvaluatedModel
    schedule: Schedule
    lr_policy: LRPolicy
    identity: RunIdentity
    log: TrainingLog
    failure_budget: FailureBudget
    writer: CheckpointWriter
    output_dir: str
    class_names: tuple[str, ...]
    world: World
    interrupt: Interrupt

    def mix(self, batch: ClipBatch, position: TrainingProgress) -> ClipBatch:
        """The batch of the step at ``position``, mixed where that was asked for."""
        if self.mixer is None:
            return batch
        # On the device: a copy of all frames is cheap there.
        return self.mixer(batch.to(self.world.device), epoch=position.epoch, step=position.step)

    @property
    def is_sharded(self) -> bool:
        """Whether each rank has only a part of the state, so that all take part in saving it."""
        return self.evaluated.is_copy

    def save(self, position: TrainingProgress) -> Path:
        """Begins to write the state at ``position`` (rank 0 does) and returns its path; all ranks call it."""
        main = self.world.is_main
        if main:
            self.writer.wait()  # two copies of the state at a time are enough
        if main or self.is_sharded:
            step = self.step
            average = {} if step.average is None else step.average.state_dict()
            parts = [step.model.state_dict(), step.optimizer.state_dict(), step.scaler.state_dict(), average]
            with blocking_on("the parts of a checkpoint"):
                model_state, optimizer_state, scaler_state, average_state = full_state_on_cpu(
                    parts, keep=main
                )
        if main:
            state = TrainingState(
                position=position,
                model_state=model_state,
                optimizer_state=optimizer_state,
                scaler_state=scaler_state,
                config=self.identity.config,
                seed=self.identity.seed,
                global_batch=self.identity.global_batch,
                data_fingerprint=self.identity.data_fingerprint,
                class_names=self.class_names,
                lr_scale=self.identity.lr_scale,
                average_state=average_state,
            )
            self.writer.write(state)
        return checkpoint_path(self.output_dir, position)

    def validate(self, position: TrainingProgress) -> None:
        """Evaluates the model at ``position`` and notes the figures beside the checkpoint.

        Raises:
            Interrupted: after a signal; the state is saved then, and the same command validates it.
        """
        if self.is_sharded and not self.schedule.saves_at(position):
            self.save(position)  # a rank that is interrupted below could not save it alone
        try:
            with self.evaluated.ready():
                evaluation = self.evaluator.run()
        except Interrupted as interrupted:
            saved = self._described(position) if self.is_sharded else self._save_now(position)
            raise Interrupted(interrupted.signum, saved) from None
        if evaluation is not None:
            figures = self.log.add_validation(self.schedule.steps_to(position), evaluation)
            record_validation(checkpoint_path(self.output_dir, position), figures)
            self.writer.prune()

    def stop(self, position: TrainingProgress) -> Interrupted:
        """Saves the state and returns what to raise; all ranks call it, whichever of them got the signal."""
        saved = self._save_now(position)
        return Interrupted(max(self.world.share_objects(self.interrupt.signum)), saved)

    def close(self) -> None:
        """Waits until all files are written."""
        self.writer.wait()
        self.log.close()

    def _save_now(self, position: TrainingProgress) -> str:
        self.save(position)
        return self._described(position)

    def _described(self, position: TrainingProgress) -> str:
        self.writer.wait()
        path = checkpoint_path(self.output_dir, position)
        return f"saved {path} ({position}); the same command continues from there"


def build_training_run(
    cfg: Any,
    world: World,
    interrupt: Interrupt,
    *,
    fetch_weights: bool,
    begun: TrainingState | None = None,
) -> TrainingRun:
    """Puts together the run that a configuration describes, with fresh weights.

    Args:
        fetch_weights: False where a checkpoint is loaded next.
        begun: what this run goes on from; None at its first start.

    Raises:
        SlowFastError: for all that a user can mend.
    """
    model = build_seeded_model(cfg, world, fetch_weights=fetch_weights)
    if cfg.BN.NORM_TYPE == "sync_batchnorm":
        model = synchronize_batch_norms(model, world)
    cfg = adopt_frame_format(cfg, model)
    global_batch = choose_global_batch(cfg, world, begun)
    batch_size = global_batch // world.size
    _check_parts(cfg, batch_size)
    dataset = build_dataset(
        cfg, "train", position_rate=model.position_rate, feature_dim=getattr(model, "feature_dim", None)
    )
    if world.is_main and cfg.LOG_MODEL_INFO:
        log_model_info(*measured_network(model, dataset, cfg.DATA.NUM_FRAMES, cfg.DATA.TRAIN_CROP_SIZE))
    loader = build_loader(
        cfg,
        dataset,
        "train",
        rank=world.rank,
        world_size=world.size,
        batch_size=batch_size,
        pin_memory=world.device.type == "cuda",
    )
    schedule = _build_schedule(cfg, steps_per_epoch=len(loader))
    scale = lr_scale(cfg, world.size // world.local_size) if begun is None else begun.lr_scale
    precision = build_precision(cfg, world)
    steps = schedule.steps_per_epoch
    _tell(cfg, world, precision, batch_size=batch_size, steps_per_epoch=steps, scale=scale)
    parallelism = build_parallelism(cfg, world, scales_gradients=precision.make_scaler().is_enabled())
    evaluated = EvaluatedModel(model, world, sharded=parallelism.sharded)
    step = _build_step(cfg, model, dataset, world, precision, parallelism)
    evaluated.use(step.average if evaluates_average(cfg) else None)
    return TrainingRun(
        step=step,
        loader=loader,
        mixer=build_mixer(cfg, rank=world.rank, batch_size=batch_size),
        evaluator=build_evaluator(cfg, "val", evaluated.network, world, interrupt),
        evaluated=evaluated,
        schedule=schedule,
        lr_policy=build_lr_policy(cfg, scale),
        identity=RunIdentity(cfg.dump(), cfg.RNG_SEED, global_batch, fingerprint(dataset), scale),
        log=_build_log(cfg, schedule, world),
        failure_budget=FailureBudget(
            max_broken=cfg.DATA.MAX_BROKEN_FRACTION * dataset.num_videos,
            max_skipped=cfg.SOLVER.MAX_SKIPPED_STEPS,
            paths=dataset.paths,
            world=world,
        ),
        writer=_build_writer(cfg, world),
        output_dir=cfg.OUTPUT_DIR,
        class_names=named_classes(cfg.TENSORBOARD.CLASS_NAMES_PATH, cfg.MODEL.NUM_CLASSES),
        world=world,
        interrupt=interrupt,
    )


def _check_parts(cfg: Any, batch_size: int) -> None:
    """Raises ``ConfigError`` where a process has fewer clips a step than parts to make of them."""
    if batch_size < cfg.TRAIN.GRAD_ACCUM_STEPS:
        raise ConfigError(
            f"TRAIN.GRAD_ACCUM_STEPS = {cfg.TRAIN.GRAD_ACCUM_STEPS}: each process has {batch_size} clips "
            "a step, fewer than parts; use fewer, or a larger TRAIN.BATCH_SIZE"
        )


def _tell(
    cfg: Any, world: World, precision: Precision, *, batch_size: int, steps_per_epoch: int, scale: float
) -> None:
    """Logs what a step is, in words; ``batch_size`` clips are those of each process."""
    parts = cfg.TRAIN.GRAD_ACCUM_STEPS
    logger.info(
        "training: %d clips a step = %s × %d%s; %d steps an epoch; %s",
        batch_size * world.size,
        "1 process" if world.size == 1 else f"{world.size} processes",
        batch_size,
        f", in {parts} parts" if parts > 1 else "",
        steps_per_epoch,
        precision,
    )
    if scale != 1:
        logger.info("learning rates are multiplied by %g (SOLVER.BASE_LR_SCALE_NUM_SHARDS)", scale)


def _build_writer(cfg: Any, world: World) -> CheckpointWriter:
    """What is due when, is rank 0's to say."""
    return CheckpointWriter(
        cfg.OUTPUT_DIR,
        minutes=cfg.TRAIN.CHECKPOINT_MINUTES if world.is_main else 0.0,
        steps=cfg.TRAIN.CHECKPOINT_STEPS if world.is_main else 0,
        keep=cfg.TRAIN.KEEP_CHECKPOINTS,
    )


def _build_step(
    cfg: Any, model: Any, dataset: Any, world: World, precision: Precision, parallelism: Parallelism
) -> TrainStep:
    mean, std = frame_normalization(cfg, model)
    network = network_for(model, dataset, mean=mean, std=std, training=True)
    network = distribute(model, network, world, parallelism)
    return TrainStep(
        model,
        build_optimizer(cfg, model),
        loss=get_loss(cfg.MODEL.LOSS_FUNC),
        world=world,
        precision=precision,
        mean=mean,
        std=std,
        clip_value=cfg.SOLVER.CLIP_GRAD_VAL,
        clip_norm=cfg.SOLVER.CLIP_GRAD_L2NORM,
        network=network,
        parts=cfg.TRAIN.GRAD_ACCUM_STEPS,
        average=build_average(cfg, model),
    )


def _build_schedule(cfg: Any, *, steps_per_epoch: int) -> Schedule:
    return Schedule(
        max_epoch=cfg.SOLVER.MAX_EPOCH,
        steps_per_epoch=steps_per_epoch,
        max_steps=cfg.TRAIN.MAX_STEPS,
        eval_period=cfg.TRAIN.EVAL_PERIOD,
        checkpoint_period=cfg.TRAIN.CHECKPOINT_PERIOD,
    )


def _build_log(cfg: Any, schedule: Schedule, world: World) -> TrainingLog:
    return TrainingLog(
        max_epoch=schedule.max_epoch,
        steps_per_epoch=schedule.steps_per_epoch,
        last_step=schedule.steps_to(schedule.end),
        period=cfg.LOG_PERIOD,
        enabled=world.is_main,
        tensorboard=open_tensorboard(cfg) if world.is_main else None,
    )
