"""`hyperspy.signals.Signal1D`."""

from __future__ import annotations

from typing import Any

import numpy as np
from astropy import units as u

from ...datamodels import Cube
from ...errors import ShapeError
from ..units import parse_unit
from .common import KEY, build, carried, one_unit, require

__all__ = ["from_hyperspy", "to_hyperspy"]


def to_hyperspy(cube: Cube) -> Any:
    """The cube as a HyperSpy `Signal1D`: navigation axes y and x, signal axis the spectrum.

    Variances are in ``metadata.Signal.Noise_properties.variance``, where HyperSpy looks for them. An uneven spectral axis becomes a
    `DataAxis`. Mask and coordinates travel under ``metadata.vermilion``.

    Raises
    ------
    ParameterError
        If HyperSpy is not installed, or bands have several units.
    """
    signals = require("hyperspy.signals", "hyperspy")
    unit = one_unit(cube, "HyperSpy")
    spatial = [
        {"name": name, "size": size, "scale": 1.0, "offset": 0.0, "units": "pix"}
        for name, size in zip("yx", cube.data.shape[1:], strict=True)
    ]
    axes = [*spatial, _spectral(cube)]
    signal = signals.Signal1D(np.moveaxis(cube.data, 0, -1), axes=axes)
    signal.metadata.General.title = str(cube.meta.get("name", ""))
    signal.metadata.Signal.quantity = f"Intensity ({unit.to_string()})"
    if cube.variance is not None:
        variance = signals.Signal1D(np.moveaxis(cube.variance, 0, -1), axes=axes)
        signal.metadata.set_item("Signal.Noise_properties.variance", variance)
    signal.metadata.set_item(KEY, {"cube": carried(cube)[KEY]})
    return signal


def from_hyperspy(signal: Any) -> Cube:
    """The cube in a HyperSpy signal with one signal axis and at most two navigation axes.

    Raises
    ------
    ShapeError
        If it has others.
    """
    manager = signal.axes_manager
    if manager.signal_dimension != 1 or manager.navigation_dimension > 2:
        raise ShapeError(
            f"the signal has {manager.signal_dimension} signal and {manager.navigation_dimension} navigation axes: "
            "expected one, and at most two; use signal.as_signal1D."
        )
    spectral = manager.signal_axes[0]
    known = signal.metadata.get_item(f"{KEY}.cube", None)
    noise = signal.metadata.get_item("Signal.Noise_properties.variance", None)
    if noise is not None:
        noise = np.broadcast_to(np.asarray(getattr(noise, "data", noise)), signal.data.shape)
    mask = known.mask if known is not None else None
    cube = build(
        signal.data,
        source="HyperSpy",
        variance=noise,
        mask=None if mask is None or known is None or mask.size != signal.data.size else np.moveaxis(mask, 0, spectral.index_in_array),
        unit=_unit(signal),
        spectral_axis=_axis(spectral),
        spectral_index=spectral.index_in_array,
        meta={KEY: known} if known is not None else {"name": str(signal.metadata.General.title)},
    )
    return cube


def _spectral(cube: Cube) -> dict[str, Any]:
    axis = cube.frame.spectral_axis
    if axis is None:
        return {"name": "band", "size": cube.frame.n_bands, "scale": 1.0, "offset": 0.0}
    values = axis.value.astype(float)
    common = {"name": "spectrum", "units": axis.unit.to_string(), "navigate": False}
    even = np.linspace(values[0], values[-1], len(values))
    if len(values) > 1 and values[0] != values[-1] and np.allclose(even, values, rtol=1e-12, atol=0):
        step = (values[-1] - values[0]) / (len(values) - 1)
        return {**common, "size": len(values), "scale": step, "offset": values[0]}
    return {**common, "_type": "DataAxis", "axis": values}


def _axis(axis: Any) -> u.Quantity | None:
    text = str(axis.units)
    if text in ("", "<undefined>", "None"):
        return None
    return u.Quantity(np.array(axis.axis, dtype=float), parse_unit(text)[0])


def _unit(signal: Any) -> u.UnitBase:
    quantity = str(signal.metadata.get_item("Signal.quantity", ""))
    text = quantity[quantity.find("(") + 1 : quantity.rfind(")")] if "(" in quantity else ""
    return parse_unit(text)[0] if text else u.dimensionless_unscaled
