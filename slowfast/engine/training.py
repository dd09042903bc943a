"""A training run put together: everything that the loop in ``train.py`` works with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slowfast.datasets.build import build_dataset
from slowfast.datasets.clip import ClipBatch
from slowfast.datasets.loader import build_loader
from slowfast.datasets.mixing import BatchMixer, build_mixer
from slowfast.distributed import World
from slowfast.engine.checkpoint import (
    Position,
    TrainingState,
    checkpoint_path,
    record_validation,
)
from slowfast.engine.checkpoint_writer import CheckpointWriter
from slowfast.engine.from_features import measured_network, network_for
from slowfast.engine.interrupt import Interrupt, Interrupted
from slowfast.engine.prepare import (
    SplitEvaluator,
    build_evaluator,
    build_precision,
    build_seeded_model,
    frame_normalization,
    log_model_info,
)
from slowfast.engine.resume import fingerprint
from slowfast.engine.safeguard import Safeguard
from slowfast.engine.schedule import Schedule
from slowfast.engine.step import TrainStep
from slowfast.engine.training_log import TrainingLog
from slowfast.log import get_logger
from slowfast.models.losses import get_loss
from slowfast.solver import LRPolicy, build_lr_policy, build_optimizer
from slowfast.visualization.tensorboard import open_tensorboard

logger = get_logger(__name__)


@dataclass(frozen=True)
class Identity:
    """What a checkpoint must agree with to be continued.

    Attributes:
        config: the configuration as YAML.
        seed: ``RNG_SEED``.
        global_batch: clips a step over all processes.
        data_fingerprint: of the training samples in their order.
    """

    config: str
    seed: int
    global_batch: int
    data_fingerprint: str


@dataclass(frozen=True)
class Training:
    """A run, ready to go.

    Attributes:
        step: takes one optimiser step; holds model, optimiser and scaler.
        loader: this rank's batches of an epoch, from the step that its batch sampler was set to.
        mixer: mixes the clips of a batch; None: they stay as they are.
        evaluator: of the validation split.
        writer: of checkpoints; on rank 0 it does something.
        output_dir: where they go.
    """

    step: TrainStep
    loader: Any
    mixer: BatchMixer | None
    evaluator: SplitEvaluator
    schedule: Schedule
    lr_policy: LRPolicy
    identity: Identity
    log: TrainingLog
    safeguard: Safeguard
    writer: CheckpointWriter
    output_dir: str
    world: World
    interrupt: Interrupt

    def mix(self, batch: ClipBatch, position: Position) -> ClipBatch:
        """The batch of the step at ``position``, mixed where that was asked for."""
        if self.mixer is None:
            return batch
        # On the device: a copy of all frames is cheap there.
        return self.mixer(batch.to(self.world.device), epoch=position.epoch, step=position.step)

    def save(self, position: Position) -> Path:
        """Begins to write the state at ``position`` (rank 0 does) and returns its path."""
        if self.world.is_main:
            state = TrainingState(
                position=position,
                model_state=self.step.model.state_dict(),
                optimizer_state=self.step.optimizer.state_dict(),
                scaler_state=self.step.scaler.state_dict(),
                config=self.identity.config,
                seed=self.identity.seed,
                global_batch=self.identity.global_batch,
                data_fingerprint=self.identity.data_fingerprint,
            )
            self.writer.write(state)
        return checkpoint_path(self.output_dir, position)

    def validate(self, position: Position) -> None:
        """Evaluates the model at ``position`` and notes the figures beside the checkpoint.

        Raises:
            Interrupted: after a signal; the state is saved then, and the same command validates it.
        """
        try:
            evaluation = self.evaluator.run()
        except Interrupted as interrupted:
            raise Interrupted(interrupted.signum, self._save_now(position)) from None
        if evaluation is not None:
            figures = self.log.add_validation(self.schedule.steps_to(position), evaluation)
            record_validation(checkpoint_path(self.output_dir, position), figures)
            self.writer.prune()

    def stop(self, position: Position) -> Interrupted:
        """Saves the state and returns what to raise; all ranks call it, whichever of them got the signal."""
        saved = self._save_now(position)
        return Interrupted(max(self.world.share_objects(self.interrupt.signum)), saved)

    def close(self) -> None:
        """Waits until all files are written."""
        self.writer.wait()
        self.log.close()

    def _save_now(self, position: Position) -> str:
        path = self.save(position)
        self.writer.wait()
        return f"saved {path} ({position}); the same command continues from there"


def build_training(cfg: Any, world: World, interrupt: Interrupt, *, fetch_weights: bool) -> Training:
    """Puts together the run that a configuration describes, with fresh weights.

    Args:
        fetch_weights: False where a checkpoint is loaded next.

    Raises:
        SlowFastError: for all that a user can mend.
    """
    model = build_seeded_model(cfg, world, fetch_weights=fetch_weights)
    batch_size = cfg.TRAIN.BATCH_SIZE // world.local_size
    global_batch = batch_size * world.size
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
    logger.info(
        "training: %d clips a step = %s × %d; %d steps an epoch; %s",
        global_batch,
        "1 process" if world.size == 1 else f"{world.size} processes",
        batch_size,
        schedule.steps_per_epoch,
        build_precision(cfg, world),
    )
    return Training(
        step=_build_step(cfg, model, dataset, world),
        loader=loader,
        mixer=build_mixer(cfg, rank=world.rank, batch_size=batch_size),
        evaluator=build_evaluator(cfg, "val", model, world, interrupt),
        schedule=schedule,
        lr_policy=build_lr_policy(cfg),
        identity=Identity(cfg.dump(), cfg.RNG_SEED, global_batch, fingerprint(dataset)),
        log=_build_log(cfg, schedule, world),
        safeguard=Safeguard(
            max_broken=cfg.DATA.MAX_BROKEN_FRACTION * dataset.num_videos,
            max_skipped=cfg.SOLVER.MAX_SKIPPED_STEPS,
            paths=dataset.paths,
            world=world,
        ),
        writer=CheckpointWriter(
            cfg.OUTPUT_DIR,
            minutes=cfg.TRAIN.CHECKPOINT_MINUTES if world.is_main else 0.0,
            keep=cfg.TRAIN.KEEP_CHECKPOINTS,
        ),
        output_dir=cfg.OUTPUT_DIR,
        world=world,
        interrupt=interrupt,
    )


def _build_step(cfg: Any, model: Any, dataset: Any, world: World) -> TrainStep:
    mean, std = frame_normalization(cfg, model)
    return TrainStep(
        model,
        build_optimizer(cfg, model),
        loss=get_loss(cfg.MODEL.LOSS_FUNC),
        world=world,
        precision=build_precision(cfg, world),
        mean=mean,
        std=std,
        clip_value=cfg.SOLVER.CLIP_GRAD_VAL,
        clip_norm=cfg.SOLVER.CLIP_GRAD_L2NORM,
        network=network_for(model, dataset, mean=mean, std=std, training=True),
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
