"""Building of a training run from a configuration."""

from __future__ import annotations

from fvcore.common.config import CfgNode
from torch import nn

from slowfast.checkpoint.resume import RunIdentity, choose_global_batch
from slowfast.checkpoint.state import TrainingState, fingerprint, former_fingerprint
from slowfast.checkpoint.writer import build_checkpoint_writer
from slowfast.datasets.build import read_lists
from slowfast.datasets.class_names import find_class_names
from slowfast.datasets.clip import Normalization
from slowfast.datasets.loading.loader import ClipLoader
from slowfast.datasets.loading.samplers import describe_left_out
from slowfast.datasets.video_dataset import ViewDataset, count_shared_videos
from slowfast.datasets.views.mixing import build_mixer
from slowfast.distributed.parallel import build_parallelism, distribute, synchronize_batch_norms
from slowfast.distributed.world import World
from slowfast.engine.evaluated_model import EvaluatedModel
from slowfast.engine.evaluator import build_evaluator, build_split_loader
from slowfast.engine.run_model import build_seeded_model, log_model_info
from slowfast.engine.speed.headroom import HeadroomMonitor, cores_of
from slowfast.engine.testing.run import check_test_data, read_test_list
from slowfast.engine.training.compiled_network import CompiledNetwork
from slowfast.engine.training.failure_budget import build_failure_budget
from slowfast.engine.training.feature_statistics import set_feature_statistics
from slowfast.engine.training.model_selection import build_model_selection
from slowfast.engine.training.schedule import Schedule, build_schedule
from slowfast.engine.training.stall import build_stall_detector
from slowfast.engine.training.train_step import TrainStep
from slowfast.engine.training.training_log import TrainingLog
from slowfast.engine.training.training_run import TrainingRun
from slowfast.errors import ConfigError, counted
from slowfast.features.batch import FeatureMixer
from slowfast.interrupt import Interrupt
from slowfast.log import get_logger
from slowfast.models.feature_head import measured_network, network_for
from slowfast.models.frame_format import adopt_frame_format, frame_normalization
from slowfast.models.objective.class_weights import count_classes
from slowfast.models.objective.training_loss import build_training_loss
from slowfast.models.precision import Precision, build_precision
from slowfast.solver import build_lr_policy, build_optimizer, lr_scale
from slowfast.solver.ema import build_average, check_average, evaluates_average
from slowfast.solver.lr_policy import check_warmup
from slowfast.tracking.trackers import Trackers

logger = get_logger(__name__)

# Optimiser steps of a whole run below which hardly any model learns.
_FEW_STEPS = 100


