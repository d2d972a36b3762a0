"""Half precision by the bits: NumPy's own conversion, bit for bit, is what is due."""

import numpy as np
import pytest

from crossent import _half
from crossent._half import convert

ALL = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
FINITE = ALL[np.isfinite(ALL)]
LARGEST = 65504.0


def assert_converts(source, target):
    """The same bits as NumPy's, NaN included."""
    due = target.copy()
    with np.errstate(all="ignore"):
        np.copyto(due, source, casting="unsafe")
        convert(source, target)
    assert target.dtype == due.dtype
    bits = f"u{due.itemsize}"
    np.testing.assert_array_equal(
        np.ascontiguousarray(target).view(bits), np.ascontiguousarray(due).view(bits)
    )


def narrow(x):
    assert_converts(x, np.full(x.shape, 7, np.float16))


@pytest.fixture
def no_fallback(monkeypatch):
    """NumPy's conversion is not to be called: the bits are to do it."""

    def refuse(target, source, **casting):
        if {source.dtype, target.dtype} == {np.dtype(np.float16), np.dtype(np.float32)}:
            raise AssertionError("converted by NumPy")
        copyto(target, source, **casting)

    copyto = np.copyto
    monkeypatch.setattr(_half.np, "copyto", refuse)


def without_fallback(source, dtype):
    target = np.empty(source.shape, dtype)
    convert(source, target)
    return target


# ---------------------------------------------------------------------------------------
# to float32


def test_widen__every_number_there_is():
    """65,536 of them: nothing is left to chance. All at once, and the finite ones without NumPy's help."""
    assert_converts(ALL, np.empty(ALL.shape, np.float32))
    assert_converts(FINITE, np.empty(FINITE.shape, np.float32))
    for start in range(0, 1 << 16, 1024):  # each of another exponent or sign
        assert_converts(ALL[start : start + 1024], np.empty(1024, np.float32))


def test_widen__finite_numbers_do_without_numpy(no_fallback):
    """Or else it is not faster: NumPy takes one number after the other."""
    assert without_fallback(FINITE, np.float32).sum() == 0
    assert without_fallback(FINITE, np.float32).max() == LARGEST


