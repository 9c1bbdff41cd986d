"""Filters that answer to tubes, in 3D or plane by plane, and what their input must be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.filters import frangi, sato

from vpbsd.errors import DataError, IntensityError

__all__ = ["finite_volume", "frangi_response", "require_contrast", "sato_response"]

SIGMAS_3D_VOXELS = (1.0, 2.0, 3.0)
SIGMAS_PER_PLANE_VOXELS = (1.0, 2.0, 4.0)


def sato_response(
    image: NDArray[Any], *, per_plane: bool = False, sigmas_voxels: Sequence[float] | None = None
) -> NDArray[np.float32]:
    """Filter an image for bright tubes at several widths.

    Sato et al. (1998), as in scikit-image: the largest response over the widths, each from
    the eigenvalues of the Hessian at that scale.

    Parameters
    ----------
    image
        (z, y, x).
    per_plane
        Filter each (y, x) plane by itself: for planes so thick that vessels do not continue
        smoothly from one to the next.
    sigmas_voxels
        Widths in voxels; by default 1, 2, 3, or 1, 2, 4 per plane.

    Returns
    -------
    ndarray
        (z, y, x), 0 where nothing is tube-like; linear in the intensity.

    Raises
    ------
    DataError
        If the image is not (z, y, x), or its values are not finite.
    """
    default = SIGMAS_PER_PLANE_VOXELS if per_plane else SIGMAS_3D_VOXELS
    sigmas = tuple(sigmas_voxels) if sigmas_voxels is not None else default
    return _filtered(image, lambda part: sato(part, sigmas=sigmas, black_ridges=False), per_plane)


def frangi_response(
    image: NDArray[Any], *, per_plane: bool = False, sigmas_voxels: Sequence[float]
) -> NDArray[np.float32]:
    """Filter an image for bright tubes that are neither plates nor blobs, at several widths.

    Frangi et al. (1998), as in scikit-image with the weights of the paper: alpha = beta = 1/2 and
    half the largest Hessian norm at each width, which makes responses of 0 to 1 whatever the
    scale of the intensity.

    Parameters
    ----------
    image
        (z, y, x).
    per_plane
        As of `sato_response`.
    sigmas_voxels
        Widths in voxels.

    Raises
    ------
    DataError
        If the image is not (z, y, x), or its values are not finite.
    """
    sigmas = tuple(sigmas_voxels)
    return _filtered(image, lambda part: frangi(part, sigmas=sigmas, black_ridges=False), per_plane)


def _filtered(
    image: NDArray[Any], apply: Callable[[NDArray[np.float32]], NDArray[Any]], per_plane: bool
) -> NDArray[np.float32]:
    values = finite_volume(image).astype(np.float32)
    if not per_plane:
        return np.asarray(apply(values), dtype=np.float32)
    response = np.empty_like(values)
    for z, plane in enumerate(values):
        response[z] = apply(plane)
    return response


def require_contrast(values: NDArray[Any]) -> None:
    """Check that a threshold can part anything in a volume.

    Raises
    ------
    IntensityError
        If it is empty or constant.
    """
    if not values.size or values.min() == values.max():
        raise IntensityError(
            "the volume to threshold is constant, so that no threshold can part vessels from "
            "background: the image is probably empty or was cut outside the tissue"
        )


def finite_volume(values: NDArray[Any]) -> NDArray[Any]:
    """Return ``values`` as an array, checked to be one (z, y, x) volume of finite numbers.

    Raises
    ------
    DataError
        If it is not (z, y, x), or not finite.
    """
    volume = np.asarray(values)
    if volume.ndim != 3:
        raise DataError(
            f"classical filters and thresholds need one (z, y, x) volume, got shape "
            f"{volume.shape}: pick one channel"
        )
    if not np.isfinite(volume).all():
        raise IntensityError(
            f"{int((~np.isfinite(volume)).sum())} of {volume.size} voxels are NaN or infinite: "
            "repair what made the image, or replace them"
        )
    return volume
