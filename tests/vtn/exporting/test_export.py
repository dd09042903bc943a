"""Exports: files with the results of the model, and a description that suffices without it."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

import vtn
from slowfast.errors import InputError, ModelError
from tests.support.clips.backbone import TinyClips  # noqa: F401 (registers itself)
from vtn.exported.programs import open_program
from vtn.exporting.accuracy import Accuracy
from vtn.exporting.comparison import LENGTHS, Parity, compare
from vtn.exporting.export import ExportRequest, export_model
from vtn.exporting.parts import build_parts

PAGE = (Path(__file__).parents[3] / "docs" / "DEPLOYMENT.md").read_text(encoding="utf-8")


def session(path: Path) -> Any:
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def metadata(path: Path) -> dict[str, str]:
    found: dict[str, str] = session(path).get_modelmeta().custom_metadata_map
    return found


def test_files_agree_with_the_model_for_all_lengths(exported: Any) -> None:
    _, _, report = exported
    assert {(row.part, row.frames) for row in report.parity} == {
        (part, frames) for part in ("backbone", "encoder") for frames in LENGTHS
    }
    assert all(row.difference is not None and row.difference < 1e-4 for row in report.parity)


@pytest.mark.parametrize("num_frames", [1, 16, 250])
def test_a_client_needs_onnxruntime_and_numpy_alone(exported: Any, num_frames: int) -> None:
    """Pixels are normalised by the description; the last frames of the second clip are padding."""
    model, folder, _ = exported
    backbone, encoder = session(folder / "backbone.onnx"), session(folder / "encoder.onnx")
    facts = {name: json.loads(text) for name, text in metadata(folder / "backbone.onnx").items()}
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (2, num_frames, *facts["frame_size"], 3), np.uint8)
    pixels[1] //= 3  # a darker clip, so that the scores differ
    frames = (pixels / np.float32(255) - facts["frame_mean"]) / facts["frame_std"]
    frames = frames.astype(np.float32).transpose(0, 4, 1, 2, 3)  # (B, 3, T, H, W)
    positions = np.tile(np.arange(num_frames) * 3, (2, 1))
    mask = np.ones((2, num_frames), bool)
    mask[1, num_frames - num_frames // 3 :] = False

    chunks = np.array_split(frames, max(1, num_frames // 64), axis=2)
    features = np.concatenate([backbone.run(None, {"frames": chunk})[0] for chunk in chunks], axis=1)
    (scores,) = encoder.run(None, {"features": features, "positions": positions, "mask": mask})

    with torch.no_grad():
        expected = model(*map(torch.from_numpy, (frames, positions, mask))).numpy()
    assert np.abs(scores - expected).max() < 1e-4
    assert np.ptp(expected, axis=0).max() > 1e-3, "the clips must have different scores"


def test_the_client_of_the_page_runs(
    exported: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The program in docs/DEPLOYMENT.md, as it is written."""
    _, folder, _ = exported
    (tmp_path / "exported").symlink_to(folder)
    monkeypatch.chdir(tmp_path)
    section = PAGE[PAGE.index("## ONNX and torch.export") :]
    program = re.search(r"```python\n(.*?)```", section, re.DOTALL)
    assert program is not None
    exec(compile(program[1], "DEPLOYMENT.md", "exec"), {})
    assert capsys.readouterr().out.strip() in ("left", "right", "still")


def test_the_description_travels(exported: Any) -> None:
    model, folder, _ = exported
    description = open_program(folder / "encoder.onnx").description
    assert description.class_names == ("left", "right", "still")
    assert description.frame_mean == model.frame_mean
    assert description.frame_size == (32, 32)
    assert description.frames_per_second == pytest.approx(25 / 3)
    assert description.position_unit == "round(seconds * 25)"
    assert description.evaluation == model.evaluation


