"""Readers of what each tracker has written."""

from __future__ import annotations

import io
import json
import os
import sqlite3
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

Curves = dict[str, list[tuple[int, float]]]


def read_tensorboard(folder: Path) -> tuple[Curves, str]:
    """Returns the curves, and the configuration and environment as text."""
    events = EventAccumulator(str(folder / "runs-kinetics")).Reload()
    curves = {
        name: [(point.step, point.value) for point in events.Scalars(name)]
        for name in events.Tags()["scalars"]
    }
    texts = [
        event.tensor_proto.string_val[0].decode()
        for name in events.Tags()["tensors"]
        for event in events.Tensors(name)
    ]
    return curves, "\n".join(texts)


def read_images(folder: Path) -> dict[str, list[Image.Image]]:
    """Returns the images in TensorBoard's event files by tag, in the order of their steps."""
    # Files of one second are read in any order, and the start of a run would remove later steps of others.
    events = EventAccumulator(str(folder), size_guidance={"images": 0}, purge_orphaned_data=False).Reload()
    return {
        tag: [Image.open(io.BytesIO(event.encoded_image_string)) for event in events.Images(tag)]
        for tag in events.Tags()["images"]
    }


def read_trackio(folder: Path) -> tuple[Curves, str]:
    """Returns the curves and the configuration from the database files."""
    curves: Curves = {}
    texts = []
    for file in (folder / "trackio").glob("*.db"):
        with sqlite3.connect(file) as database:
            for step, text in database.execute("select step, metrics from metrics order by id"):
                for name, value in json.loads(text).items():
                    if isinstance(value, int | float):
                        curves.setdefault(name, []).append((step, value))
            rows = database.execute("select config from configs")
            texts += [text.decode() if isinstance(text, bytes) else text for (text,) in rows]
    return curves, "\n".join(texts)


def _wandb_records(file: Path) -> Iterator[bytes]:
    """Yields the records of an offline file: blocks of 32 KiB with pieces of records, as LevelDB's log.

    A piece has a checksum (4 bytes), its length (2), and its kind (1): full, first, middle or last.
    """
    data, position, record = file.read_bytes(), 7, b""  # after the header of the file
    while position + 7 <= len(data):
        left = 32768 - position % 32768
        if left < 7:
            position += left
            continue
        length, kind = struct.unpack_from("<HB", data, position + 4)
        record += data[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):
            yield record
            record = b""


def read_wandb(folder: Path) -> tuple[Curves, str]:
    """Returns the curves and the configuration from the offline file."""
    from wandb.proto import wandb_internal_pb2

    curves: Curves = {}
    texts = []
    last_step = 0
    (file,) = (folder / "wandb").glob("offline-run-*/*.wandb")
    for data in _wandb_records(file):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        final = record.summary.update
        for items in (record.history.item, final):
            values = {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in items}
            last_step = values.pop("step", last_step)
            for name, value in values.items():
                is_final = items is final
                if not name.startswith("_") and is_final == name.startswith("Test/"):
                    curves.setdefault(name, []).append((last_step, value))
        for item in (*record.run.config.update, *record.config.update):
            texts.append(f"{item.key}: {item.value_json}")
    return curves, "\n".join(texts)


def read_mlflow(folder: Path) -> tuple[Curves, str]:
    """Returns the curves, and parameters and tags as text, from the file store."""
    from mlflow.tracking import MlflowClient

    os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"
    client = MlflowClient((folder / "mlruns").as_uri())
    experiment = client.get_experiment_by_name("slowfast")
    (found,) = client.search_runs([experiment.experiment_id])
    assert found.info.status == "FINISHED"
    curves = {
        name: [(point.step, point.value) for point in client.get_metric_history(found.info.run_id, name)]
        for name in found.data.metrics
    }
    return curves, json.dumps({**found.data.params, **found.data.tags})


READERS: dict[str, Callable[[Path], tuple[Curves, str]]] = {
    "tensorboard": read_tensorboard,
    "trackio": read_trackio,
    "wandb": read_wandb,
    "mlflow": read_mlflow,
}
