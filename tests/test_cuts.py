"""Classes in pieces: a position with more classes than a block holds keeps its digits and special values.

Real pieces are of a megabyte; here they are of a few numbers, so that exact arithmetic can follow.
"""

import itertools
from decimal import Decimal

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

import crossent
from crossent import _blocks
from crossent.testing import LAWS
from crossent.testing import measure as meter
from crossent.testing._subject import Subject
from crossent.testing.adapters import adapt
from laws import (
    CLASS_LOSSES,
    ROWS,
    Call,
    assert_bitwise,
    assert_ulp,
    exact,
    in_context,
    laws_of,
    package,
    value_and_grad_are_value_and_grad,
)
from outcomes import assert_same_outcomes, inputs, outcomes
from strategies import calls, in_layout

nan, inf = np.nan, np.inf
FUNCTIONS = (*CLASS_LOSSES, *ROWS)
dtypes = pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])


def cut_to(monkeypatch, classes, dtype="float64"):
    """Pieces of so many classes of this dtype, and of one position."""
    monkeypatch.setattr(_blocks, "CUT_BYTES", classes * max(4, np.dtype(dtype).itemsize))
    monkeypatch.setattr(_blocks, "BLOCK_BYTES", 1)


def assert_exact(function, x, *arguments, **options):
    """Value and gradient within their limits of the exact ones, special values included."""
    g = options.pop("grad_output", None)
    call, f = Call(function, x, *(arguments or (None,)), options, g), package(function)
    Subject(function, f.value, f.grad, frozenset((*options, "grad_output"))).check(call)
    if f.value_and_grad is not None:
        value_and_grad_are_value_and_grad(f, call)


# ---------------------------------------------------------------------------------------
# the laws and the meter, in pieces


@pytest.mark.parametrize(
    ("function", "law"),
    [pytest.param(name, law, id=f"{name}-{law.name}") for name in FUNCTIONS for law in laws_of(name)],
)
@settings(max_examples=6)
@given(data=st.data())
def test_cuts__every_law_holds(function, law, data):
    """A piece more or less is a matter of memory, not of meaning."""
    classes = data.draw(st.sampled_from([1, 2, 3]))
    call = data.draw(calls(function, **law.draws))
    with pytest.MonkeyPatch.context() as patch:
        cut_to(patch, classes, call.result)
        law.check(package(function), call)


@pytest.mark.parametrize("classes", [1, 3])
@pytest.mark.parametrize("function", FUNCTIONS)
def test_cuts__every_law_of_the_kit_holds(monkeypatch, function, classes):
    """They are about many rows and many classes as well, which would be as many pieces."""
    cut_to(monkeypatch, classes)
    laws = [law for law in LAWS if law.most is None or law.most > 5]
    report = adapt("crossent", function).conforms(laws=laws, max_examples=4, seed=classes)
    assert report.ok, report.text()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("regime", ["scale 10", "ties", "masked", "thresholds of exp", "mixed rows"])
def test_cuts__every_function_keeps_its_digits(monkeypatch, regime, dtype):
    """The meter's inputs, where the largest term, the label and what cancels lie in different pieces."""
    monkeypatch.setattr(meter, "CLASSES", (11,))
    cut_to(monkeypatch, 4, dtype)
    names = [
        f for f in meter.FUNCTIONS if not f.startswith(("soft" + "plus", "log_sigmoid", "sigmoid", "bin"))
    ]
    cells = meter.measure(names, dtypes=[dtype], regimes=[regime], size=44)
    assert {cell.function for cell in cells} == set(names)
    assert [cell for cell in cells if not cell.ok] == []


# ---------------------------------------------------------------------------------------
# what lies in which piece

Z = np.array([0.5, -1.0, 2.0, 0.25, -3.0, 1.5, 0.0])


