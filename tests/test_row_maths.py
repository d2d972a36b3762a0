"""Row maths where it branches: each branch is taken, and no digit is lost on the way into it."""

import copy
import pickle
from functools import partial

import numpy as np
import pytest

import crossent
from crossent import exact
from crossent.testing import numerical_grad, ulp_error
from crossent.testing._limits import limit


def assert_digits(z, y, **options):
    """Loss and gradient of the rows of `z` within their limits of the exact ones."""
    dtype = z.dtype.name
    grad_output = options.pop("grad_output", None)
    loss, grad = crossent.cross_entropy_value_and_grad(z, y, grad_output=grad_output, **options)
    definition = partial(exact.cross_entropy, target=y, **options)
    assert np.max(ulp_error(loss, definition(z))) <= limit("cross_entropy", dtype)
    due = numerical_grad(definition, z, grad_output=grad_output).value
    error = ulp_error(grad, due)
    normal = np.abs(due.astype(float)) >= np.finfo(dtype).tiny
    assert np.max(error[normal]) <= limit("cross_entropy_grad", dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "row",
    [
        [0.0, 20.0, -3.0],  # no shift
        [-0.5, -1.0, -3.0],  # s just below 1 and just above: with a shift and without
        [0.3, -1.0, -0.7],
        [41.0, 42.0, 43.0],  # s around its upper limits
        [44.0, 44.5, 45.0],
        [88.0, 89.0, 90.0],
        [709.0, 710.0, 700.0],
        [0.0, -63.0, -61.0],  # r around its lower limits
        [0.0, -84.0, -86.0],
        [-100.0, -160.0, -180.0],
        [0.0, -620.0, -630.0],
        [0.0, -704.0, -706.0],  # r of subnormal terms
        [1e4 + 0.1, 1e4, 1e4 - 0.3],  # the rounding of z - m
        [-12345.678, -12344.9, -12346.1],
        [60.25, -1.3, 59.1],
    ],
)
def test_cross_entropy__keeps_its_digits_on_both_sides_of_every_limit(row, dtype):
    """A shift or none, headroom or none: chosen by row, invisible in the result."""
    z = np.array([row] * 3, dtype)
    assert_digits(z, np.arange(3), reduction="none")


