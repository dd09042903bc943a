"""The graph of an exported file as a function of tensors: ONNX by onnxruntime, ``.pt2`` by torch.

B clips, T frames.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from slowfast.errors import CheckpointError, ModelError, first_line
from slowfast.files import parse_json
from vtn.exported.description import INPUTS, Description

ONNX, TORCH_EXPORT = ".onnx", ".pt2"
DESCRIPTION_FILE = "description.json"


class Program(Protocol):
    """A graph that can be run by several threads at a time.

    Attributes:
        description: of the file.
    """

    @property
    def description(self) -> Description: ...

    def __call__(self, *inputs: Tensor) -> Tensor:
        """Returns the output of the graph for inputs in the order of ``vtn.exported.description.INPUTS``."""
        ...


class OnnxProgram:
    """A graph that onnxruntime computes on the CPU; torch only carries inputs and outputs.

    Args:
        path: the file.

    Raises:
        ModelError: where onnxruntime is not installed.
        CheckpointError: for a file that is damaged, or that `vtn export` did not write.
    """

    def __init__(self, path: str | Path) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise ModelError(
                f"{path}: needs onnxruntime, which is not installed: pip install 'slowfast-vtn[export]'"
            ) from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        # Threads that wait busily would slow down the decoding of the next video.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3  # errors; warnings are about optimisations that were not possible
        try:
            self._session: Any = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime has errors of its own, without a common base
            raise CheckpointError(
                f"{path}: cannot be read by onnxruntime: {first_line(error)}; export the model again"
            ) from error
        self._path = str(path)
        texts = self._session.get_modelmeta().custom_metadata_map
        self.description = Description.from_texts(texts, source=str(path))
        self._inputs = INPUTS[self.description.part]
        found = tuple(node.name for node in self._session.get_inputs())
        if found != self._inputs:
            raise CheckpointError(
                f"{path}: its graph takes {', '.join(found)}: must be {', '.join(self._inputs)}; export again"
            )

    def __reduce__(self) -> tuple[Any, ...]:
        """Returns how a copy for another process is made, which opens the file itself."""
        return type(self), (str(Path(self._path).absolute()),)

    def __call__(self, *inputs: Tensor) -> Tensor:
        """Runs the graph, see :class:`Program`.

        Raises:
            ModelError: where onnxruntime fails, such as for a lack of memory.
        """
        feed = dict(zip(self._inputs, (tensor.detach().numpy() for tensor in inputs), strict=True))
        try:
            return torch.from_numpy(self._session.run(None, feed)[0])
        except Exception as error:  # see above
            shapes = ", ".join(str(tuple(tensor.shape)) for tensor in inputs)
            raise ModelError(
                f"{self._path}: onnxruntime fails for inputs of shape {shapes}: {first_line(error)}"
            ) from error


class TorchProgram:
    """A graph that torch computes on the CPU.

    torch.export reads pickles and evaluates expressions of an archive, so that it can run any code.

    Args:
        path: the archive.
        trust_code: whether the user trusts the archive as a program.

    Raises:
        CheckpointError: for an archive that is damaged, is not trusted, or that `vtn export` did not write.
    """

    def __init__(self, path: str | Path, *, trust_code: bool) -> None:
        if not trust_code:
            raise CheckpointError(
                f"{path}: an archive of torch.export can run any code when it is opened; if you made it or "
                "trust its origin, add --trust-code (in Python: trust_code=True). ONNX files need no trust"
            )
        self._path = str(path)
        extra = {DESCRIPTION_FILE: ""}
        try:
            self._graph = torch.export.load(str(path), extra_files=extra).module()
        except Exception as error:  # torch raises errors of many types for damaged archives
            raise CheckpointError(
                f"{path}: cannot be read by torch.export: {first_line(error)}; export the model again"
            ) from error
        self.description = Description.from_texts(_entries(extra[DESCRIPTION_FILE], path), source=str(path))

    def __reduce__(self) -> tuple[Any, ...]:
        """Returns how a copy for another process is made, which opens the archive itself."""
        return partial(type(self), trust_code=True), (str(Path(self._path).absolute()),)

    @torch.no_grad()
    def __call__(self, *inputs: Tensor) -> Tensor:
        """Runs the graph, see :class:`Program`."""
        return self._graph(*inputs)


def _entries(text: str | bytes, path: str | Path) -> Mapping[str, str]:
    try:
        content = parse_json(text)
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: has no {DESCRIPTION_FILE}; export the model with `vtn export`")
    return {name: json.dumps(value) for name, value in content.items()}


def open_program(path: str | Path, *, trust_code: bool = False) -> OnnxProgram | TorchProgram:
    """Opens an exported file by its suffix, ``.onnx``, or ``.pt2`` as :class:`TorchProgram` describes."""
    if Path(path).suffix == TORCH_EXPORT:
        return TorchProgram(path, trust_code=trust_code)
    return OnnxProgram(path)
