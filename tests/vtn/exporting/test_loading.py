"""Loading of exported files: trust, files that do not belong together, and inputs that are refused."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch

from slowfast.errors import CheckpointError, InputError, ModelError
from vtn.exported.description import Description
from vtn.exported.model import load_exported
from vtn.exported.programs import open_program
from vtn.exporting.export import ExportRequest, export_model


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory, make_model: Any) -> tuple[Any, Path]:
    """A model, and its archive of torch.export."""
    model, path = make_model(num_layers=1), tmp_path_factory.mktemp("archive") / "mine.pt2"
    export_model(model, ExportRequest(str(path), format="torch-export", lengths=(1, 16)))
    return model, path


def test_an_archive_of_torch_export_must_be_trusted(archive: tuple[Any, Path]) -> None:
    model, path = archive
    with pytest.raises(CheckpointError, match=r"can run any code when it is opened.*--trust-code"):
        load_exported(path)
    loaded = pickle.loads(pickle.dumps(load_exported(path, trust_code=True)))  # noqa: S301 (bytes of this test)
    frames, mask = torch.randn(2, 3, 5, 32, 32), torch.tensor([[True] * 5, [True] * 2 + [False] * 3])
    with torch.no_grad():
        torch.testing.assert_close(loaded(frames, mask=mask), model(frames, mask=mask), atol=1e-4, rtol=0)
    assert loaded.class_names == model.class_names


def test_features_are_those_of_the_model_for_more_frames_than_one_pass_takes(exported: Any) -> None:
    model, folder, _ = exported
    frames, mask = torch.randn(2, 3, 40, 32, 32), torch.ones(2, 40, dtype=torch.bool)
    mask[1, 20:30] = False
    with torch.no_grad():
        expected = model.encode_frames(frames, mask)
    torch.testing.assert_close(load_exported(folder).encode_frames(frames, mask), expected)


def copy_described(source: Path, target: Path, **entries: object) -> None:
    """Copies an ONNX file with other entries in its description."""
    content = onnx.load(source)
    for entry in content.metadata_props:
        if entry.key in entries:
            entry.value = json.dumps(entries[entry.key])
    onnx.save(content, target)


def test_parts_must_belong_together(exported: Any, tmp_path: Path) -> None:
    _, folder, _ = exported
    (tmp_path / "encoder.onnx").write_bytes((folder / "encoder.onnx").read_bytes())
    with pytest.raises(CheckpointError, match=r"is only the encoder of VTN; put backbone\.onnx beside it"):
        load_exported(tmp_path)
    copy_described(folder / "backbone.onnx", tmp_path / "backbone.onnx", weights_digest="of others")
    with pytest.raises(CheckpointError, match="backbone and encoder are of different weights"):
        load_exported(tmp_path)
    copy_described(folder / "encoder.onnx", tmp_path / "backbone.onnx")
    with pytest.raises(CheckpointError, match="its part is encoder; must be the part that"):
        load_exported(tmp_path)


def test_damaged_descriptions_are_refused(exported: Any) -> None:
    _, folder, _ = exported
    texts = open_program(folder / "encoder.onnx").description.to_texts()
    for name, text, message in (
        ("num_classes", "-1", "num_classes = -1"),
        ("frame_size", "[32]", r"frame_size = \(32,\)"),
        ("class_names", "7", "class_names = 7"),
        ("part", "[]", r"part = \(\)"),
        ("part", "{}", "part = {}"),
        ("frame_size", "[0, 0]", r"frame_size = \(0, 0\)"),
        ("feature_shape", "[-8]", r"feature_shape = \(-8,\)"),
        ("evaluation", "{", "evaluation: must be JSON"),
        ("evaluation", "[" * 100_000, "evaluation: must be JSON"),
    ):
        with pytest.raises(CheckpointError, match=message):
            Description.from_texts({**texts, name: text}, source="mine.onnx")
    del texts["frame_std"]
    with pytest.raises(CheckpointError, match="lacks the entries frame_std"):
        Description.from_texts(texts, source="mine.onnx")


def test_a_graph_of_other_classes_than_described_is_refused(exported: Any, tmp_path: Path) -> None:
    _, folder, _ = exported
    for name in ("backbone.onnx", "encoder.onnx"):
        copy_described(folder / name, tmp_path / name, num_classes=2, class_names=["a", "b"])
    model = load_exported(tmp_path)
    features = torch.zeros(2, 4, *model.feature_shape)
    with pytest.raises(CheckpointError, match=r"scores of shape \(2, 3\): must be those of 2 classes"):
        model.classify(features)


def test_a_failure_of_onnxruntime_names_the_file(exported: Any) -> None:
    program = open_program(exported[1] / "backbone.onnx")
    with pytest.raises(ModelError, match=r"backbone\.onnx: onnxruntime fails for inputs of shape \(1, 4\)"):
        program(torch.zeros(1, 4))


def test_a_file_that_is_not_onnx_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.onnx").write_text("nothing")
    with pytest.raises(CheckpointError, match="cannot be read by onnxruntime"):
        load_exported(tmp_path / "mine.onnx")


def test_files_refuse_the_values_that_the_model_refuses(exported: Any, archive: tuple[Any, Path]) -> None:
    parts, one = load_exported(exported[1]), load_exported(archive[1], trust_code=True)
    frames = torch.randn(1, 3, 5, 32, 32)
    for given, message in (
        ({"mask": torch.zeros(1, 5, dtype=torch.bool)}, "have no real frame"),
        ({"mask": torch.ones(1, 5, dtype=torch.int64)}, "must be torch.bool"),
        ({"mask": torch.ones(1, 4, dtype=torch.bool)}, r"mask: has shape \(1, 4\), must be \(1, 5\)"),
        ({"positions": torch.arange(-5, 0)[None]}, "positions contain -"),
        ({"positions": torch.arange(5.0)[None]}, "must be an integer dtype"),
        ({"positions": torch.arange(4)[None]}, "must be"),
    ):
        for loaded in (parts, one):
            with pytest.raises(InputError, match=message):
                loaded(frames, **given)
    for loaded in (parts, one):
        with pytest.raises(InputError, match="frames have 16×16 pixels: must be 32×32"):
            loaded(torch.zeros(1, 3, 2, 16, 16))
    torch.testing.assert_close(parts(frames.requires_grad_()), parts(frames.detach()))
