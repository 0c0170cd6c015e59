"""Writing .safetensors files tensor by tensor: beside and renamed, so that what is there stays whole, and without a second copy in memory.

The format (huggingface/safetensors): 8 bytes length of the header, little-endian; the header, JSON; the tensors' bytes one after another.
"""

from __future__ import annotations

import errno
import json
import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open

from napari_deepspace.errors import ModelError, TrainingError

_CODES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64", torch.int32: "I32",
    torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8", torch.uint64: "U64", torch.bool: "BOOL",
}  # fmt: skip
_HEADER = "header"


def save_tensors(path: Path, tensors: Mapping[str, torch.Tensor | np.ndarray], header: dict[str, Any]) -> None:
    """Write ``tensors`` and a ``header`` (fit for JSON) as ``path``.

    Raises
    ------
    TrainingError
        The disk is full or cannot be written to. What stood at ``path`` before is untouched.
    """
    path = Path(path)
    named = {name: torch.as_tensor(np.ascontiguousarray(v) if isinstance(v, np.ndarray) else v).detach() for name, v in tensors.items()}
    table: dict[str, Any] = {"__metadata__": {_HEADER: json.dumps(header)}}
    end = 0
    for name, tensor in named.items():
        begin, end = end, end + tensor.numel() * tensor.element_size()
        table[name] = {"dtype": _CODES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [begin, end]}
    text = json.dumps(table).encode("utf-8")
    text += b" " * (-len(text) % 8)
    beside = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(beside, "wb") as file:
            file.write(struct.pack("<Q", len(text)) + text)
            for tensor in named.values():
                file.write(tensor.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise cannot_write(path, error, end / 1e9) from error
    finally:
        beside.unlink(missing_ok=True)


def cannot_write(path: Path, error: OSError, size_gb: float) -> TrainingError:
    """The sentence for a file that could not be written."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return TrainingError(
            f"The disk is full: {path.name} needs {size_gb:.2f} GB in {path.parent}. What was written before is intact: free some space, then "
            "resume the run."
        )
    return TrainingError(f"{path} could not be written ({error.strerror}). What was written before is intact: mend that, then resume the run.")


def load_tensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """What :func:`save_tensors` wrote; nothing in such a file can run code.

    Raises
    ------
    ModelError
        There is no such file, or it is damaged.
    """
    try:
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
            return tensors, json.loads((file.metadata() or {}).get(_HEADER, "{}"))
    except (OSError, SafetensorError, ValueError, KeyError) as error:
        raise ModelError(f"{path} cannot be read ({type(error).__name__}: {error}). Train again, or copy the folder anew.") from error