def test_positions_may_be_numbers_of_frames_and_channels_bgr(make_model: Any) -> None:
    model = make_model(position_rate=None)
    model.evaluation = {**model.evaluation, "DATA.REVERSE_INPUT_CHANNEL": True}
    (part,) = build_parts(model, ("model",), source="model")
    assert part.description.position_unit == "number of the frame in its video, from 0"
    assert part.description.channels == "BGR"


def test_eight_bits_are_smaller_and_large_weights_lie_in_a_file_beside(
    tmp_path: Path, make_model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An ONNX file has at most 2 GB; here the bound is 0 bytes."""
    monkeypatch.setattr("vtn.exporting.writing._LARGEST_FILE", 0)
    model = make_model(hidden_dim=64, intermediate_size=512, num_layers=1)
    report = export_model(model, ExportRequest(str(tmp_path), parts=("encoder",), int8=True, lengths=(1, 16)))
    exact, quantized = report.files
    sizes = [(tmp_path / name).stat().st_size for name in ("encoder.onnx", "encoder.onnx.data")]
    assert sizes[1] > 2 * sum(p.numel() for p in model.temporal_encoder.parameters())
    assert exact.num_bytes == sum(sizes)
    assert quantized.num_bytes < 0.6 * exact.num_bytes
    assert quantized.num_quantized > 1
    assert f"int8 in {quantized.num_quantized} products\n" in report.describe()
    one = replace(report, files=(exact, replace(quantized, num_quantized=1)))
    assert "int8 in 1 product\n" in one.describe()
    assert [speed.file for speed in report.speed] == ["encoder.onnx", "encoder.int8.onnx"]
    described, of_quantized = (metadata(tmp_path / name) for name in ("encoder.onnx", "encoder.int8.onnx"))
    digest = json.loads(described["weights_digest"])
    assert of_quantized == {**described, "weights_digest": json.dumps(f"{digest}-int8")}
    (part,) = build_parts(model, ("encoder",), source="model")
    (row,) = compare(part, open_program(tmp_path / "encoder.onnx"), [16])
    assert row.is_close
    (row,) = compare(part, open_program(tmp_path / "encoder.int8.onnx"), [16])
    assert row.difference is not None
    assert 1e-5 < row.difference < 0.1


def test_a_difference_is_found(exported: Any) -> None:
    """The comparison of a file with other weights than those it was made from."""
    model, folder, _ = exported
    changed = model.mlp_head[-1].bias.detach().clone()
    program = open_program(folder / "encoder.onnx")
    try:
        with torch.no_grad():
            model.mlp_head[-1].bias[1] += 0.01
        (part,) = build_parts(model, ("encoder",), source="model")
        (row,) = compare(part, program, [16])
    finally:
        with torch.no_grad():
            model.mlp_head[-1].bias.copy_(changed)
    assert row.difference == pytest.approx(0.01, abs=1e-4)
    assert not row.is_close


def test_a_difference_of_features_is_a_fraction_of_the_largest_one(make_model: Any) -> None:
    (part,) = build_parts(make_model("test_vit"), ("backbone",), source="model")
    with torch.no_grad():
        assert part.module(*part.make_inputs()).abs().max() > 2
    wrong: Any = lambda frames: 1.01 * part.module(frames)  # noqa: E731
    fits, too_large = compare(part, wrong, [16, 20_000])
    assert fits.difference == pytest.approx(0.01, rel=0.01)
    assert too_large.difference is None, "its frames would need too much memory"


def test_no_file_is_written_where_results_differ(
    tmp_path: Path, make_model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = [Parity("backbone", 16, 2, 0.5)]
    monkeypatch.setattr("vtn.exporting.export.compare", lambda part, program, lengths: wrong)
    with pytest.raises(ModelError, match=r"differs from the model by 5.0e-01 for 16 frames"):
        export_model(
            make_model(),
            ExportRequest(str(tmp_path / "out"), parts=("backbone",), format="torch-export", lengths=(1, 16)),
        )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "tensorrt"}, "must be one of torch-export, onnx"),
        ({"parts": ("backbone", "backbone")}, "must be backbone, encoder or both"),
        ({"lengths": (0,)}, "must be numbers of frames"),
        ({"int8": True, "format": "torch-export"}, "needs format onnx"),
        ({"parts": ("encoder",), "test_split": "test.csv"}, "needs a model that takes frames"),
        ({}, r"must end in \.onnx for one file"),
    ],
)
def test_requests_that_do_not_fit_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        ExportRequest("exported", **changes)


@pytest.mark.parametrize("part", ["model", "backbone"])
@pytest.mark.parametrize(
    ("backbone", "args", "message"),
    [
        ("tiny_clips", {}, "its backbone encodes clips"),
        ("precomputed", {"feature_dim": 24}, "its backbone does not take frames"),
    ],
)
def test_frames_of_some_backbones_are_not_exported(
    backbone: str, args: dict[str, Any], message: str, part: str, make_model: Any
) -> None:
    model = _with_backbone(make_model(), backbone, args)
    with pytest.raises(ModelError, match=f"{message}.*--parts encoder"):
        build_parts(model, (part,), source="model")


def test_the_encoder_behind_a_clip_encoder_is_exported(tmp_path: Path, make_model: Any) -> None:
    model = _with_backbone(make_model(), "tiny_clips", {})
    report = export_model(
        model, ExportRequest(str(tmp_path), parts=("encoder",), format="torch-export", lengths=(1, 16))
    )
    assert all(row.is_close for row in report.parity)


def _with_backbone(model: Any, backbone: str, args: dict[str, Any]) -> Any:
    other = type(model)(backbone, num_classes=3, pretrained=False, backbone_args=args, hidden_dim=32,
                        num_heads=2, intermediate_size=48, num_layers=1, attention_window=4)  # fmt: skip
    other.evaluation = model.evaluation
    return other.eval()


def test_a_layer_for_one_number_of_frames_is_named(tmp_path: Path, make_model: Any) -> None:
    class Recurrent(vtn.VTN):
        def classify(self, features: Any, positions: Any = None, mask: Any = None) -> Any:
            return self.mlp_head(self.gru(features)[0][:, -1])  # type: ignore[operator]

    model = make_model()
    model.__class__ = Recurrent
    model.gru = torch.nn.GRU(24, 32, batch_first=True)
    with pytest.raises(ModelError, match=r"Constraints violated.* nn\.GRU has a graph for one number of fra"):
        export_model(model, ExportRequest(str(tmp_path), parts=("encoder",)))


def test_whole_pictures_are_not_exported(make_model: Any) -> None:
    model = make_model()
    model.evaluation = {**model.evaluation, "DATA.TEST_WHOLE_PICTURE": True}
    with pytest.raises(ModelError, match="tested on whole pictures of any size"):
        build_parts(model, ("model",), source="model")


def test_the_report_is_text_and_json(exported: Any, tmp_path: Path) -> None:
    _, _, report = exported
    text = report.describe()
    assert "largest difference from eager (accepted: 0.0001)" in text
    assert "4096 frames" in text
    assert "times as fast" in text
    measured = (Accuracy("eager", 5, 8), Accuracy("int8", 4, 8))
    files = (replace(report.files[0], path="a.onnx", num_bytes=2_500_000),)
    lines = replace(report, threads=1, files=files, accuracy=measured).describe().splitlines()
    assert lines[0] == "a.onnx: backbone, 2.5 MB"
    assert "time of one clip, 1 thread" in lines
    assert lines[-2:] == ["  eager: 5 of 8, 62.50%", "  int8: 4 of 8, 50.00%, -12.50%"]
    report.write(tmp_path / "report.json")
    content = json.loads((tmp_path / "report.json").read_text())
    assert content["description"]["class_names"] == ["left", "right", "still"]
    assert {row["frames"] for row in content["parity"]} == set(LENGTHS)
    assert all(row["factor"] > 0 for row in content["speed"])
    assert "not compared" in replace(report, parity=[Parity("model", 9, 1, None)]).describe()