def build_training_run(
    cfg: CfgNode,
    world: World,
    interrupt: Interrupt,
    trackers: Trackers,
    *,
    fetch_weights: bool,
    saved: TrainingState | None = None,
) -> TrainingRun:
    """Builds the run that a configuration describes, with initial weights.

    Args:
        trackers: get the metrics.
        fetch_weights: False if a checkpoint is loaded next.
        saved: the state from which this run is resumed; None at its first start.

    Raises:
        SlowFastError: for every error that the user can fix.
    """
    # What needs no model is read and checked first, since the model's weights may have to be downloaded.
    # The batch is that of the first start of the run, divided among the processes of this start.
    global_batch = choose_global_batch(cfg, world, saved)
    batch_size = global_batch // world.size
    _check_micro_batches(cfg, batch_size)
    lists = read_lists(cfg, "train", "val") | (read_test_list(cfg) if cfg.TEST.ENABLE else {})
    named = find_class_names(cfg.DATA.CLASS_NAMES, cfg.DATA.PATH_TO_DATA_DIR, cfg.MODEL.NUM_CLASSES)
    # The format of the model's frames completes the configuration.
    model = build_seeded_model(cfg, world, fetch_weights=fetch_weights)
    if cfg.BN.NORM_TYPE == "sync_batchnorm":
        model = synchronize_batch_norms(model, world)
    cfg = adopt_frame_format(cfg, model)
    normalization = frame_normalization(cfg, model)
    # All data is checked before the statistics of the training features, which may take long.
    loader = build_split_loader(
        cfg, "train", model, world, batch_size=batch_size, annotations=lists.pop("train", None)
    )
    dataset = loader.dataset
    if world.is_main and cfg.LOG_MODEL_INFO:
        log_model_info(*measured_network(model, dataset, cfg.DATA.NUM_FRAMES, cfg.DATA.TRAIN_CROP_SIZE))
    val_loader = build_split_loader(cfg, "val", model, world, annotations=lists.pop("val", None))
    _warn_of_shared_videos("validation", dataset, val_loader.dataset, world)
    if cfg.TEST.ENABLE:
        _warn_of_shared_videos(
            "test", dataset, check_test_data(cfg, model, world, interrupt, lists.pop("test", None)), world
        )
    schedule = build_schedule(cfg, steps_per_epoch=len(loader))
    identity = _build_identity(cfg, dataset, global_batch, saved)
    precision = build_precision(cfg, "train", world.device)
    if saved is None and not cfg.TRAIN.CHECKPOINT_FILE_PATH:  # otherwise they are loaded with the weights
        set_feature_statistics(model, loader, world, normalization, precision=precision, interrupt=interrupt)
    _log_setup(cfg, world, precision, loader, schedule, identity)
    step, evaluated = _build_step(cfg, model, dataset, world, normalization, precision)
    mixer = build_mixer(cfg, rank=world.rank, batch_size=batch_size)
    return TrainingRun(
        step=step,
        loader=loader,
        mixer=FeatureMixer(mixer) if mixer is not None and dataset.features is not None else mixer,
        evaluator=build_evaluator(cfg, "val", evaluated.network, world, interrupt, loader=val_loader),
        evaluated=evaluated,
        schedule=schedule,
        lr_policy=build_lr_policy(cfg, identity.lr_scale),
        identity=identity,
        log=_build_log(cfg, schedule, world, loader, trackers),
        failure_budget=build_failure_budget(cfg, dataset, world),
        writer=build_checkpoint_writer(cfg, world),
        selection=build_model_selection(cfg),
        stall_detector=build_stall_detector(
            cfg, model, dataset, world, schedule, is_sharded=evaluated.is_copy, starts_new=saved is None
        ),
        crop_size=cfg.DATA.TRAIN_CROP_SIZE,
        class_names=named or dataset.class_names,
        world=world,
        interrupt=interrupt,
    )


def _check_micro_batches(cfg: CfgNode, batch_size: int) -> None:
    """Raises ``ConfigError`` if a process has fewer clips per step than micro-batches."""
    if batch_size < cfg.TRAIN.GRAD_ACCUM_STEPS:
        raise ConfigError(
            f"TRAIN.GRAD_ACCUM_STEPS = {cfg.TRAIN.GRAD_ACCUM_STEPS}: must be at most {batch_size}, the clips "
            "per step of each process; or use a larger TRAIN.BATCH_SIZE"
        )


def _warn_of_shared_videos(name: str, training: ViewDataset, evaluated: ViewDataset, world: World) -> None:
    if world.is_main and (count := count_shared_videos(training, evaluated)):
        logger.warning(
            "%s: %d of %d videos are in the training list, too, so that its accuracy is not that of new "
            "videos; use lists without common videos",
            name,
            count,
            evaluated.num_videos,
        )


