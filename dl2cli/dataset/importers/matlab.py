"""MATLAB files, as Stanford Cars and ImageNet publish their annotations; scipy reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from dl2cli.errors import DataError, MissingDependency, UsageError, system_failure


def read_struct_array(path: Path, variable: str, fields: tuple[str, ...]) -> list[dict[str, Any]]:
    """Return the elements of an array of structs, each with the given fields as plain values.

    Raises:
        UsageError: there is no such file.
        DataError: it is not a MATLAB file, or has no such variable or field.
        StorageError: the system cannot read it.
        MissingDependency: scipy is not installed.
    """
    array = _load(path, variable)
    elements = np.atleast_1d(array).ravel()
    names = elements.dtype.names or ()
    missing = [field for field in fields if field not in names]
    if missing:
        there = ", ".join(names) or "none"
        raise DataError(f"{path}: {variable} has no field {missing[0]!r}; its fields are {there}.")
    return [{field: _plain(element[field]) for field in fields} for element in elements]


def read_strings(path: Path, variable: str) -> list[str]:
    """Return the texts of a cell array. Raises as `read_struct_array` does."""
    return [str(_plain(cell)) for cell in np.atleast_1d(_load(path, variable)).ravel()]


def _load(path: Path, variable: str) -> np.ndarray[Any, Any]:
    try:
        from scipy.io import loadmat
    except ImportError as error:
        raise MissingDependency("scipy", "mat-files") from error
    try:
        content = loadmat(path, variable_names=[variable], appendmat=False)
    except FileNotFoundError:
        raise UsageError(f"There is no {path}, which names the images and their classes.") from None
    except OSError as error:
        raise system_failure(path, error) from error
    except Exception as error:  # scipy has no base of its own for damaged files
        raise DataError(f"{path} is not a MATLAB file that scipy can read: {error}.") from error
    if variable not in content:
        raise DataError(f"{path} holds no variable {variable!r}.")
    array: np.ndarray[Any, Any] = content[variable]
    return array


def _plain(value: Any) -> Any:  # noqa: ANN401 - MATLAB nests scalars and texts in arrays
    while isinstance(value, np.ndarray) and value.size == 1:
        value = value.item()
    return value
