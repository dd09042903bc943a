"""Exports that fail, and the parts of a report that are missing, are named."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import torch

from slowfast.errors import InputError, ModelError
from vtn.cli.export import main
from vtn.exporting.export import ExportRequest, export_model
from vtn.exporting.parts import build_parts
from vtn.exporting.writing import trace, write_onnx


def test_a_file_that_cannot_be_run_is_named_without_the_temporary_folder(
    tmp_path: Path, make_model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vtn.exporting.export.write_onnx", lambda graph, part, path: path.write_text("a"))
    with pytest.raises(ModelError, match=r"the exported encoder cannot be run: .*encoder\.onnx") as caught:
        export_model(make_model(), ExportRequest(str(tmp_path / "out"), parts=("encoder",)))
    assert "no file was written; use the other format" in str(caught.value)
    assert ".exporting" not in str(caught.value)


@pytest.mark.parametrize(
    ("output", "folder", "changes"),
    [
        ("one.onnx", "one.onnx", {}),
        ("one.onnx", "one.int8.onnx", {"int8": True}),
        ("parts", "parts/encoder.onnx", {"parts": ("backbone", "encoder")}),
    ],
)
def test_a_folder_in_the_place_of_a_file_is_refused_before_the_work(
    output: str, folder: str, changes: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was an ``IsADirectoryError`` after minutes of tracing and comparing."""
    monkeypatch.setattr("vtn.exporting.export.build_parts", Mock(side_effect=AssertionError("work")))
    (tmp_path / folder).mkdir(parents=True)
    with pytest.raises(InputError, match=f"{re.escape(folder)}: is a folder, in the place of a file"):
        export_model(Mock(), ExportRequest(str(tmp_path / output), **changes))


def test_a_program_that_shows_no_log_messages_gets_none(
    make_model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Errors that the exporters log were shown, where the program had disabled them, too."""
    levels: list[int] = []
    monkeypatch.setattr(
        "vtn.exporting.writing.torch.export.export",
        lambda *_, **__: levels.append(logging.root.manager.disable),
    )
    (part,) = build_parts(make_model(), ("encoder",), source="model")
    for level in (logging.CRITICAL, logging.NOTSET):
        monkeypatch.setattr(logging.root.manager, "disable", level)
        trace(part)
        assert logging.root.manager.disable == level
    assert levels == [logging.CRITICAL, logging.WARNING]


def test_an_operation_that_onnx_lacks_is_named(tmp_path: Path, make_model: Any) -> None:
    class Bessel(torch.nn.Module):
        def forward(self, frames: torch.Tensor) -> torch.Tensor:
            return torch.special.bessel_j0(frames)

    (part,) = build_parts(make_model(), ("backbone",), source="model")
    graph = torch.export.export(Bessel(), (torch.zeros(1, 3, 8, 8),))
    with pytest.raises(ModelError, match=r"cannot be written as ONNX: .*bessel_j0"):
        write_onnx(graph, part, tmp_path / "a.onnx")


@pytest.mark.parametrize(
    ("activation", "remedy"),
    [("none", "; give --split"), ("sigmoid", ", since lists of several labels per video are not read")],
)
def test_accuracies_that_were_not_measured_are_named(
    activation: str,
    remedy: str,
    make_model: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model = make_model()
    model.evaluation = {**model.evaluation, "MODEL.HEAD_ACT": activation}
    monkeypatch.setattr("vtn.predictor.source.load_source", lambda *_, **__: model)
    monkeypatch.setattr("vtn.exporting.export.export_model", Mock())
    assert main(["model", "--output", "a.onnx", "--int8"]) == 0
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == f"vtn export: the accuracy of the 8-bit files was not measured{remedy}"