def _build_identity(
    cfg: CfgNode, dataset: ViewDataset, global_batch: int, saved: TrainingState | None
) -> RunIdentity:
    """Returns the identity of the run.

    The factor of its learning rates is that of the first start, unless ``SOLVER.BASE_LR_SCALE_NUM_SHARDS``
    was changed since.
    """
    scale = lr_scale(cfg, global_batch // cfg.TRAIN.BATCH_SIZE)  # by the nodes of the first start
    if saved is not None:
        before = saved.settings.get("SOLVER.BASE_LR_SCALE_NUM_SHARDS")
        if before in (None, cfg.SOLVER.BASE_LR_SCALE_NUM_SHARDS):
            scale = saved.lr_scale
    return RunIdentity(
        cfg.dump(),
        cfg.RNG_SEED,
        global_batch,
        fingerprint(dataset),
        scale,
        former_fingerprint(dataset, saved.data_fingerprint if saved else ""),
    )


def _log_setup(
    cfg: CfgNode,
    world: World,
    precision: Precision,
    loader: ClipLoader,
    schedule: Schedule,
    identity: RunIdentity,
) -> None:
    """Logs the size of a step, of an epoch and of the run."""
    micro_batches = cfg.TRAIN.GRAD_ACCUM_STEPS
    steps = schedule.steps_to(schedule.end)
    logger.info(
        "training: %s per step = %s × %d%s; %s per epoch, %d in total; %s",
        counted(identity.global_batch, "clip"),
        counted(world.size, "process", "processes"),
        identity.global_batch // world.size,
        f", in {micro_batches} micro-batches" if micro_batches > 1 else "",
        counted(len(loader), "step"),
        steps,
        precision,
    )
    if steps < _FEW_STEPS and not schedule.max_steps:
        size = cfg.TRAIN.BATCH_SIZE
        logger.warning(
            "%s in total %s few: most models need some hundred to learn; use a %slarger SOLVER.MAX_EPOCH "
            "(%d)",
            counted(steps, "step"),
            "is" if steps == 1 else "are",
            f"smaller TRAIN.BATCH_SIZE ({size}) or a " if size > 1 else "",
            schedule.max_epoch,
        )
    check_warmup(cfg)
    check_average(cfg, steps)
    videos = count_classes(loader.dataset.labels, cfg.MODEL.NUM_CLASSES, independent=False)  # (K,)
    if missing := int((videos == 0).sum()):
        logger.warning(
            "%d of %d classes %s no training video, such as class %d: check the labels, and "
            "MODEL.NUM_CLASSES",
            missing,
            len(videos),
            "has" if missing == 1 else "have",
            videos.argmin(),
        )
    if identity.lr_scale != 1:
        logger.info(
            "learning rates are multiplied by %g (SOLVER.BASE_LR_SCALE_NUM_SHARDS)", identity.lr_scale
        )
    if left_out := describe_left_out(loader.batch_sampler, len(loader.dataset)):
        logger.info("%s", left_out)


def _build_step(
    cfg: CfgNode,
    model: nn.Module,
    dataset: ViewDataset,
    world: World,
    normalization: Normalization,
    precision: Precision,
) -> tuple[TrainStep, EvaluatedModel]:
    """Distributes the model over the processes and builds the optimiser step; changes ``model`` in place.

    Returns:
        The step, and the model as it is evaluated.
    """
    parallelism = build_parallelism(cfg, world, scales_gradients=precision.make_scaler().is_enabled())
    # The evaluated model is a copy made before sharding changes the parameters; the optimiser comes after it.
    evaluated = EvaluatedModel(model, world, sharded=parallelism.sharded)
    network = network_for(model, dataset, normalization, training=True)
    if cfg.TRAIN.COMPILE:
        network = CompiledNetwork(network)
    network = distribute(model, network, world, parallelism)
    step = TrainStep(
        model,
        build_optimizer(cfg, model),
        loss=build_training_loss(cfg, dataset.labels),
        world=world,
        precision=precision,
        normalization=normalization,
        clip_value=cfg.SOLVER.CLIP_GRAD_VAL,
        clip_norm=cfg.SOLVER.CLIP_GRAD_L2NORM,
        network=network,
        micro_batches=cfg.TRAIN.GRAD_ACCUM_STEPS,
        average=build_average(cfg, model),
    )
    evaluated.use(step.average if evaluates_average(cfg) else None)
    return step, evaluated


def _build_log(
    cfg: CfgNode, schedule: Schedule, world: World, loader: ClipLoader, trackers: Trackers
) -> TrainingLog:
    return TrainingLog(
        schedule=schedule,
        period=cfg.LOG_PERIOD,
        enabled=world.is_main,
        device=world.device,
        trackers=trackers,
        headroom=HeadroomMonitor(
            lambda: loader.times,
            workers=loader.num_workers,
            cores=cores_of(world),
            is_cached=loader.dataset.features is not None,
        ),
    )