@pytest.mark.parametrize(("dtype", "z"), [("float32", -92.0), ("float64", -714.0)])
def test_cross_entropy__a_sum_of_many_subnormal_terms_keeps_its_digits(dtype, z):
    """300 classes at exp(-714), each subnormal: their sum is a normal number and the loss."""
    z = np.full((1, 300), z, dtype)
    z[0, 7] = 0
    loss = crossent.cross_entropy(z, [7])
    assert ulp_error(loss, exact.cross_entropy(z, [7])) <= limit("cross_entropy", dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_cross_entropy__weights_and_means_keep_their_digits(dtype):
    """Weight, cotangent and divisor go into one quotient a row, with and without a shift."""
    z = np.array([[0, 20, -3], [0, 2.0**-40, -60], [1e4, 1e4 - 1, 9e3], [0.3, -1, -0.7]], dtype)
    w = np.array([0.3, 3, 0.7], dtype)
    assert_digits(z, [0, 1, 1, 2], weight=w)
    assert_digits(z, [1, 0, 1, 2], weight=w, reduction="none", grad_output=np.array([0.1, -3, 7, 11], dtype))
    q = np.array([[0.25, 0.5, 0.25], [0, 1, 0], [0.125, 0.375, 0.5], [1, 0, 0]], dtype)
    where = np.array([True, False, True, True])
    assert_digits(z, q, where=where, reduction="mean")
    assert (crossent.cross_entropy_grad(z, q, where=where)[1] == 0).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_cross_entropy__a_label_far_below_the_others_keeps_its_digits(dtype):
    """Its term vanishes beside the sum, or altogether: the loss is the distance and log(s)."""
    top = np.finfo(dtype).max
    z = np.array([[0, -400, -400], [1, -800, 0.5], [1000, 0, 990], [-2e4, -1e4, -1e4]], dtype)
    w = np.array([0.7, 3, 0.3], dtype)
    assert_digits(z, [1, 1, 1, 0], reduction="none")
    assert_digits(z, [1, 1, 1, 0], reduction="none", weight=w)
    z = np.array([[0.75 * top, -0.75 * top], [0, -np.inf], [0, -np.inf]], dtype)
    loss = crossent.cross_entropy(z[:2], [1, 1], weight=np.array([1, 0.25], dtype), reduction="none")
    np.testing.assert_array_equal(loss, [0.375 * top, np.inf])  # 1.5 times the largest number overflows
    assert (crossent.cross_entropy(z, [1, 1, 1], weight=[1, 0], reduction="none") == 0).all()


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.longdouble])
def test_rows__neighbours_of_every_kind_leave_a_row_its_bits(dtype, order):
    """No shift, a shift, and one with headroom, side by side in one block and each by itself."""
    kinds = [
        [0, 1, 2],
        [-400, -401, -403],
        [0, -704, -706],
        [1000, 294, 200],
        [1e4, 1e4, -1e4],
        [0, -650, -640],
        [0, -400, 1],
    ]
    z = np.array(kinds * 3 + kinds[2:3] * 2 + kinds[1:2], dtype)
    y, g = np.arange(len(z)) % 3, np.sin(np.arange(z.size)).reshape(z.shape).astype(dtype)
    z = np.asarray(z, order=order)
    for f in (
        lambda a, b, c: crossent.cross_entropy_value_and_grad(a, b, reduction="none"),
        lambda a, b, c: (crossent.softmax(a), crossent.log_softmax(a)),
        lambda a, b, c: (crossent.softmax_grad(a, grad_output=c), crossent.logsumexp(a)),
        lambda a, b, c: (crossent.log_softmax_grad(a, grad_output=c), crossent.logsumexp_grad(a)),
    ):
        together = f(z, y, g)
        for i in range(len(z)):
            alone = f(z[i : i + 1], y[i : i + 1], g[i : i + 1])
            for a, b in zip(together, alone, strict=True):
                np.testing.assert_array_equal(a[i], b[0], strict=True)


@pytest.mark.parametrize(("dtype", "g"), [(np.float32, 1e-25), (np.float64, 1e-300)])
def test_cross_entropy_grad__a_small_cotangent_of_large_terms_keeps_its_digits(dtype, g):
    """1 / s times the cotangent is subnormal, the gradient's entries are not."""
    z = np.array([[40.0, 41.0, 38.0]], dtype)
    assert_digits(z, [1], grad_output=dtype(g))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_cross_entropy__a_row_may_need_a_shift_beside_one_that_does_not(dtype):
    """Rows are told apart by the row alone: the bits of the others stay as they were."""
    rng = np.random.default_rng(0)
    z = rng.standard_normal((20, 200)).astype(dtype)
    plain = crossent.cross_entropy_value_and_grad(z, np.arange(20), reduction="none")
    z[3], z[8, 5], z[9, 9] = -400, np.nan, np.inf
    mixed = crossent.cross_entropy_value_and_grad(z, np.arange(20), reduction="none")
    others = np.setdiff1d(np.arange(20), [3, 8, 9])
    for a, b in zip(plain, mixed, strict=True):
        np.testing.assert_array_equal(a[others], b[others])
    assert np.isnan(mixed[0][[8, 9]]).all()
    np.testing.assert_allclose(mixed[0][3], np.log(200))