@pytest.mark.parametrize("special", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("at", [0, 500, 999])
def test_widen__one_infinity_or_nan_among_many(special, at):
    """Their exponent is that of no finite number, and comes out as one: it must be seen wherever it is."""
    x = np.linspace(-3, 3, 1000).astype(np.float16)
    x[at] = special
    assert_converts(x, np.empty(1000, np.float32))


# ---------------------------------------------------------------------------------------
# to float16


def test_narrow__halfway_between_neighbours_and_just_beside():
    """Ties go to the even one, also between subnormal numbers and at a change of the exponent."""
    for sign in (1, -1):
        here = np.sort(np.abs(FINITE[~np.signbit(FINITE)])).astype(np.float32)
        halfway = sign * (here[:-1] + (here[1:] - here[:-1]) / 2)
        assert len(halfway) == 31743
        np.testing.assert_array_equal(np.abs(halfway) * 2, here[1:] + here[:-1])  # exactly
        narrow(halfway)
        narrow(np.nextafter(halfway, np.float32(np.inf)))
        narrow(np.nextafter(halfway, np.float32(-np.inf)))
        narrow(sign * here)


def test_narrow__numbers_within_range_do_without_numpy(no_fallback):
    """The largest number below the largest half, subnormal numbers, and both zeros."""
    x = np.nextafter(np.float32([LARGEST, -LARGEST]), np.float32(0))
    assert without_fallback(x, np.float16).tolist() == [LARGEST, -LARGEST]
    zeros = without_fallback(np.float32([0.0, -0.0, 1e-45, -1e-45]), np.float16)
    assert (zeros == 0).all()
    assert np.signbit(zeros).tolist() == [False, True, False, True]


@pytest.mark.parametrize("exponent", range(-30, 17))
def test_narrow__random_digits_of_every_exponent(exponent):
    """Below the smallest subnormal half up to what is infinite: some 40,000 of each."""
    rng = np.random.default_rng(exponent + 100)
    x = np.ldexp(rng.uniform(1, 2, 40_000), exponent) * rng.choice([-1, 1], 40_000)
    narrow(x.astype(np.float32))


def test_narrow__random_bits():
    """Float32 in all its forms, by the million; in pieces, for one NaN sends a whole piece to NumPy."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 1 << 32, 1 << 20, dtype=np.uint32).view(np.float32)
    narrow(x)
    small = x[np.abs(x) < LARGEST]
    assert len(small) > 500_000
    narrow(small)


@pytest.mark.parametrize(
    "special",
    [np.inf, -np.inf, np.nan, LARGEST, 65519.996, 65520.0, -65520.0, 1e30, np.finfo(np.float32).max],
)
@pytest.mark.parametrize("at", [0, 999])
def test_narrow__overflow_infinity_and_nan_among_many(special, at):
    """What rounds to the largest number stays finite; what is half a unit beyond is infinite."""
    x = np.linspace(-3, 3, 1000).astype(np.float32)
    x[at] = special
    narrow(x)


def test_narrow__leaves_its_source_alone():
    """It may be the caller's own logits."""
    x = np.linspace(-3, 3, 1000).astype(np.float32)
    before = x.copy()
    narrow(x)
    np.testing.assert_array_equal(x, before)


# ---------------------------------------------------------------------------------------
# memory, and other dtypes


@pytest.mark.parametrize("pair", [("float32", "float16"), ("float16", "float32")])
def test_convert__into_memory_of_any_order(pair):
    """A gradient is written where the caller's array is: strided, reversed, transposed, unaligned."""
    source = np.linspace(-70, 70, 600).astype(pair[0]).reshape(20, 30)
    for make in (
        lambda: np.zeros((20, 60), pair[1])[:, ::2],
        lambda: np.zeros((20, 30), pair[1])[::-1, ::-1],
        lambda: np.zeros((30, 20), pair[1]).T,
        lambda: (
            np.zeros(600 * 4 + 1, np.uint8)[1 : 1 + 600 * np.dtype(pair[1]).itemsize]
            .view(pair[1])
            .reshape(20, 30)
        ),
    ):
        assert_converts(source, make())
        assert_converts(source.T, make().T)
    wide = np.full((20, 60), 7, pair[1])
    convert(source, wide[:, ::2])
    assert (wide[:, 1::2] == 7).all()


@pytest.mark.parametrize("make", [lambda x: x[::2], lambda x: x[::-1], lambda x: x.reshape(10, 10).T])
@pytest.mark.parametrize("pair", [("float32", "float16"), ("float16", "float32")])
def test_convert__from_memory_of_any_order(pair, make):
    """The bits are only seen where they are neighbours."""
    source = make(np.linspace(-70, 70, 100).astype(pair[0]))
    assert_converts(source, np.empty(source.shape, pair[1]))


DTYPES = [
    "float16",
    ">f2",
    "<f2",
    "float32",
    ">f4",
    "float64",
    "longdouble",
    "int16",
    "uint16",
    "int64",
    "bool",
]


@pytest.mark.parametrize("source", DTYPES)
@pytest.mark.parametrize("target", ["float16", ">f2", "float32", ">f4", "float64"])
def test_convert__every_other_pair_of_dtypes(source, target):
    """Two bytes are not half precision yet: integers and the other byte order have as many."""
    x = np.linspace(-3, 70, 100).astype(source)
    assert_converts(x, np.empty(100, target))
    assert_converts(x[:0], np.empty(0, target))
    assert_converts(x[:1].reshape(()), np.empty((), target))


def test_convert__unaligned_sources():
    """As they come from files."""
    for pair in (("float32", "float16"), ("float16", "float32")):
        x = np.linspace(-70, 70, 100).astype(pair[0])
        memory = np.zeros(x.nbytes + 1, np.uint8)
        source = memory[1:].view(pair[0])
        source[...] = x
        assert_converts(source, np.empty(100, pair[1]))