@dtypes
@pytest.mark.parametrize("y", range(7))
def test_cuts__the_label_in_any_piece(monkeypatch, dtype, y):
    """Its term is left out of the sum of one piece, and put into the gradient of that one."""
    cut_to(monkeypatch, 3, dtype)
    z = np.stack([Z, Z[::-1], Z - 400]).astype(dtype)
    labels, w = np.array([y, (y + 3) % 7, 6 - y]), np.linspace(0.5, 2, 7).astype(dtype)
    assert_exact("cross_entropy", z, labels, reduction="none")
    assert_exact("cross_entropy", z, labels, weight=w)
    assert_exact("cross_entropy", z, labels, weight=w, label_smoothing=0.1, reduction="sum")
    assert_exact("cross_entropy", z, labels, ignore_index=y)
    assert_exact("cross_entropy", z, labels, where=np.array([True, False, True]), label_smoothing=0.3)
    assert_exact("nll_loss", z, labels, weight=w)


@dtypes
@pytest.mark.parametrize("special", [nan, inf, -inf])
@pytest.mark.parametrize("at", range(7))
def test_cuts__a_special_value_in_any_piece(monkeypatch, dtype, special, at):
    """A NaN that only the last piece sees makes the whole row NaN; a masked class makes nothing of it."""
    cut_to(monkeypatch, 3, dtype)
    z = np.stack([Z, Z]).astype(dtype)
    z[0, at] = special
    q = np.full((2, 7), 1 / 8, dtype)
    q[:, at] = 0
    for function in ROWS:
        assert_exact(function, z, axis=1)
        assert_exact(
            function, z, axis=1, grad_output=np.ones(2 if function == "logsumexp" else (2, 7), dtype)
        )
    assert_exact("cross_entropy", z, np.array([(at + 4) % 7, 1]), reduction="none")
    assert_exact("cross_entropy", z, np.array([at, 1]), reduction="none")
    assert_exact("cross_entropy", z, q, reduction="none")
    assert_exact("cross_entropy", z, np.array([at, 1]), where=np.array([False, True]))
    assert_exact("nll_loss", z, np.array([at, 1]), reduction="none")


@dtypes
@pytest.mark.parametrize("pair", list(itertools.combinations(range(5), 2)))
def test_cuts__a_tie_for_the_largest_in_two_pieces(monkeypatch, dtype, pair):
    """One of the two is the class kept apart: the first, and in no piece both or none."""
    cut_to(monkeypatch, 2, dtype)
    for top in (3.0, 900.0, -900.0):
        z = np.full((1, 5), top - 1).astype(dtype)
        z[0, list(pair)] = top
        for function in ROWS:
            assert_exact(function, z, axis=1)
        assert_exact("softmax", z, axis=1, grad_output=np.eye(5, dtype=dtype)[pair[1]][np.newaxis])
        assert_exact("log_softmax", z, axis=1, grad_output=np.eye(5, dtype=dtype)[pair[1]][np.newaxis])
        assert_exact("cross_entropy", z, np.eye(5, dtype=dtype)[pair[1]][np.newaxis])


@pytest.mark.parametrize("specials", list(itertools.product([nan, inf, -inf, 7.0], repeat=2)))
def test_cuts__logsumexp_of_special_values_in_two_pieces(monkeypatch, specials):
    """NaN before inf before numbers before -inf, whichever comes first."""
    cut_to(monkeypatch, 2)
    for first, second in itertools.permutations(range(5), 2):
        z = np.full((1, 5), -inf)
        z[0, first], z[0, second] = specials
        assert_exact("logsumexp", z, axis=1)


@pytest.mark.parametrize("at", range(5))
def test_cuts__the_largest_is_the_first_nan_or_else_the_first_of_the_largest(monkeypatch, at):
    """As `argmax` has it for the whole row."""
    rows = []

    def largest(z):
        rows.append((*z.largest(), z[z.cuts[0]].shape))
        return rows[-1][1]

    for fill, special in itertools.product((0.0, inf, -inf), (nan, inf, 1.0)):
        z = np.full((5, 1), fill, np.float32)
        z[at:] = special
        rows.clear()
        with pytest.MonkeyPatch.context() as patch:
            cut_to(patch, 2, "float32")
            value = np.empty(1)
            operand = _blocks.Operand(z, z.dtype, 1)
            _blocks.sweep(largest, [operand], (1,), sink=_blocks.Operand(value, np.dtype(float)))
        [(k, m, shape)] = rows
        assert shape == (2, 1)
        assert k == z.argmax(axis=0)
        assert_bitwise(m, z[k[0]])


