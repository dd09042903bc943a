"""The trainer of transformers: on frames, on cached features, and on clips of different lengths."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import Dataset
from transformers import AutoModelForVideoClassification, AutoVideoProcessor, Trainer, TrainingArguments

import vtn
from slowfast.config import load_config
from slowfast.datasets import build_dataset
from slowfast.engine.run import run
from slowfast.errors import DecodeError, InputError
from slowfast.extraction.extract import ExtractionRequest, extract_features
from tests.support.tiny import tiny_config
from tests.support.tiny_models import CLASS_NAMES, CLASSES, SMALL_VTN, random_clips, random_features, tiny
from tests.support.videos import write_csv
from vtn.transformers import TrainerDataset, VideoCollator, VTNForVideoClassification


def train(
    model: VTNForVideoClassification, dataset: Dataset[Any], folder: Path, **options: Any
) -> tuple[Trainer, list[float]]:
    """Trains for a few steps; returns the trainer and the loss per step."""
    resumed = options.pop("resume_from_checkpoint", None)
    processor = options.pop("processing_class", None)
    arguments: dict[str, Any] = {
        "max_steps": 4,
        "save_steps": 2,
        "learning_rate": 5e-3,
        "per_device_train_batch_size": 4,
        "logging_steps": 1,
        "report_to": [],
        "use_cpu": True,
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
        **options,
    }
    trainer = Trainer(
        model=model,
        args=TrainingArguments(str(folder), **arguments),
        train_dataset=dataset,
        eval_dataset=dataset,
        data_collator=VideoCollator(),
        processing_class=processor,
    )
    trainer.train(resume_from_checkpoint=resumed)
    return trainer, [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


class VideoFiles(Dataset[dict[str, Any]]):
    """Videos of different lengths, read by the processor of a folder, as a user would write it."""

    def __init__(self, paths: list[Path], processor: Any) -> None:
        self.paths, self.processor = paths, processor

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> dict[str, Any]:
        inputs = self.processor(self.paths[index])
        return {"labels": index % 3, **{name: value[0] for name, value in inputs.items()}}


def test_training_on_frames_learns_and_writes_a_checkpoint(
    published: Path, videos: dict[int, Path], tmp_path: Path
) -> None:
    processor = AutoVideoProcessor.from_pretrained(published)
    dataset = VideoFiles([*videos.values()], processor)
    model = AutoModelForVideoClassification.from_pretrained(published)
    before = model.vtn.state_dict()["cls_token"].clone()
    trainer, losses = train(
        model, dataset, tmp_path, processing_class=processor, eval_strategy="steps", eval_steps=2
    )
    assert losses[-1] < losses[0]
    assert not torch.equal(model.vtn.cls_token, before)

    checkpoint = tmp_path / "checkpoint-4"
    expected = trainer.predict(dataset).predictions
    own = vtn.create_model(checkpoint)  # by this package
    theirs = AutoModelForVideoClassification.from_pretrained(checkpoint)
    for name, weight in model.vtn.state_dict().items():
        assert torch.equal(own.state_dict()[name], weight), name
        assert torch.equal(theirs.vtn.state_dict()[name], weight), name
    predictor = vtn.Predictor(checkpoint, device="cpu")
    assert [*predictor.class_names] == [*CLASS_NAMES]
    for video, logits in zip(videos.values(), torch.tensor(expected), strict=True):
        scores = torch.tensor(predictor(video).scores)
        torch.testing.assert_close(scores, logits.softmax(-1), atol=1e-4, rtol=1e-4)


def test_resuming_gives_the_run_without_a_break(
    published: Path, videos: dict[int, Path], tmp_path: Path
) -> None:
    """The trainer loads weights into the model by the names in the file."""
    dataset = VideoFiles([videos[1], videos[12]], AutoVideoProcessor.from_pretrained(published))
    options = {"seed": 3, "lr_scheduler_type": "constant"}
    whole = AutoModelForVideoClassification.from_pretrained(published)
    train(whole, dataset, tmp_path / "run", **options)
    resumed = AutoModelForVideoClassification.from_pretrained(published)
    train(
        *(resumed, dataset, tmp_path / "resumed"),
        **options,
        resume_from_checkpoint=str(tmp_path / "run" / "checkpoint-2"),
    )
    for name, weight in whole.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], weight)


def test_the_best_checkpoint_is_loaded_at_the_end(
    published: Path, videos: dict[int, Path], tmp_path: Path
) -> None:
    dataset = VideoFiles([videos[1], videos[12]], AutoVideoProcessor.from_pretrained(published))
    model = AutoModelForVideoClassification.from_pretrained(published)
    trainer, _ = train(
        *(model, dataset, tmp_path),
        load_best_model_at_end=True,
        metric_for_best_model="eval_loss",
        eval_strategy="steps",
        eval_steps=2,
    )
    best = AutoModelForVideoClassification.from_pretrained(trainer.state.best_model_checkpoint)
    assert all(torch.equal(w, model.state_dict()[name]) for name, w in best.state_dict().items())


def test_training_on_cached_features_learns(small_dataset: Path, tmp_path: Path) -> None:
    """A cache that `slowfast extract` wrote, with the data set of a run, and a frozen backbone."""
    changes = (*SMALL_VTN, "VTN.BACKBONE.FROZEN", True, "MODEL.NUM_CLASSES", 3)
    cfg = tiny_config(small_dataset, tmp_path / "run", *changes, "DATA.FEATURES", str(tmp_path / "cache"))
    assert run(cfg, work=functools.partial(extract_features, request=ExtractionRequest())) == 0
    file = tmp_path / "config.yaml"
    file.write_text(cfg.dump())
    network: Any = vtn.create_model(file)
    model = VTNForVideoClassification.from_vtn(network)
    dataset = TrainerDataset(build_dataset(load_config(file), "train"), network.frame_mean, network.frame_std)
    assert set(dataset[0]) == {"features", "positions", "labels"}
    backbone = {name: w.clone() for name, w in network.backbone.state_dict().items()}
    _, losses = train(model, dataset, tmp_path / "trainer", max_steps=12, save_steps=12)
    assert sum(losses[-3:]) < sum(losses[:3])
    assert all(torch.equal(w, network.backbone.state_dict()[name]) for name, w in backbone.items())
    loaded = AutoModelForVideoClassification.from_pretrained(tmp_path / "trainer" / "checkpoint-12")
    features = dataset[0]["features"][None]
    with torch.no_grad():
        torch.testing.assert_close(loaded(features=features).logits, model.eval()(features=features).logits)


def test_a_data_set_of_frames_gives_normalised_frames(small_dataset: Path, tmp_path: Path) -> None:
    cfg = tiny_config(small_dataset, tmp_path / "run", *SMALL_VTN, "MODEL.NUM_CLASSES", 3)
    mean, std = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
    clip = build_dataset(cfg, "val")[0]
    item = TrainerDataset(build_dataset(cfg, "val"), mean, std)[0]
    expected = (clip.frames.permute(1, 0, 2, 3).float() / 255 - 0.5) / 0.25  # type: ignore[union-attr]
    torch.testing.assert_close(item["pixel_values_videos"], expected)


def test_training_clips_differ_from_epoch_to_epoch(small_dataset: Path, tmp_path: Path) -> None:
    """Each epoch of a trainer, and of a loop of a user, had the crops and times of the first one."""
    cfg = tiny_config(small_dataset, tmp_path / "run", *SMALL_VTN, "DATA.TRAIN_CROP_SIZE", 16)

    def first_clips(split: str) -> list[torch.Tensor]:
        dataset = TrainerDataset(build_dataset(cfg, split), (0.5,) * 3, (0.25,) * 3)
        return [dataset[0]["pixel_values_videos"] for _ in range(8)]

    torch.manual_seed(3)
    clips = first_clips("train")
    assert not all(torch.equal(clip, clips[0]) for clip in clips)
    torch.manual_seed(3)
    assert all(torch.equal(*both) for both in zip(first_clips("train"), clips, strict=True))
    assert all(torch.equal(clip, first_clips("val")[0]) for clip in first_clips("val"))


def test_training_clips_are_made_in_host_memory(small_dataset: Path, tmp_path: Path) -> None:
    """Also after ``torch.set_default_device("cuda")``, which forked workers cannot use."""
    cfg = tiny_config(small_dataset, tmp_path / "run", *SMALL_VTN, "DATA.TRAIN_CROP_SIZE", 16)
    dataset = TrainerDataset(build_dataset(cfg, "train"), (0.5,) * 3, (0.25,) * 3)
    with torch.device("meta"):
        batch = VideoCollator()([dataset[0], dataset[1]])
    assert {value.device.type for value in batch.values()} == {"cpu"}


def test_videos_that_cannot_be_used_are_named(small_dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.mp4").write_text("not a video")
    write_csv(tmp_path / "test.csv", [(tmp_path / "broken.mp4", 0), (small_dataset / "7.mp4", 1)])
    cfg = tiny_config(tmp_path, tmp_path / "run", *SMALL_VTN, "TRAIN.EVAL_STREAM_FRAMES", 2)
    dataset = TrainerDataset(build_dataset(cfg, "test", streamed_views=True), (0.5,) * 3, (0.5,) * 3)
    with pytest.raises(DecodeError, match=r"broken\.mp4"):
        dataset[0]
    with pytest.raises(InputError, match=r"TRAIN\.EVAL_STREAM_FRAMES: must be \d+ or more, or 0"):
        dataset[1]


def test_padding_does_not_change_the_logits() -> None:
    model = VTNForVideoClassification.from_vtn(tiny())
    clips = [clip.transpose(0, 1) for clip in (random_clips(1, 3)[0], random_clips(1, 6)[0])]
    items = [
        {"pixel_values_videos": clip, "positions": torch.arange(len(clip)) * 5, "labels": 0} for clip in clips
    ]
    batch = VideoCollator()(items)
    logits = model(**batch).logits
    for item, row in zip(items, logits, strict=True):
        alone = model(item["pixel_values_videos"][None], positions=item["positions"][None]).logits  # type: ignore[index]
        torch.testing.assert_close(alone[0], row, atol=1e-5, rtol=1e-5)


def test_items_of_two_kinds_are_refused() -> None:
    items = [{"features": torch.zeros(2, 4)}, {"pixel_values_videos": torch.zeros(2, 3, 8, 8)}]
    with pytest.raises(InputError, match="each item must have pixel_values_videos, or each must have"):
        VideoCollator()(items)


@pytest.mark.parametrize("name", ["positions", "labels"])
def test_labels_and_positions_in_some_items_alone_are_refused(name: str) -> None:
    items: list[dict[str, Any]] = [{"features": torch.ones(2, 4)} for _ in range(2)]
    items[0][name] = [0, 1]
    with pytest.raises(InputError, match=f"{name}: 1 of 2 items have them"):
        VideoCollator()(items)


@pytest.mark.parametrize("inputs", [{}, {"pixel_values_videos": torch.zeros(1), "features": torch.zeros(1)}])
def test_exactly_one_of_frames_and_features_is_needed(inputs: dict[str, Any]) -> None:
    model = VTNForVideoClassification.from_vtn(tiny())
    with pytest.raises(InputError, match="exactly one of the two must be given"):
        model(**inputs)


def test_losses_are_those_of_the_problem_type() -> None:
    """Classes, probabilities of classes, and several labels per video."""
    model = VTNForVideoClassification.from_vtn(tiny())
    features = random_features()
    logits = model(features=features).logits
    classes = torch.tensor([1, 3])
    one_hot = torch.nn.functional.one_hot(classes, CLASSES).float()
    expected = torch.nn.functional.cross_entropy(logits, classes)
    for labels in (classes, classes.int(), one_hot):
        torch.testing.assert_close(model(features=features, labels=labels).loss, expected)
    model.config.problem_type = "multi_label_classification"
    several = (torch.rand(2, CLASSES, generator=torch.Generator().manual_seed(0)) > 0.5).float()
    expected = -(several * logits.sigmoid().log() + (1 - several) * (-logits).sigmoid().log()).mean()
    torch.testing.assert_close(model(features=features, labels=several).loss, expected)


def _switch_checkpointing(model: VTNForVideoClassification, direction: str) -> None:
    """Calls the method of transformers, which version 5 has renamed."""
    names = (f"{kind}_checkpointing_{direction}" for kind in ("activation", "gradient"))
    next(getattr(model, name) for name in names if hasattr(model, name))()


def test_gradient_checkpointing_changes_no_gradient() -> None:
    frames, labels = random_clips(2, 3).transpose(1, 2), torch.tensor([0, 1])
    gradients = []
    for enable in (False, True):
        model = VTNForVideoClassification.from_vtn(tiny())
        if enable:
            _switch_checkpointing(model, "enable")
        assert model.is_activation_checkpointing is enable
        passes = []
        model.vtn.backbone.register_forward_pre_hook(lambda *_, passes=passes: passes.append(1))
        model(frames, labels=labels).loss.backward()
        assert len(passes) == (2 if enable else 1)  # once more in the backward pass
        gradients.append([w.grad for w in model.vtn.backbone.parameters()])
    _switch_checkpointing(model, "disable")
    assert not model.is_activation_checkpointing
    for plain, recomputed in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, recomputed)
