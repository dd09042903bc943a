"""The built-in trackers. Each imports its package when a run starts; this module imports none of them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from slowfast.tracking.tracker import (
    TRACKER_REGISTRY,
    CurveTracker,
    Outcome,
    RunDescription,
    Tracker,
    TrackerKind,
)

# MLflow refuses longer values of parameters.
_MAX_MLFLOW_VALUE = 6000
_MLFLOW_BATCH = 100
_MLFLOW_STATUS = {Outcome.COMPLETE: "FINISHED", Outcome.INTERRUPTED: "KILLED", Outcome.FAILED: "FAILED"}


class Trackio(CurveTracker):
    """Trackio: a local SQLite file, shown by ``trackio show``.

    It is in ``OUTPUT_DIR/trackio`` unless ``TRACKIO_DIR`` is set before.
    """

    def __init__(self, description: RunDescription) -> None:
        os.environ.setdefault("TRACKIO_DIR", str(description.folder.absolute() / "trackio"))
        import trackio

        super().__init__()
        self._trackio = trackio
        trackio.init(
            project=description.project,
            name=f"{description.name}-{description.run_id}",
            config={**description.config, **description.environment},
            resume="allow",
            embed=False,
        )

    def add_points(self, metrics: Mapping[str, float], step: int) -> None:
        self._trackio.log(dict(metrics), step=step)

    def finish(self, summary: Mapping[str, float], outcome: Outcome) -> None:
        self.add_final_points(summary)
        self._trackio.finish()


class WeightsAndBiases(Tracker):
    """Weights & Biases: offline in ``OUTPUT_DIR/wandb`` unless ``WANDB_MODE`` is set; see ``wandb sync``."""

    def __init__(self, description: RunDescription) -> None:
        import wandb

        self._run = wandb.init(
            project=description.project,
            name=description.name,
            id=description.run_id,
            resume="allow",
            dir=str(description.folder),
            mode=os.environ.get("WANDB_MODE", "offline"),  # type: ignore[arg-type]
            config={**description.config, **description.environment},
        )
        # W&B discards points before the last one of its own steps, which a run resumed after a crash has.
        self._run.define_metric("*", step_metric="step")

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        self._run.log({**metrics, "step": step})

    def finish(self, summary: Mapping[str, float], outcome: Outcome) -> None:
        self._run.summary.update(dict(summary))
        self._run.finish(exit_code=0 if outcome is Outcome.COMPLETE else 1)


class MLflow(CurveTracker):
    """MLflow: a store in ``OUTPUT_DIR/mlruns`` unless ``MLFLOW_TRACKING_URI`` is set; see ``mlflow ui``."""

    def __init__(self, description: RunDescription) -> None:
        # The store of plain files needs no database; MLflow asks for this consent.
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        from mlflow.entities import Param, RunTag
        from mlflow.tracking import MlflowClient

        super().__init__()
        store = (description.folder.absolute() / "mlruns").as_uri()
        self._client = MlflowClient(os.environ.get("MLFLOW_TRACKING_URI", store))
        experiment = self._client.get_experiment_by_name(description.project)
        experiment_id = (
            self._client.create_experiment(description.project)
            if experiment is None
            else experiment.experiment_id
        )
        self._run_id = self._find(experiment_id, description.run_id)
        if not self._run_id:
            tags = {"slowfast.run_id": description.run_id, **description.environment}
            run = self._client.create_run(experiment_id, run_name=description.name, tags=tags)
            self._run_id = run.info.run_id
            params = [Param(key, str(value)[:_MAX_MLFLOW_VALUE]) for key, value in description.config.items()]
            for first in range(0, len(params), _MLFLOW_BATCH):
                self._client.log_batch(self._run_id, params=params[first : first + _MLFLOW_BATCH])
        else:  # a resumed run: parameters cannot change, so the present state is recorded as tags
            tags_now = [RunTag(key, value) for key, value in description.environment.items()]
            self._client.log_batch(self._run_id, tags=tags_now)
            self._client.update_run(self._run_id, status="RUNNING")

    def _find(self, experiment_id: str, run_id: str) -> str:
        """Returns MLflow's id of a run that an earlier start has created; empty for none."""
        found = self._client.search_runs([experiment_id], f"tags.`slowfast.run_id` = '{run_id}'")
        return str(found[0].info.run_id) if found else ""

    def add_points(self, metrics: Mapping[str, float], step: int) -> None:
        import time

        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        points = [Metric(name, float(value), now, step) for name, value in metrics.items()]
        self._client.log_batch(self._run_id, metrics=points)

    def finish(self, summary: Mapping[str, float], outcome: Outcome) -> None:
        self.add_final_points(summary)
        self._client.set_terminated(self._run_id, _MLFLOW_STATUS[outcome])


def _start_tensorboard(description: RunDescription) -> Tracker:
    from slowfast.tracking.tensorboard import TensorBoard, event_folder

    config: dict[str, Any] = dict(description.config)
    tracker = TensorBoard(
        event_folder(description.folder, config["TENSORBOARD.LOG_DIR"], config["TRAIN.DATASET"]),
        class_names=description.class_names,
        confusion=bool(config["TENSORBOARD.CONFUSION_MATRIX.ENABLE"]),
    )
    tracker.add_description(config, description.environment)
    return tracker


TRACKER_REGISTRY.register("tensorboard")(TrackerKind(_start_tensorboard, "tensorboard"))
TRACKER_REGISTRY.register("trackio")(TrackerKind(Trackio, "trackio"))
TRACKER_REGISTRY.register("wandb")(TrackerKind(WeightsAndBiases, "wandb"))
TRACKER_REGISTRY.register("mlflow")(TrackerKind(MLflow, "mlflow"))