# ---------------------------------------------------------------------------------------
# results of a block's own memory, and of none


@dtypes
def test_cuts__same_bits_in_any_layout_block_and_number_of_threads(monkeypatch, dtype):
    """A sum's bits depend on where the classes are cut, and on nothing else."""
    shape, axis = (3, 23, 2), 1
    z, y = inputs(shape, axis, dtype)
    cut_to(monkeypatch, 5, dtype)
    whole = outcomes(z, y, axis)
    for layout in ("fortran", "strided", "reversed", "byte-swapped", "unaligned"):
        assert_same_outcomes(outcomes(z, y, axis, lambda a, layout=layout: in_layout(a, layout)), whole)
    monkeypatch.setattr(_blocks, "THREAD_BYTES", 0)
    monkeypatch.setattr(_blocks, "ELEMENT_BYTES", 64)
    with crossent.set_num_threads(3):
        assert_same_outcomes(outcomes(z, y, axis), whole)


@pytest.mark.parametrize(("shape", "axis"), [((7, 40), 1), ((40, 7), 0), ((3, 40, 2), 1), ((40,), 0)])
def test_cuts__same_bits_wherever_the_class_axis_lies(monkeypatch, shape, axis):
    """The pieces are of neighbouring classes, also where memory has them far apart."""
    cut_to(monkeypatch, 6, "float32")
    z, y = inputs(shape, axis)
    last = np.ascontiguousarray(np.moveaxis(z, axis, -1)).reshape(-1, shape[axis])
    value, grad = crossent.cross_entropy_value_and_grad(z, y, axis=axis, label_smoothing=0.1)
    value_last, grad_last = crossent.cross_entropy_value_and_grad(last, y.ravel(), label_smoothing=0.1)
    assert_bitwise(value, value_last)
    assert_bitwise(np.moveaxis(grad, axis, -1).reshape(last.shape), grad_last)


@dtypes
def test_cuts__out_in_place_of_any_input(monkeypatch, dtype):
    """A piece is read again for the gradient: it must not have been written by then."""
    cut_to(monkeypatch, 4, dtype)
    z, y = inputs((5, 11), 1, dtype)
    q = np.abs(np.sin(z))
    for function, arguments, options in (
        (crossent.cross_entropy_value_and_grad, (z, y), {}),
        (crossent.cross_entropy_value_and_grad, (z, y), {"label_smoothing": 0.1, "weight": np.arange(11.0)}),
        (crossent.cross_entropy_value_and_grad, (z, q), {}),
        (crossent.cross_entropy_value_and_grad, (z, q), {"label_smoothing": 0.1, "reduction": "none"}),
        (crossent.nll_loss_value_and_grad, (z, y), {}),
    ):
        value, grad = function(*arguments, **options)
        for place, array in enumerate(arguments):
            if array.shape != z.shape:
                continue
            own = [a.copy() for a in arguments]
            got, same = function(*own, **options, out=own[place])
            assert same is own[place]
            assert_bitwise(got, value)
            assert_bitwise(same, grad)
    for function in (crossent.softmax_grad, crossent.log_softmax_grad):
        due = function(z, grad_output=q)
        for place in range(2):
            own = [z.copy(), q.copy()]
            assert_bitwise(function(own[0], grad_output=own[1], out=own[place]), due)
    own = z.copy()
    assert_bitwise(crossent.logsumexp_grad(own, None, out=own), crossent.logsumexp_grad(z, None))


