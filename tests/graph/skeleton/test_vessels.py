"""What counts as a mask, and what is refused."""

import numpy as np
import pytest

from vpbsd.errors import DataError
from vpbsd.graph.skeleton.vessels import as_vessels

EXPECTED = np.zeros((2, 3, 4), bool)
EXPECTED[0, 1, 1:3] = True


@pytest.mark.parametrize(
    ("kind", "value"),
    [(bool, 1), (np.uint8, 1), (np.uint8, 255), (np.int32, 7), (np.uint16, 40000), (np.float32, 1)],
)
def test_every_kind_of_mask_gives_the_same_vessels(kind, value):
    found = as_vessels((EXPECTED * value).astype(kind))
    assert found.dtype == bool and (found == EXPECTED).all()


def test_labels_above_zero_are_vessel():
    labels = np.array([[[0, 1, 2, 300]]], np.int64)
    assert as_vessels(labels).tolist() == [[[False, True, True, True]]]


def test_an_array_of_another_byte_order_or_stride_works():
    assert (as_vessels(EXPECTED.astype(">i2")) == EXPECTED).all()
    assert (as_vessels(EXPECTED.astype(np.uint8)[:, :, ::-1]) == EXPECTED[:, :, ::-1]).all()


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.full((2, 2, 2), 0.25), "brain holds 0.25, a value between whole numbers.*threshold"),
        (np.full((2, 2, 2), np.nan), "brain holds NaN or infinite"),
        (np.full((2, 2, 2), np.inf, np.float32), "brain holds NaN or infinite"),
        (np.full((2, 2, 2), -1), "brain holds negative values"),
        (np.zeros((2, 2)), r"brain must have three axes.*\(2, 2\)"),
        (np.zeros((1, 2, 2, 2), np.uint8), "brain must have three axes"),
        (np.zeros((2, 2, 2), complex), "brain must hold numbers"),
        (np.full((2, 2, 2), "a"), "brain must hold numbers"),
    ],
)
def test_refuses_what_is_no_mask(array, message):
    with pytest.raises(DataError, match=message):
        as_vessels(array, "brain")


def test_refuses_an_image_stored_as_floats_without_fractions():
    image = np.arange(1000).reshape(10, 10, 10)
    with pytest.raises(DataError, match=r"brain holds more than 256 different values.*integers"):
        as_vessels(image.astype(np.float32), "brain")
    assert as_vessels(image).sum() == 999


def test_refuses_an_empty_name():
    with pytest.raises(DataError, match="needs a name"):
        as_vessels(EXPECTED, " ")