def test_rows__large_blocks_of_every_kind_are_as_small_ones():
    """The shifted rows of a block may need memory that is kept: not where the others' exponentials lie."""
    z = 3 * np.random.default_rng(1).standard_normal((2000, 40))
    kind = np.arange(2000) % 13 % 3  # a shift, one with headroom, and none for 4 of 13
    z[kind == 0] -= 400
    z[kind == 1, 0] = 0
    z[kind == 1, 1:] -= 705
    y, g = np.arange(2000) % 40, np.cos(z)

    def results(part):
        x = z[part]
        value, grad = crossent.cross_entropy_value_and_grad(x, y[part], reduction="none")
        return value, grad, crossent.softmax(x), crossent.log_softmax_grad(x, grad_output=g[part])

    whole = results(slice(None))
    for start in range(0, 2000, 100):
        part = slice(start, start + 100)
        for a, b in zip(whole, results(part), strict=True):
            np.testing.assert_array_equal(a[part], b)


def test_out__an_overlap_too_hard_to_rule_out_counts_as_one(monkeypatch):
    """Better a refusal than an input that changes while it is read."""
    memory = np.zeros(400)
    x, out = memory[0:200:2].reshape(10, 10), memory[1:200:2].reshape(10, 10)
    crossent.softmax_grad(x, out=out)  # interleaved: no overlap
    monkeypatch.setattr("crossent._arguments._OVERLAP_WORK", 1)
    a = np.lib.stride_tricks.as_strided(memory, (5, 7), (8 * 13, 8 * 11))
    b = np.lib.stride_tricks.as_strided(memory[3:], (5, 7), (8 * 17, 8 * 19))
    with pytest.raises(ValueError, match="overlaps"):
        crossent.softmax_grad(a, out=b)


def test_dtype__what_is_no_dtype_is_refused():
    """A wrong name must not surface as an error from the middle of NumPy."""
    with pytest.raises(TypeError, match="floating dtype"):
        crossent.softmax([0.0], dtype="float33")


def test_logsumexp__reduces_a_single_number():
    """As SciPy and PyTorch do."""
    for axis in (-1, 0, None, ()):
        assert crossent.logsumexp(3.0, axis) == 3
        assert crossent.logsumexp_grad(3.0, axis, grad_output=2.0) == 2


@pytest.mark.parametrize("make", [copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_objects__copies_are_equal_and_as_read_only(make):
    """A loss that goes to another process is the same loss."""
    loss = crossent.CrossEntropyLoss([1.0, 2.0], label_smoothing=0.1)
    again = make(loss)
    assert again == loss
    assert not again.weight.flags.writeable


h = float.fromhex


@pytest.mark.parametrize(
    ("z", "target", "weight", "smoothing"),
    [
        (
            ["0x1.3122c19a9c5f5p-3", "0x1.55f2bddc6528bp-4"],
            1,
            ["0x1.fc5686335ea82p-2", "0x1.63af27231ebecp+1"],
            0.1,
        ),
        (
            ["-0x1.6674e84a3b1a7p-5", "0x1.21171baf42f68p-5", "0x1.549c677c5390dp-4"],
            1,
            ["0x1.5880b5c3a0082p+1", "0x1.dd37b0c9c3868p+1", "0x1.1d143efd3069dp+1"],
            0.1,
        ),
        (
            ["0x1.c1aa0541db6f2p+1", "0x1.88f6813f7f233p+0", "0x1.94cf0b6ee9c5ap+2"],
            2,
            ["0x1.c5255aa10fecbp+0", "0x1.22fe08e145dd4p+0", "0x1.d8fc0308b3c06p-1"],
            0.0,
        ),
        (
            ["0x1.22efd334c12edp+1", "-0x1.27fc63674a628p-1", "-0x1.0e3da29ac71dbp+1"],
            0,
            ["0x1.c493ea504d416p+0", "0x1.879513d699ee4p+0", "0x1.74aca0134e99cp+1"],
            0.0,
        ),
    ],
)
def test_cross_entropy__rows_whose_roundings_once_added_up_beyond_the_limit(z, target, weight, smoothing):
    """Found by search among millions: each was over 4 ulp when a rounding was not put back, or wrongly."""
    z = np.array([list(map(h, z))])
    options = {"weight": np.array(list(map(h, weight))), "label_smoothing": smoothing, "reduction": "none"}
    assert_digits(z, [target], **options)