@dtypes
@pytest.mark.parametrize("axes", [None, (0, 1), (0, 2), (2, 0), (1, 2), (0, 1, 2)])
@pytest.mark.parametrize("classes", [1, 2, 5, 7, 30])
def test_cuts__logsumexp_over_several_axes(monkeypatch, dtype, axes, classes):
    """Pieces of several axes at once: slices of one axis, and the axes behind it whole."""
    cut_to(monkeypatch, classes, dtype)
    z = inputs((4, 3, 5), 1, dtype)[0]
    summed = (0, 1, 2) if axes is None else axes
    kept = [i for i in range(3) if i not in summed]
    rows = z.transpose(*kept, *summed).reshape([*(z.shape[i] for i in kept), -1])
    g = np.linspace(0.5, 2, rows.size // rows.shape[-1]).astype(dtype).reshape(rows.shape[:-1])
    due = exact(Call("logsumexp", rows, None, {"axis": -1}, g))
    for layout in ("contiguous", "fortran", "reversed"):
        x = in_layout(z, layout)
        value = crossent.logsumexp(x, axes)
        grad = crossent.logsumexp_grad(x, axes, grad_output=g)
        assert_ulp("logsumexp", value, due.value, scale=due.value_scale, least=due.value_least)
        grad = grad.transpose(*kept, *summed).reshape(rows.shape)
        assert_ulp("logsumexp_grad", grad, due.grad, scale=due.grad_scale, least=due.grad_least)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("most", [1, 2, 3, 5, 6, 7, 29, 30, 31])
@pytest.mark.parametrize("classes", [(), (1,), (7,), (5, 6), (2, 3, 5), (5, 1, 1), (3, 0)])
def test_cuts__cover_each_class_once_in_order(classes, most, dtype):
    """A class left out or counted twice would be a wrong sum; out of order, another class's weight."""
    number = np.arange(int(np.prod(classes)), dtype=dtype).reshape(classes)
    seen = []
    for cut in _blocks._cuts(classes, most):
        part = number[cut.at]
        assert part.size == cut.stop - cut.start <= max(most, 0 if cut.whole else 1)
        assert cut.start == len(seen)
        assert part.ndim == number.ndim  # class axes are counted
        seen += part.ravel().tolist()
    assert seen == number.ravel().tolist()


# ---------------------------------------------------------------------------------------
# pieces of the real size


@dtypes
@in_context
def test_cuts__logsumexp_over_several_axes_in_real_pieces(dtype):
    """Once an error: a cut through the second of two class axes lost the first."""
    x = np.zeros((2, 1 << 18, 2), dtype)
    for axes, n in ((None, 1 << 20), ((0, 1), 1 << 19), ((2, 1), 1 << 19)):
        value = np.ravel(crossent.logsumexp(x, axes))
        assert_ulp("logsumexp", value, np.full(value.shape, Decimal(n).ln()))
        grad = crossent.logsumexp_grad(x, axes)
        assert grad.shape == x.shape
        ends = np.array([grad.min(), grad.max()])
        assert_ulp("logsumexp_grad", ends, np.full(2, 1 / Decimal(n)))


@in_context
def test_cuts__a_row_of_four_million_classes_keeps_its_digits():
    """Sixteen real pieces. Three different logits are enough for an exact sum in decimals."""
    K = 1 << 22
    z = np.zeros((1, K), np.float32)
    z[0, ::3], z[0, K - 5] = -1.5, 4.25
    counts = {0.0: K - len(z[0, ::3]), -1.5: len(z[0, ::3]), 4.25: 1}
    counts[float([0.0, -1.5][(K - 5) % 3 == 0])] -= 1
    assert K - 5 >= _blocks.CUT_BYTES // 4
    total = sum(n * Decimal(v).exp() for v, n in counts.items())
    lse = total.ln()
    assert_ulp("logsumexp", crossent.logsumexp(z), np.array([lse]))
    for y in (0, 1, 1 << 20, K - 5, K - 1):
        value, grad = crossent.cross_entropy_value_and_grad(z, [y])
        assert_ulp("cross_entropy", value, np.array(lse - Decimal(float(z[0, y]))))
        places = np.array([0, 1, (1 << 18) - 1, 1 << 18, K - 5, K - 1])
        due = np.array([Decimal(float(v)).exp() / total for v in z[0, places]])
        due[places == y] = (Decimal(float(z[0, y])).exp() - total) / total
        assert_ulp("cross_entropy_grad", grad[0, places], due)
    w = np.full(K, 0.5)
    smooth = crossent.cross_entropy(z, [K - 1], weight=w, label_smoothing=0.25)
    mean = sum(n * (lse - Decimal(v)) for v, n in counts.items()) / K
    label = lse - Decimal(float(z[0, K - 1]))
    assert_ulp("cross_entropy", smooth, np.array((3 * label + mean) / 4))
