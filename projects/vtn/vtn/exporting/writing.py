"""Traced graphs, and their files: ONNX, ``.pt2`` archives, and quantised ONNX."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from importlib.util import find_spec
from pathlib import Path

import torch
from torch.export import ExportedProgram

from slowfast.errors import ModelError, first_line
from vtn.exported.description import INPUTS
from vtn.exported.programs import DESCRIPTION_FILE
from vtn.exporting.parts import Part

# A file of ONNX has at most 2 GB; the weights of larger models lie in a second file beside it.
_LARGEST_FILE = 1_900_000_000
# Products with a matrix of weights; convolutions are slower in 8 bits with ranges found at run time.
_QUANTIZED_OPERATORS = ("MatMul", "Gemm")


def trace(part: Part) -> ExportedProgram:
    """Returns the graph of a part for any number of clips and frames.

    Raises:
        ModelError: for a network that ``torch.export`` cannot trace.
    """
    inputs = part.make_inputs()
    try:
        with torch.no_grad(), _quiet():
            return torch.export.export(part.module, inputs, dynamic_shapes=part.dynamic_shapes)
    except Exception as error:  # torch raises errors of many types, for the network's own operations
        remedy = f"use a newer torch than {torch.__version__}, another backbone, or --parts encoder"
        if "Constraints violated" in str(error):
            remedy = (
                "a layer such as nn.GRU has a graph for one number of frames; use convolutions or attention"
            )
        raise ModelError(
            f"the {part.name} cannot be traced by torch.export: {type(error).__name__}: {first_line(error)}; "
            f"{remedy}"
        ) from error


def write_torch_export(graph: ExportedProgram, part: Part, path: Path) -> None:
    """Writes a ``.pt2`` archive with the description as an extra file."""
    extra = {DESCRIPTION_FILE: json.dumps(asdict(part.description), ensure_ascii=False)}
    torch.export.save(graph, path, extra_files=extra)


def write_onnx(graph: ExportedProgram, part: Part, path: Path) -> None:
    """Writes an ONNX file with the description as metadata; large weights go to ``PATH.data``.

    Raises:
        ModelError: for operations that ONNX does not have.
    """
    try:
        with _quiet():
            program = torch.onnx.export(
                graph,
                dynamo=True,
                input_names=list(INPUTS[part.name]),
                output_names=[part.output],
                verbose=False,
            )
    except Exception as error:  # as in `trace`
        raise ModelError(
            f"the {part.name} cannot be written as ONNX: {first_line(error.__cause__ or error)}; use "
            "--format torch-export"
        ) from error
    assert program is not None  # only the older exporter, which writes a file itself, returns None
    program.model.metadata_props.update(part.description.to_texts())
    size = sum(tensor.nbytes for tensor in graph.state_dict.values())
    program.save(path, external_data=size > _LARGEST_FILE)


def write_int8(source: Path, path: Path, part: Part) -> int:
    """Writes an ONNX file with 8-bit matrices of weights; inputs of products are quantised at run time.

    Args:
        source: the ONNX file in float32.

    Returns:
        The number of quantised products; a network of convolutions may have none.

    Raises:
        ModelError: for graphs that onnxruntime cannot quantise.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    large = source.with_name(f"{source.name}.data").exists()
    try:
        with _quiet():
            quantize_dynamic(
                source,
                path,
                op_types_to_quantize=list(_QUANTIZED_OPERATORS),
                weight_type=QuantType.QInt8,
                per_channel=True,
                use_external_data_format=large,
            )
    except Exception as error:  # onnx and onnxruntime have errors of their own
        raise ModelError(
            f"the {part.name} cannot be quantised: {type(error).__name__}: {first_line(error)}"
        ) from error
    model = onnx.load(path, load_external_data=False)
    count = sum(node.op_type in ("MatMulInteger", "DynamicQuantizeMatMul") for node in model.graph.node)
    description = replace(part.description, weights_digest=f"{part.description.weights_digest}-int8")
    # In place of all entries: the quantiser has added one of its own, which is not JSON.
    onnx.helper.set_model_props(model, description.to_texts())
    onnx.save(model, path)
    return count


def require_packages() -> None:
    """Raises ``ModelError`` unless the packages for ONNX can be imported."""
    names = ("onnx", "onnxscript", "onnxruntime")
    if missing := [name for name in names if find_spec(name) is None]:
        raise ModelError(
            f"export to ONNX needs packages that are not installed ({', '.join(missing)}): pip install "
            "'slowfast-vtn[export]'"
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """Hides notes of the exporters about constants and optimisations; errors are exceptions."""
    disabled = logging.root.manager.disable
    logging.disable(max(disabled, logging.WARNING))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
