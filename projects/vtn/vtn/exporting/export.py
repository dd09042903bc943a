"""The export of a model: files, their comparison with the model, and a report."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from slowfast.errors import CheckpointError, InputError, ModelError, first_line
from slowfast.log import get_logger
from slowfast.progress import Progress
from vtn.exported.description import BACKBONE, ENCODER, MODEL
from vtn.exported.files import INT8
from vtn.exported.model import load_exported
from vtn.exported.programs import ONNX, TORCH_EXPORT, Program, open_program
from vtn.exporting.accuracy import measure_accuracies
from vtn.exporting.comparison import (
    LENGTHS,
    TOLERANCE,
    Parity,
    Speed,
    compare,
    longest_that_fits,
    measure_speed,
)
from vtn.exporting.parts import Part, build_parts
from vtn.exporting.report import ExportedFile, ExportReport
from vtn.exporting.writing import require_packages, trace, write_int8, write_onnx, write_torch_export
from vtn.inference.split import read_split
from vtn.predictor.predictor import Predictor

FORMATS: Mapping[str, str] = {"torch-export": TORCH_EXPORT, "onnx": ONNX}
"""Name of a format -> suffix of its files."""

logger = get_logger(__name__)


@dataclass(frozen=True)
class ExportRequest:
    """The files of an export, and the measurements of them.

    Attributes:
        output: the file; the folder where ``parts`` are given.
        format: a key of :data:`FORMATS`.
        parts: ``backbone``, ``encoder`` or both, a file each; empty: one file for all.
        int8: whether quantised ONNX files are written, too.
        test_split: list of ``path label``, on which the accuracies of model and files are measured; empty:
            none.
        separator: between path and label.
        prefix: folder at which relative paths of the list start; empty: the current one.
        lengths: numbers of frames for the comparison.

    Raises:
        InputError: for values that are not valid or do not fit together.
    """

    output: str
    format: str = "onnx"
    parts: tuple[str, ...] = ()
    int8: bool = False
    test_split: str = ""
    separator: str = " "
    prefix: str = ""
    lengths: tuple[int, ...] = LENGTHS

    def __post_init__(self) -> None:
        if self.format not in FORMATS:
            raise InputError(f"format = {self.format!r}: must be one of {', '.join(FORMATS)}")
        if set(self.parts) - {BACKBONE, ENCODER} or len(set(self.parts)) < len(self.parts):
            raise InputError(f"parts = {list(self.parts)}: must be {BACKBONE}, {ENCODER} or both")
        if not self.lengths or min(self.lengths) < 1:
            raise InputError(f"lengths = {list(self.lengths)}: must be numbers of frames, 1 or more")
        if self.int8 and self.format != "onnx":
            raise InputError(f"int8 = True: needs format onnx, but it is {self.format}")
        if self.test_split and len(self.parts) == 1:
            raise InputError(
                f"test_split = {self.test_split!r}: needs a model that takes frames and gives scores; export "
                "both parts, or one file"
            )
        if not self.parts and Path(self.output).suffix != self.suffix:
            raise InputError(f"output = {self.output!r}: must end in {self.suffix} for one file")

    @property
    def suffix(self) -> str:
        """Suffix of the files."""
        return FORMATS[self.format]

    @property
    def folder(self) -> Path:
        """The folder of the files."""
        return Path(self.output) if self.parts else Path(self.output).parent

    def file_names(self, part: str) -> dict[str, str]:
        """Returns precision -> name of the file of a part; the file in float32 comes first."""
        stem = part if self.parts else Path(self.output).stem
        marks = {"float32": "", "int8": INT8} if self.int8 else {"float32": ""}
        return {precision: f"{stem}{mark}{self.suffix}" for precision, mark in marks.items()}


def export_model(
    model: Any, request: ExportRequest, *, source: str = "model", show_progress: bool = False
) -> ExportReport:
    """Exports a model, compares the files with it, and returns what was written and measured.

    The files appear once they have been compared. The model is set to evaluation mode on the CPU.

    Args:
        model: a model of this project with ``evaluation``.
        source: the model's name, for messages.
        show_progress: show a progress bar, or log lines.

    Raises:
        ModelError: for a model that cannot be exported, a missing package, and results that differ.
        InputError, ConfigError, AnnotationError, DataError: for a model or list that does not fit the
            request, and for a folder in the place of a file.
    """
    _check_places(request)
    if request.format == "onnx":
        require_packages()
    videos = None
    if request.test_split:
        videos = read_split(
            request.test_split, model.num_classes, separator=request.separator, prefix=request.prefix
        )
    parts = build_parts(model.to("cpu"), request.parts or (MODEL,), source=source)
    steps = len(parts) * (3 + request.int8)
    with (
        _present(request.folder),
        tempfile.TemporaryDirectory(dir=request.folder, prefix=".exporting-") as temporary,
        Progress(steps, "export", "step", enabled=show_progress) as progress,
    ):
        folder = Path(temporary)
        files: list[ExportedFile] = []
        parity: list[Parity] = []
        speed: list[Speed] = []
        for part in parts:
            files += _write(part, request, folder, progress)
        model.prepare_inference()  # the model as it is used, for the comparison
        for part in parts:
            names = request.file_names(part.name).values()
            programs = {name: _open(folder / name, part) for name in names}
            parity += compare(part, next(iter(programs.values())), request.lengths)
            _check_parity(parity)
            progress.update()
            speed += measure_speed(part, programs, longest_that_fits(part, request.lengths))
            progress.update()
        accuracy = []
        if videos is not None:
            predictors = _build_predictors(model, request, folder)
            accuracy = measure_accuracies(predictors, videos, show_progress=show_progress)
        for path in sorted(folder.iterdir()):
            os.replace(path, request.folder / path.name)
    return ExportReport(parts[0].description, torch.get_num_threads(), files, parity, speed, accuracy)


def _check_places(request: ExportRequest) -> None:
    """Raises ``InputError`` for a folder in the place of a file, which cannot be replaced after the work."""
    for part in request.parts or (MODEL,):
        for name in request.file_names(part).values():
            if (path := request.folder / name).is_dir():
                raise InputError(f"{path}: is a folder, in the place of a file to write; name another output")


@contextmanager
def _present(folder: Path) -> Iterator[None]:
    """Creates a folder, and deletes it again where the block fails and has left it empty."""
    is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        if is_new:
            with suppress(OSError):
                folder.rmdir()
        raise


def _write(part: Part, request: ExportRequest, folder: Path, progress: Progress) -> list[ExportedFile]:
    """Traces a part and writes its files to a folder."""
    graph = trace(part)
    names = request.file_names(part.name)
    path = folder / names["float32"]
    if request.format == "onnx":
        write_onnx(graph, part, path)
    else:
        write_torch_export(graph, part, path)
    progress.update()
    files = [ExportedFile(str(request.folder / path.name), part.name, _num_bytes(path))]
    if request.int8:
        quantized = folder / names["int8"]
        count = write_int8(path, quantized, part)
        final = str(request.folder / quantized.name)
        files.append(ExportedFile(final, part.name, _num_bytes(quantized), "int8", count))
        progress.update()
    return files


def _open(path: Path, part: Part) -> Program:
    """Opens a file that was just written, in a folder that the user does not know."""
    try:
        return open_program(path, trust_code=True)
    except CheckpointError as error:
        reason = first_line(error.__cause__ or error).replace(f"{path.parent}{os.sep}", "")
        raise ModelError(
            f"the exported {part.name} cannot be run: {reason}; no file was written; use the other format"
        ) from error


def _check_parity(rows: Sequence[Parity]) -> None:
    if wrong := [row for row in rows if not row.is_close]:
        found = ", ".join(f"{row.difference:.1e} for {row.frames} frames" for row in wrong)
        raise ModelError(
            f"the exported {wrong[0].part} differs from the model by {found}: must be at most {TOLERANCE:g}; "
            "no file was written; use the other format, and report the backbone"
        )


def _build_predictors(model: Any, request: ExportRequest, folder: Path) -> dict[str, Predictor]:
    """Returns the predictors of the model and of its files by their names in the report."""
    predictors = {"eager": Predictor(model, device="cpu")}
    for precision, file in request.file_names(request.parts[0] if request.parts else MODEL).items():
        name = request.format if precision == "float32" else precision
        predictors[name] = Predictor(load_exported(folder / file, trust_code=True))
    return predictors


def _num_bytes(path: Path) -> int:
    weights = path.with_name(f"{path.name}.data")
    return path.stat().st_size + (weights.stat().st_size if weights.exists() else 0)
