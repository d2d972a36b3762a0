"""Every law of the kit is tried on implementations that are wrong on purpose, and must find them.

`honest` is the exact answer, rounded: it keeps all laws. Each planted bug changes one thing in it, or is a
usual formula, and is found in a run of the kit by the law whose sentence describes it.
"""

from dataclasses import replace

import numpy as np
import pytest

import bugs_of_size
import crossent
import crossent.testing.conformance as kit
from crossent.testing import LAWS, Call, conformance_report
from crossent.testing._calls import BINARY, CLASS_LOSSES, LOSSES, SPECS
from crossent.testing._trials import subject
from crossent.testing._truth import exact

EXAMPLES = 150


def _rounded(numbers, dtype):
    with np.errstate(all="ignore"):
        return np.array([float(v) for v in np.ravel(numbers)]).reshape(np.shape(numbers)).astype(dtype)


def _checked(call):
    """Refuse what the contract refuses."""
    if call.function in CLASS_LOSSES and call.index:
        K = call.x.shape[call.axis]
        if call.target.shape != call.positions:
            raise ValueError("shapes")
        live = call.rows.live
        y = call.target.ravel().astype(object)[live]
        if np.any((y < 0) | (y >= K)):
            raise IndexError("labels")
    elif call.target is not None and call.target.shape != call.x.shape:
        raise ValueError("shapes")
    s = call.options.get("label_smoothing", 0)
    if not 0 <= s <= 1:
        raise ValueError("label_smoothing")


def honest(name, *, change=None, value=None, grad=None, check=_checked, sees=None):
    """The exact answer, rounded. `change` edits the call, `value` and `grad` the results, `sees` the
    arguments.
    """

    def prepare(arguments, options, grad_output=None):
        arguments = sees(arguments) if sees else arguments
        x, *target = (np.asarray(a) for a in arguments)
        options = {k: v for k, v in options.items() if v is not None}
        call = Call(name, x, target[0] if target else None, options, grad_output)
        check(call)
        return (change(call) if change else call), call

    def several(options):
        return name == "logsumexp" and not isinstance(options.get("axis", -1), int)

    def to_value(*arguments, **options):
        if several(options):
            return _over_several(to_value, *arguments, **options)
        used, call = prepare(arguments, options)
        result = _rounded(exact(used).value, call.result)
        return value(call, result) if value else result

    def to_grad(*arguments, grad_output=None, **options):
        if several(options):
            return _over_several(to_grad, *arguments, **options, grad=True)
        used, call = prepare(arguments, options, grad_output)
        result = _rounded(exact(used).grad, call.result)
        return grad(call, result) if grad else result

    return to_value, to_grad


def _over_several(f, x, *, axis, keepdims=False, grad=False):
    """Several axes as the one that they make."""
    summed = range(x.ndim) if axis is None else [a % x.ndim for a in axis]
    kept = [i for i in range(x.ndim) if i not in summed]
    moved = np.moveaxis(x, kept, range(len(kept)))
    result = f(moved.reshape(*moved.shape[: len(kept)], -1))
    if grad:
        return np.moveaxis(result.reshape(moved.shape), range(len(kept)), kept)
    return np.expand_dims(result, tuple(summed)) if keepdims else result


def run(name, functions, laws=None, examples=EXAMPLES, dtypes=("float32", "float64"), seed=3):
    f, g = functions
    return conformance_report(f, name, grad=g, laws=laws, max_examples=examples, seed=seed, dtypes=dtypes)


@pytest.mark.parametrize("name", SPECS)
def test_laws__accept_an_honest_implementation(name):
    """A law that rejects the exact answer, rounded, is no law."""
    # 70,000 rows or classes are too many for decimals
    long = ("long_sums_survive", "many_rows_are_rows", "many_positions_are_rows", "many_classes_are_classes")
    laws = [law for law in LAWS if law.name not in long]
    report = run(name, honest(name), laws, examples=3, dtypes=("float16", "float32", "float64"))
    assert report.ok, report.text()
    assert report.keeps_digits


# ---------------------------------------------------------------------------------------
# planted bugs


def _like(value, result):
    return np.asarray(value, result.dtype)


def _option(name, make):
    """Edit an option, where there is one."""

    def change(call):
        v = call.options.get(name)
        return call if v is None else call.having(**{name: make(call, v)})

    return change


def _only(condition, edit):
    """Edit the result only where the call fits."""

    def change(call, result):
        return edit(call, result) if condition(call) else result

    return change


def _mean(call):
    return call.function in LOSSES and call.reduction == "mean"


def _count(call):
    return max(int(np.prod(call.positions)), 1)


def _live_count(call):
    return max(int(call.rows.live.sum()), 1)


def _flat(call, grad):
    return np.moveaxis(grad, call.axis, -1) if call.axis is not None else grad


def _at_dead(value):
    """Ignored positions get something."""

    def change(call, grad):
        rows = call.rows
        dead = ~rows.live.reshape(call.positions)
        if np.isnan(value):  # 0 * NaN: the mask multiplies
            bad = ~np.isfinite(rows.x)
            bad = bad.any(axis=1) if bad.ndim == 2 else bad
            dead = dead & bad.reshape(call.positions)
        grad = grad.copy()
        _flat(call, grad)[dead] = value
        return grad

    return change


def _modulo(call):
    """Labels wrap around."""
    if not call.index or call.function not in CLASS_LOSSES:
        return call
    K = call.x.shape[call.axis]
    ignore = call.options.get("ignore_index", -100)
    y = call.target.astype(object)
    return call.changed(target=np.where(y == ignore, y, y % K).astype(np.int64))


def _shapes_only(call):
    if call.function in CLASS_LOSSES and call.index and call.target.shape != call.positions:
        raise ValueError("shapes")


def _sum_of_columns(call):
    """[N] against [N, 1] is [N, N]."""
    if call.function == BINARY and call.target.shape != call.x.shape:
        x, y = np.broadcast_arrays(call.x, call.target)
        return call.changed(x=np.array(x), target=np.array(y))
    return call


def _smooth_others(call, s):
    K = call.x.shape[call.axis]
    return min(s * K / (K - 1), 1.0) if K > 1 else s


def _half_precision_inside(call):
    with np.errstate(all="ignore"):
        return call.changed(x=call.x.astype(np.float16).astype(call.x.dtype))


def _float32_inside(call):
    with np.errstate(all="ignore"):
        return call.changed(x=call.x.astype(np.float32).astype(call.x.dtype))


def _one_class_masked(call):
    """-inf - -inf."""
    return np.isneginf(call.x).any()


def _nan(call, result):
    return np.full_like(result, np.nan)


def _scaled_by(factor):
    return lambda call, result: _like(result * result.dtype.type(factor(call)), result)


def _weight_total(call):
    w = call.options.get("weight")
    if w is None or not call.index:
        return 1.0
    rows = call.rows
    return float(w[rows.target[rows.live].astype(int)].sum()) / _live_count(call) or 1.0


def _binary_weight_total(call):
    w = call.options.get("weight")
    if w is None:
        return 1.0
    live = call.rows.live
    return live.sum() / (np.broadcast_to(w, call.x.shape).ravel()[live].sum() or 1.0)


def _last_class_halved(call):
    x = call.x.copy()
    z = np.moveaxis(x, call.axis, -1)
    z[..., -1] /= 2
    return call.changed(x=x)


def _first_row_halved(call, result):
    result = np.array(result)
    if result.ndim and len(result):
        result[0] /= 2
    return result


def _batch_bits(call, result):
    return _like(result * result.dtype.type(1 + np.finfo(result.dtype).eps * (len(call.x) % 3)), result)


def _small_is_zero(call, result):
    return np.where(np.abs(result) < np.finfo(result.dtype).eps / 4, 0, result)


def _underflowed(call, result):
    far = -np.log(np.finfo(result.dtype).smallest_subnormal)
    return np.where(np.abs(result) > far, np.copysign(np.inf, result), result)


def _as_p_minus_one(call, grad):
    """What of an entry is below eps of 1 is lost, where it is negative."""
    one = grad.dtype.type(1)
    scale = np.float64(1 / _live_count(call) if _mean(call) else 1)
    with np.errstate(all="ignore"):
        return np.where(grad < 0, -_like((one - (one - _like(-grad / scale, grad))) * scale, grad), grad)


def _zero_times_inf(call):
    """A factor of 0 does not hide an infinite term."""
    if call.function == BINARY:
        return bool((np.isinf(call.x)).any())
    return not call.index and bool(np.isneginf(call.x).any())


def _counter(name):
    """Every other call is off by a last bit or two: a state that is kept."""
    f, g = honest(name)
    calls = [0]

    def value(*arguments, **options):
        calls[0] += 1
        result = np.asarray(f(*arguments, **options))
        return _like(result * result.dtype.type(1 + (calls[0] % 2) * 2 * np.finfo(result.dtype).eps), result)

    return value, g


def _writing(name):
    """The maximum is subtracted in place."""
    f, g = honest(name)

    def value(x, *rest, **options):
        result = f(x, *rest, **options)
        if isinstance(x, np.ndarray) and x.flags.writeable and x.size:
            x -= np.max(x)
        return result

    return value, g


def _writes_weight(name):
    """The weights are normalized in place."""
    f, g = honest(name)

    def grad(*arguments, weight=None, **options):
        result = g(*arguments, weight=weight, **options)
        if weight is not None and weight.flags.writeable:
            weight *= 2
        return result

    def value(*arguments, **options):
        return f(*arguments, **options)

    return value, grad


def _last_of_all(name):
    f, g = honest(name)

    def value(x, axis=-1, **options):
        return f(x, axis=-1 if axis is None else axis, **options)

    return value, g


def _memory_order(name):
    """Strides are not looked at."""
    return honest(name, sees=lambda a: tuple(np.ravel(v, order="K").reshape(np.shape(v)) for v in a))


def _bytes_order(name):
    """The byte order is not looked at."""
    return honest(
        name, sees=lambda a: tuple(np.asarray(v).view(np.asarray(v).dtype.newbyteorder("=")) for v in a)
    )


def _like_input(name):
    """The result is stored in an array like the input: integers cut it off."""

    def cut(call, result):
        return (
            result.astype(call.x.dtype) if call.x.dtype.kind in "iu" and np.isfinite(result).all() else result
        )

    return honest(name, value=cut, grad=cut)


def _small_labels(name):
    """A flat index is computed in the labels' own dtype."""

    def sees(arguments):
        x, y = arguments
        if y.dtype.kind in "iu" and y.dtype.itemsize == 1 and y.ndim == 1 and x.ndim == 2:
            with np.errstate(all="ignore"):
                K = np.array(x.shape[1]).astype(y.dtype)
                at = np.arange(len(y)).astype(y.dtype) * K
                return x, np.where(at + y - at != y, y, ((at + y).astype(int) % x.shape[1]).astype(y.dtype))
        return x, y

    return honest(name, sees=sees)


def _unsigned_minus(name):
    """-y of uint8 is 256 - y."""

    def sees(arguments):
        x, y = arguments
        return x, np.where(y, 255.0, 0.0) if y.dtype == np.uint8 else y

    return honest(name, sees=sees)


def _signed_labels(name):
    """uint8 is read as int8: 200 is -56."""

    def sees(arguments):
        x, y = arguments
        return x, y.view(np.int8) % np.int8(min(x.shape[-1], 127)) if y.dtype == np.uint8 else y

    return honest(name, sees=sees)


def _no_rows(name):
    """The maximum of nothing is an error."""

    def check(call):
        if not call.x.size:
            raise ValueError("zero-size array to reduction operation maximum")

    return honest(name, check=check)


def _of_one_mass(call, grad):
    """p - q: right where q sums to 1."""
    if call.index or "weight" in call.options or call.reduction != "sum" or call.x.ndim != 2:
        return grad
    q = call.target.sum(axis=call.axis, keepdims=True)
    p = _rounded(exact(Call("softmax", call.x, None, {"axis": call.axis})).value, grad.dtype)
    extra = np.where(np.isfinite(p), (1 - q) * p, 0)
    live = np.expand_dims(call.rows.live.reshape(call.positions), call.axis)
    return np.where(
        live & (q != 0), grad + extra * (1 if call.grad_output is None else call.grad_output), grad
    )


def _blocks(name):
    """The last, incomplete block of 512 rows is not written."""

    def grad(call, result):
        n = len(result)
        if n > 512 and n % 512:
            result[n - n % 512 :] = 0
        return result

    return honest(name, grad=grad)


def _half_sum(name):
    """Sums in float16 are accumulated in float16: they stop at 65,504, and long before."""

    def value(call, result):
        if call.x.dtype == np.float16 and _count(call) > 2048:
            return np.full_like(result, np.inf)
        return result

    return honest(name, value=value)


def _float32_sum(name):
    """Long sums drift."""

    def value(call, result):
        return _like(result * (1 + 1e-6), result) if _count(call) > 4096 else result

    return honest(name, value=value)


def _wide_rows(name):
    """Only the first 1,024 classes are summed over."""

    def change(call):
        if call.axis is None or call.x.shape[call.axis] <= 1024:
            return call
        x = np.moveaxis(call.x.copy(), call.axis, -1)
        x[..., 1024:] = np.where(np.arange(1024, x.shape[-1]) == x.shape[-1] - 1, x[..., 1024:], -np.inf)
        return call.changed(x=np.moveaxis(x, -1, call.axis))

    return honest(name, change=change)


def _axis_last(call):
    """The class axis is the last, whatever the contract's default is."""
    if "axis" in call.options or call.x.ndim < 3 or call.x.shape[1] != call.x.shape[-1]:
        return call
    return call.having(axis=-1)


def _wrong_default(name, default):
    def change(call):
        return call if name in call.options else call.having(**{name: default})

    return change


def _mean_of_means(call, value):
    if not _mean(call) or len(call.positions) < 2 or value != value:
        return value
    rows = call.having(reduction="none").changed(grad_output=None)
    losses = np.array([float(v) for v in exact(rows).value.ravel()]).reshape(call.positions)
    live = call.rows.live.reshape(call.positions)
    means = [row[keep].mean() for row, keep in zip(losses, live, strict=True) if keep.any()]
    return _like(np.mean(means), value) if np.isfinite(means).all() else value


def _where_first_axis(call):
    """A mask that is smaller is repeated along the wrong axis."""
    w = call.options.get("where")
    if w is None or w.ndim != 1 or len(call.positions) != 2 or call.positions[0] != call.positions[1]:
        return call
    return call.having(where=np.repeat(w[:, np.newaxis], call.positions[1], axis=1))


def _ignore_falsy(call):
    """``if ignore_index:`` does not see class 0."""
    return call.having(ignore_index=-100) if call.options.get("ignore_index") == 0 else call


def _cotangent(make):
    def change(call):
        g = call.grad_output
        return call if g is None else call.changed(grad_output=make(g))

    return change


def _naive_softplus():
    def naive_softplus(x):
        with np.errstate(all="ignore"):
            return np.log1p(np.exp(x))

    return naive_softplus, honest("softplus")[1]


def _naive_sigmoid():
    def naive_sigmoid(x):
        with np.errstate(all="ignore"):
            return 1 / (1 + np.exp(-x))

    return naive_sigmoid, lambda x: naive_sigmoid(x) * (1 - naive_sigmoid(x))


def _naive_logsumexp():
    def naive_logsumexp(x, axis=-1, keepdims=False):
        with np.errstate(all="ignore"):
            return np.log(np.sum(np.exp(x), axis=axis, keepdims=keepdims))

    return naive_logsumexp, None


def _usual_log_softmax():
    def usual_log_softmax(x, axis=-1):
        with np.errstate(all="ignore"):
            d = x - x.max(axis=axis, keepdims=True)
            return d - np.log(np.exp(d).sum(axis=axis, keepdims=True))

    return usual_log_softmax, None


def _usual_cross_entropy():
    """logsumexp(z) - z[y], and p - 1 at the label."""

    def usual_cross_entropy(z, y):
        z = np.asarray(z)
        n = np.arange(len(z))
        m = z.max(axis=1)
        return np.mean(m + np.log(np.exp(z - m[:, np.newaxis]).sum(axis=1)) - z[n, y])

    def usual_grad(z, y):
        e = np.exp(z - z.max(axis=1, keepdims=True))
        p = e / e.sum(axis=1, keepdims=True)
        p[np.arange(len(z)), y] -= 1
        return p / len(z)

    return usual_cross_entropy, usual_grad


def _epsilon_cross_entropy():
    """-log(p + 1e-12)."""

    def epsilon_cross_entropy(z, y):
        e = np.exp(z - z.max(axis=1, keepdims=True))
        p = e / e.sum(axis=1, keepdims=True)
        return np.mean(-np.log(p[np.arange(len(z)), y] + 1e-12))

    return epsilon_cross_entropy, None


def _clipped_binary():
    """Probabilities are clipped to [1e-7, 1 - 1e-7]."""

    def clipped_binary(z, y, *, reduction="mean"):
        with np.errstate(all="ignore"):
            p = np.clip(1 / (1 + np.exp(-np.asarray(z))), 1e-7, 1 - 1e-7)
        losses = -(y * np.log(p) + (1.0 - y) * np.log(1 - p))
        return losses if reduction == "none" else losses.mean() if reduction == "mean" else losses.sum()

    return clipped_binary, None


def _whole_blocks(name):
    """The last class is lost where blocks of 256 are all full."""

    def change(call):
        x = np.moveaxis(call.x.copy(), call.axis, -1)
        if x.shape[-1] % 256 == 0:
            x[..., -1] = -np.inf
        return call.changed(x=np.moveaxis(x, -1, call.axis))

    return honest(name, change=change)


def _online():
    """Block by block; a larger maximum does not rescale what was summed before."""

    def online_softmax(x, axis=-1):
        z = np.moveaxis(np.asarray(x), axis, -1)
        top, total = z[..., :1], 0
        for at in range(0, z.shape[-1], 512):
            block = z[..., at : at + 512]
            top = np.maximum(top, block.max(axis=-1, keepdims=True))
            total = total + np.exp(block - top).sum(axis=-1, keepdims=True)
        return np.moveaxis(np.exp(z - top) / total, -1, axis)

    return online_softmax, None


def _sixteen_bits(call):
    """Labels are kept in 16 bits."""
    return call.changed(target=call.target % 2**16) if call.index and call.target.min() >= 0 else call


def _rest_unwritten():
    """Only whole blocks of 16,384 are written."""

    def f(x):
        result = np.zeros_like(np.asarray(x, np.result_type(x, np.float32)))
        n = x.size // 16384 * 16384 if x.size > 16384 else x.size
        result.flat[:n] = crossent.softplus(np.ravel(x)[:n])
        return result

    return f, crossent.softplus_grad


def _grid():
    """A grid has 65,535 rows."""

    def grad(x, **options):
        result = np.array(crossent.softmax_grad(x, **options))
        result[65535:] = 0
        return result

    return crossent.softmax, grad


def _ignored_as_label(name):
    """The ignored index is compared in the labels' own dtype: -100 is 156 of uint8."""

    def sees(arguments):
        x, y = arguments
        return x, np.where(y == 156, -100, y.astype(int)) if y.dtype == np.uint8 else y

    return honest(name, sees=sees)


def _several_forget_keepdims(name):
    f, g = honest(name)

    def value(x, axis=-1, keepdims=False):
        return f(x, axis=axis, keepdims=keepdims and isinstance(axis, int))

    return value, g


def _gradient_of_the_last(name):
    f, g = honest(name)

    def grad(x, axis=-1, keepdims=False):
        return g(x, axis=axis if isinstance(axis, int) else -1)

    return lambda x, axis=-1, keepdims=False: f(x, axis=axis, keepdims=keepdims), grad


def _promoted(call, result):
    """The result has the dtype of the weights."""
    w = call.options.get("weight")
    return result if w is None else result.astype(np.result_type(result, w))


def _flushed(call, result):
    """exp is 0 where its result is still normal."""
    least = np.exp({4: -87.0, 8: -708.0}[result.dtype.itemsize])
    return np.where(np.abs(result) < least, 0, result).astype(result.dtype)


def _one_buffer():
    """The result of one call is written over by the next."""
    buffers = {}

    def f(x, axis=-1):
        result = crossent.softmax(x, axis=axis)
        buffer = buffers.setdefault((result.shape, result.dtype), np.empty_like(result))
        buffer[...] = result
        return buffer

    return f, None


def _sixty_four(call):
    """Of more than 64 classes, but fewer than a block of 1,024, only 64 are read."""
    x = np.moveaxis(call.x.copy(), call.axis, -1)
    if 64 < x.shape[-1] < 1024:
        x[..., 64:] = -np.inf
    return call.changed(x=np.moveaxis(x, -1, call.axis))


def _eight_lanes(call):
    """Of 9 to 16 classes, 8 are read."""
    x = np.moveaxis(call.x.copy(), call.axis, -1)
    if 8 < x.shape[-1] <= 16:
        x[..., 8:] = -np.inf
    return call.changed(x=np.moveaxis(x, -1, call.axis))


def _overflowing(call):
    """x * log2(e), for exp2, is infinite where x is not."""
    with np.errstate(all="ignore"):
        far = np.isinf(call.x * call.x.dtype.type(1.4426950408889634))
    return call.changed(x=np.where(far, np.copysign(call.x.dtype.type(np.inf), call.x), call.x))


def _cotangent_of_rows(call):
    """A smaller cotangent is repeated along the wrong axis."""
    g = call.grad_output
    if g is None or g.ndim < 2 or g.shape == call.value_shape:
        return call
    return call.changed(grad_output=np.broadcast_to(g.ravel()[:1], call.value_shape))


def _writes_where(name):
    """Ignored labels are added to the mask in place."""
    f, g = honest(name)

    def value(x, y, where=None, **options):
        result = f(x, y, where=where, **options)
        if where is not None and where.shape == y.shape and y.dtype.kind == "i":
            where &= y != options.get("ignore_index", -100)
        return result

    return value, lambda *arguments, where=None, **options: g(*arguments, where=where, **options)


def _nothing_smoothed_is_nan(call, value):
    """0 * inf, where a class that weighs nothing is masked."""
    w = call.options.get("weight")
    masked = w is not None and np.isneginf(np.moveaxis(call.x, call.axis, -1)[..., w == 0]).any()
    return np.full_like(value, np.nan) if masked and call.options.get("label_smoothing") else value


def _in_the_targets_dtype(call):
    """Logits are converted to the dtype of the probabilities."""
    with np.errstate(all="ignore"):
        return call if call.index else call.changed(x=call.x.astype(call.target.dtype).astype(call.x.dtype))


def _pos_weight_of_no(call):
    """f(-z, 1 - y) swaps the answers, and with them whose weight it is."""
    return call if "pos_weight" not in call.options else call.changed(x=-call.x, target=1 - call.target)


CE, NLL = "cross_entropy", "nll_loss"
BUGS = [
    # function, bug, law that finds it, what makes it
    (CE, "gradient with the wrong sign", "gradient_is_the_slope", {"grad": lambda c, g: -g}),
    (NLL, "gradient with the wrong sign", "gradient_is_the_slope", {"grad": lambda c, g: -g}),
    (BINARY, "gradient with the wrong sign", "gradient_is_the_slope", {"grad": lambda c, g: -g}),
    ("softmax", "gradient with the wrong sign", "gradient_is_the_definition", {"grad": lambda c, g: -g}),
    ("logsumexp", "gradient with the wrong sign", "gradient_is_the_slope", {"grad": lambda c, g: -g}),
    ("sigmoid", "gradient with the wrong sign", "gradient_is_the_slope", {"grad": lambda c, g: -g}),
    (
        CE,
        "1/N missing in the gradient",
        "gradient_is_the_slope",
        {"grad": _only(_mean, _scaled_by(_live_count))},
    ),
    (
        NLL,
        "1/N missing in the gradient",
        "gradient_is_the_slope",
        {"grad": _only(_mean, _scaled_by(_live_count))},
    ),
    (
        BINARY,
        "1/N missing in the gradient",
        "gradient_is_the_definition",
        {"grad": _only(_mean, _scaled_by(_live_count))},
    ),
    (
        CE,
        "six ulp",
        "value_is_the_definition",
        {"value": _scaled_by(lambda c: 1 + 6 * np.finfo(c.result).eps)},
    ),
    (
        "softmax",
        "six ulp",
        "value_is_the_definition",
        {"value": _scaled_by(lambda c: 1 + 6 * np.finfo(c.result).eps)},
    ),
    (
        BINARY,
        "sixteen ulp",
        "gradient_is_the_definition",
        {"grad": _scaled_by(lambda c: 1 + 16 * np.finfo(c.result).eps)},
    ),
    (CE, "float32 inside", "value_is_the_definition", {"change": _float32_inside}),
    ("softmax", "float32 inside", "gradient_is_the_definition", {"change": _float32_inside}),
    ("log_softmax", "float16 inside", "value_is_the_definition", {"change": _half_precision_inside}),
    (CE, "log(1 + tiny) is 0", "confident_predictions_keep_their_digits", {"value": _small_is_zero}),
    (
        "log_softmax",
        "log(1 + tiny) is 0",
        "confident_predictions_keep_their_digits",
        {"value": _small_is_zero},
    ),
    ("softplus", "log(1 + tiny) is 0", "confident_predictions_keep_their_digits", {"value": _small_is_zero}),
    (BINARY, "log(1 + tiny) is 0", "confident_predictions_keep_their_digits", {"value": _small_is_zero}),
    (CE, "p - 1", "confident_predictions_keep_their_digits", {"grad": _as_p_minus_one}),
    (BINARY, "p - 1", "confident_predictions_keep_their_digits", {"grad": _as_p_minus_one}),
    (CE, "log of a p that underflowed", "wrong_predictions_cost_their_margin", {"value": _underflowed}),
    (
        "log_softmax",
        "log of a p that underflowed",
        "wrong_predictions_cost_their_margin",
        {"value": _underflowed},
    ),
    (BINARY, "log of a p that underflowed", "wrong_predictions_cost_their_margin", {"value": _underflowed}),
    (
        CE,
        "exp without a shift, clipped",
        "a_common_offset_changes_nothing",
        {"change": lambda c: c.changed(x=np.clip(c.x, -500, 500))},
    ),
    (
        "softmax",
        "exp without a shift, clipped",
        "a_shift_is_not_seen",
        {"change": lambda c: c.changed(x=np.clip(c.x, -500, 500))},
    ),
    ("logsumexp", "exp without a shift", "a_common_offset_changes_nothing", _naive_logsumexp),
    (CE, "float16 sums overflow", "long_sums_survive", _half_sum),
    (BINARY, "float16 sums overflow", "long_sums_survive", _half_sum),
    (NLL, "long sums drift", "long_sums_survive", _float32_sum),
    (CE, "the last block is not written", "long_sums_survive", _blocks),
    (CE, "1,024 classes at most", "many_classes_are_classes", _wide_rows),
    ("logsumexp", "1,024 classes at most", "many_classes_are_classes", _wide_rows),
    (
        CE,
        "one entry too much",
        "gradient_rows_sum_to_zero",
        {"grad": lambda c, g: g + np.eye(1, g.size).reshape(g.shape)},
    ),
    (
        "softmax",
        "one entry too much",
        "probabilities_sum_to_one",
        {"value": lambda c, v: v + _like(np.eye(1, v.size).reshape(v.shape) * 1e-4, v)},
    ),
    (CE, "one class costs something", "one_class_is_certain", {"value": lambda c, v: v + v.dtype.type(1e-6)}),
    ("softplus", "a flat side", "a_sign_is_a_reflection", {"value": lambda c, v: np.where(c.x < -3, 0, v)}),
    (
        "sigmoid",
        "one side worse",
        "a_sign_is_a_reflection",
        {"value": lambda c, v: np.where(c.x > 1, v * v.dtype.type(0.999), v)},
    ),
    (
        CE,
        "one-hot targets are smoothed",
        "an_index_is_a_one_hot_target",
        {"change": lambda c: c if c.index else c.changed(target=c.target * 0.99)},
    ),
    (
        CE,
        "two classes are special",
        "two_classes_are_a_binary_question",
        {"value": lambda c, v: v * 2 if c.x.shape[c.axis] == 2 else v},
    ),
    (
        BINARY,
        "answers are swapped",
        "two_classes_are_a_binary_question",
        {"change": lambda c: c.changed(target=1 - c.target)},
    ),
    (
        CE,
        "weights are normalized",
        "a_weight_of_one_is_none",
        {"change": _option("weight", lambda c, w: w / len(w))},
    ),
    (
        NLL,
        "weights count twice",
        "the_loss_is_linear_in_the_weights",
        {"change": _option("weight", lambda c, w: w * w)},
    ),
    (
        CE,
        "weights count twice",
        "the_loss_is_linear_in_the_weights",
        {"change": _option("weight", lambda c, w: w * w)},
    ),
    (
        BINARY,
        "weights count twice",
        "the_loss_is_linear_in_the_weights",
        {"change": _option("weight", lambda c, w: w * w)},
    ),
    (
        CE,
        "weights are forgotten",
        "the_loss_is_linear_in_the_weights",
        {"change": lambda c: c.having(weight=None)},
    ),
    (
        CE,
        "weights are reversed",
        "names_of_classes_mean_nothing",
        {"change": _option("weight", lambda c, w: np.ascontiguousarray(w[::-1]))},
    ),
    (
        BINARY,
        "pos_weight on both sides",
        "value_is_the_definition",
        {
            "change": lambda c: c.having(
                pos_weight=None,
                weight=np.broadcast_to(
                    np.multiply(c.options.get("weight", 1.0), c.options.get("pos_weight", 1.0)), c.x.shape
                ),
            )
        },
    ),
    (
        CE,
        "probabilities are normalized",
        "probabilities_are_taken_as_they_are",
        {
            "change": lambda c: (
                c
                if c.index
                else c.changed(target=c.target / np.maximum(c.target.sum(axis=c.axis, keepdims=True), 1e-3))
            )
        },
    ),
    (
        CE,
        "rows of zeros are not counted",
        "probabilities_are_taken_as_they_are",
        {
            "value": lambda c, v: (
                v
                if c.index or not _mean(c)
                else v * v.dtype.type(_count(c) / max((c.target.sum(axis=c.axis) != 0).sum(), 1))
            )
        },
    ),
    (CE, "p - q", "probabilities_are_taken_as_they_are", {"grad": _of_one_mass}),
    (
        BINARY,
        "pos_weight of the answer no",
        "pos_weight_is_of_the_answer_yes",
        {"value": lambda c, v: _rounded(exact(_pos_weight_of_no(c)).value, v.dtype)},
    ),
    (
        BINARY,
        "pos_weight not in the gradient",
        "pos_weight_is_of_the_answer_yes",
        {"grad": lambda c, g: _rounded(exact(c.having(pos_weight=None)).grad, g.dtype)},
    ),
    (
        CE,
        "smoothed towards less than all",
        "the_loss_is_linear_in_the_smoothing",
        {"change": _option("label_smoothing", lambda c, s: s * 0.9)},
    ),
    (
        CE,
        "s / (K - 1)",
        "the_loss_is_linear_in_the_smoothing",
        {"change": _option("label_smoothing", _smooth_others)},
    ),
    (
        CE,
        "smoothing without weights",
        "value_is_the_definition",
        {"change": lambda c: c.having(weight=None) if c.options.get("label_smoothing") else c},
    ),
    (
        CE,
        "smoothing in the value only",
        "gradient_is_the_slope",
        {"grad": lambda c, g: _rounded(exact(c.having(label_smoothing=None)).grad, g.dtype)},
    ),
    (
        CE,
        "the mean counts what is ignored",
        "ignored_is_dropped",
        {"value": _only(_mean, _scaled_by(lambda c: _live_count(c) / _count(c)))},
    ),
    (
        NLL,
        "the mean counts what is ignored",
        "none_sum_and_mean_agree",
        {"value": _only(_mean, _scaled_by(lambda c: _live_count(c) / _count(c)))},
    ),
    (
        BINARY,
        "the mean counts what is ignored",
        "ignored_is_dropped",
        {"value": _only(_mean, _scaled_by(lambda c: _live_count(c) / _count(c)))},
    ),
    (
        CE,
        "the mean is not weighted",
        "none_sum_and_mean_agree",
        {"value": _only(_mean, _scaled_by(_weight_total))},
    ),
    (
        NLL,
        "the mean is not weighted",
        "none_sum_and_mean_agree",
        {"value": _only(_mean, _scaled_by(_weight_total))},
    ),
    (
        BINARY,
        "the mean is weighted",
        "none_sum_and_mean_agree",
        {"value": _only(_mean, _scaled_by(_binary_weight_total))},
    ),
    (CE, "mean of means", "none_sum_and_mean_agree", {"value": _mean_of_means}),
    (CE, "an ignored row leaks", "ignored_is_dropped", {"grad": _at_dead(0.125)}),
    (NLL, "an ignored row leaks", "ignored_is_dropped", {"grad": _at_dead(0.125)}),
    (BINARY, "an ignored element leaks", "ignored_is_dropped", {"grad": _at_dead(0.125)}),
    (CE, "0 * NaN at ignored rows", "ignored_positions_may_hold_anything", {"grad": _at_dead(np.nan)}),
    (
        BINARY,
        "0 * NaN at ignored elements",
        "ignored_positions_may_hold_anything",
        {"grad": _at_dead(np.nan)},
    ),
    (CE, "where is forgotten", "ignored_is_dropped", {"change": lambda c: c.having(where=None)}),
    (NLL, "where is inverted", "ignored_is_dropped", {"change": _option("where", lambda c, w: ~w)}),
    (CE, "ignore_index 0 is falsy", "ignored_is_dropped", {"change": _ignore_falsy}),
    (BINARY, "a mask along the wrong axis", "smaller_options_are_broadcast", {"change": _where_first_axis}),
    (
        CE,
        "the mean of nothing is 0",
        "the_mean_of_nothing_is_nan",
        {"value": lambda c, v: np.where(np.isnan(v), 0, v)},
    ),
    (
        BINARY,
        "the mean of nothing is 0",
        "the_mean_of_nothing_is_nan",
        {"value": lambda c, v: np.where(np.isnan(v), 0, v)},
    ),
    (CE, "sums by default", "defaults_are_the_contracts", {"change": _wrong_default("reduction", "sum")}),
    (
        NLL,
        "ignores -1 by default",
        "defaults_are_the_contracts",
        {"change": _wrong_default("ignore_index", -1), "check": _shapes_only},
    ),
    (
        CE,
        "smooths by default",
        "defaults_are_the_contracts",
        {"change": _wrong_default("label_smoothing", 0.1)},
    ),
    (
        "softmax",
        "first axis by default",
        "defaults_are_the_contracts",
        {
            "change": lambda c: (
                c
                if "axis" in c.options or c.x.ndim < 2 or c.x.shape[0] != c.x.shape[-1]
                else c.having(axis=0)
            )
        },
    ),
    (
        CE,
        "last axis by default",
        "the_class_axis_may_be_anywhere",
        {"change": _axis_last, "check": lambda c: None},
    ),
    (
        CE,
        "cotangent forgotten",
        "the_cotangent_is_multiplied_in",
        {"change": lambda c: c.changed(grad_output=None)},
    ),
    (
        "softmax",
        "cotangent forgotten",
        "the_cotangent_is_multiplied_in",
        {"change": lambda c: c.changed(grad_output=None)},
    ),
    (BINARY, "cotangent's sign lost", "the_cotangent_is_multiplied_in", {"change": _cotangent(np.abs)}),
    (
        "log_softmax",
        "cotangent averaged",
        "the_cotangent_is_multiplied_in",
        {"change": _cotangent(lambda g: np.full_like(g, g.mean()))},
    ),
    (
        "softmax",
        "dtype= is ignored",
        "the_dtype_is_the_one_asked_for",
        {"value": lambda c, v: v.astype(c.x.dtype), "grad": lambda c, g: g.astype(c.x.dtype)},
    ),
    (
        CE,
        "dtype= converts at the end",
        "the_dtype_is_the_one_asked_for",
        {"value": lambda c, v: v.astype(c.x.dtype).astype(c.result)},
    ),
    (
        "logsumexp",
        "a masked class is NaN",
        "a_masked_class_is_removed",
        {"value": _only(_one_class_masked, _nan)},
    ),
    (CE, "a masked class is NaN", "a_masked_class_is_removed", {"value": _only(_one_class_masked, _nan)}),
    (
        CE,
        "the impossible costs 100",
        "an_impossible_target_costs_inf",
        {"value": lambda c, v: np.minimum(v, v.dtype.type(100))},
    ),
    (
        NLL,
        "the impossible costs 100",
        "an_impossible_target_costs_inf",
        {"value": lambda c, v: np.minimum(v, v.dtype.type(100))},
    ),
    (CE, "0 * inf", "zero_times_infinity_is_zero", {"value": _only(_zero_times_inf, _nan)}),
    (BINARY, "0 * inf", "zero_times_infinity_is_zero", {"value": _only(_zero_times_inf, _nan)}),
    (
        "log_softmax",
        "NaN spreads",
        "nan_stays_in_its_position",
        {"grad": lambda c, g: np.full_like(g, np.nan) if np.isnan(g).any() else g},
    ),
    (
        CE,
        "NaN spreads",
        "nan_stays_in_its_position",
        {"grad": lambda c, g: np.full_like(g, np.nan) if np.isnan(g).any() else g},
    ),
    (
        NLL,
        "a weight of 0 hides NaN",
        "nan_stays_in_its_position",
        {
            "change": lambda c: (
                c if c.options.get("weight") is None else c.changed(x=np.where(np.isnan(c.x), 0, c.x))
            )
        },
    ),
    (CE, "NaN is hidden", "nan_stays_in_its_position", {"value": lambda c, v: np.nan_to_num(v)}),
    ("sigmoid", "NaN is hidden", "nan_stays_in_its_position", {"value": lambda c, v: np.nan_to_num(v)}),
    (
        "logsumexp",
        "inf is the largest number",
        "infinities_have_their_limits",
        {"value": lambda c, v: np.clip(v, -np.finfo(v.dtype).max, np.finfo(v.dtype).max)},
    ),
    (
        "softplus",
        "inf is NaN",
        "infinities_have_their_limits",
        {"value": lambda c, v: np.where(np.isinf(v), np.nan, v)},
    ),
    (CE, "labels wrap", "labels_out_of_range_are_refused", {"change": _modulo, "check": _shapes_only}),
    (NLL, "labels wrap", "labels_out_of_range_are_refused", {"change": _modulo, "check": _shapes_only}),
    (CE, "smoothing of any size", "smoothing_out_of_range_is_refused", {"check": _shapes_only}),
    (
        BINARY,
        "targets are broadcast",
        "targets_are_not_broadcast",
        {"change": _sum_of_columns, "check": lambda c: None},
    ),
    (CE, "the last class is halved", "names_of_classes_mean_nothing", {"change": _last_class_halved}),
    ("softmax", "the last class is halved", "a_shift_is_not_seen", {"change": _last_class_halved}),
    (CE, "the first row is halved", "order_of_the_batch_means_nothing", {"value": _first_row_halved}),
    ("sigmoid", "the first row is halved", "a_row_stands_alone", {"value": _first_row_halved}),
    (CE, "bits of the batch", "a_row_stands_alone", {"grad": _batch_bits}),
    (BINARY, "bits of the batch", "split_batches_add_up", {"grad": _batch_bits}),
    (NLL, "a constant for each call", "split_batches_add_up", {"value": lambda c, v: v + v.dtype.type(1e-3)}),
    ("logsumexp", "axis=None is the last", "several_axes_are_one", _last_of_all),
    (CE, "memory order", "memory_does_not_matter", _memory_order),
    ("softmax", "byte order", "memory_does_not_matter", _bytes_order),
    (CE, "writes to the logits", "inputs_are_not_written_to", _writing),
    ("log_softmax", "writes to the logits", "inputs_are_not_written_to", _writing),
    (NLL, "writes to the weights", "inputs_are_not_written_to", _writes_weight),
    ("sigmoid", "a state", "the_same_call_gives_the_same_bits", _counter),
    (CE, "a state", "the_same_call_gives_the_same_bits", _counter),
    ("softmax", "one buffer for all", "the_same_call_gives_the_same_bits", _one_buffer),
    (CE, "a flat index in int8", "labels_may_have_any_integer_dtype", _small_labels),
    (CE, "uint8 is int8", "labels_may_have_any_integer_dtype", _signed_labels),
    (BINARY, "-y of uint8", "labels_may_have_any_integer_dtype", _unsigned_minus),
    ("softmax", "the maximum of no rows", "no_rows_are_no_error", _no_rows),
    ("sigmoid", "the maximum of no rows", "no_rows_are_no_error", _no_rows),
    (CE, "results like the input", "whole_numbers_are_numbers", _like_input),
    ("softmax", "results like the input", "whole_numbers_are_numbers", _like_input),
    ("logsumexp", "the last class of whole blocks", "many_classes_are_classes", _whole_blocks),
    ("softmax", "blocks are not rescaled", "many_classes_are_classes", _online),
    (CE, "labels in 16 bits", "many_classes_are_classes", {"change": _sixteen_bits}),
    (NLL, "labels in 16 bits", "many_classes_are_classes", {"change": _sixteen_bits}),
    ("softplus", "the rest is not written", "many_rows_are_rows", _rest_unwritten),
    ("softmax", "a grid of 65,535 rows", "many_rows_are_rows", _grid),
    (CE, "-100 of uint8", "labels_may_have_any_integer_dtype", _ignored_as_label),
    (NLL, "-100 of uint8", "labels_may_have_any_integer_dtype", _ignored_as_label),
    ("logsumexp", "several axes forget keepdims", "several_axes_are_one", _several_forget_keepdims),
    ("logsumexp", "several axes: gradient of the last", "several_axes_are_one", _gradient_of_the_last),
    (CE, "the dtype of the weights", "the_dtype_is_the_one_asked_for", {"value": _promoted}),
    (
        "log_softmax",
        "dtype=float32 is ignored",
        "the_dtype_is_the_one_asked_for",
        {"value": lambda c, v: v.astype(np.result_type(v, c.x))},
    ),
    ("softmax", "exp is 0 below -87", "value_is_the_definition", {"value": _flushed}),
    ("sigmoid", "exp is 0 below -87", "value_is_the_definition", {"value": _flushed}),
    ("log_sigmoid", "exp is 0 below -87", "gradient_is_the_definition", {"grad": _flushed}),
    (
        CE,
        "negative weights are 0",
        "the_loss_is_linear_in_the_weights",
        {"change": _option("weight", lambda c, w: np.maximum(w, 0))},
    ),
    (
        BINARY,
        "negative weights are 0",
        "the_loss_is_linear_in_the_weights",
        {"change": _option("weight", lambda c, w: np.maximum(w, 0))},
    ),
    (
        CE,
        "probabilities above 1 are clipped",
        "probabilities_are_taken_as_they_are",
        {"change": lambda c: c if c.index else c.changed(target=np.minimum(c.target, 1))},
    ),
    (
        "sigmoid",
        "a number is an array",
        "the_class_axis_may_be_anywhere",
        {"value": lambda c, v: np.atleast_1d(v)},
    ),
    ("log_softmax", "64 classes of 100", "many_classes_are_classes", {"change": _sixty_four}),
    ("softmax", "8 classes of 16", "value_is_the_definition", {"change": _eight_lanes}),
    ("softmax", "log2(e) times x", "infinities_have_their_limits", {"change": _overflowing}),
    ("softplus", "log2(e) times x", "infinities_have_their_limits", {"change": _overflowing}),
    (CE, "a smaller cotangent", "the_cotangent_is_multiplied_in", {"change": _cotangent_of_rows}),
    (CE, "writes to the mask", "inputs_are_not_written_to", _writes_where),
    (CE, "0 * inf, smoothed", "zero_times_infinity_is_zero", {"value": _nothing_smoothed_is_nan}),
    (CE, "the dtype of the targets", "the_dtype_is_the_one_asked_for", {"change": _in_the_targets_dtype}),
    ("softplus", "log1p(exp(x))", "value_is_the_definition", _naive_softplus),
    ("sigmoid", "s (1 - s)", "confident_predictions_keep_their_digits", _naive_sigmoid),
    ("log_softmax", "z - log(sum(exp(z)))", "confident_predictions_keep_their_digits", _usual_log_softmax),
    (CE, "logsumexp(z) - z[y], p - 1", "confident_predictions_keep_their_digits", _usual_cross_entropy),
    (CE, "labels index the array", "labels_out_of_range_are_refused", _usual_cross_entropy),
    (CE, "log(p + eps)", "an_impossible_target_costs_inf", _epsilon_cross_entropy),
    (BINARY, "clipped probabilities", "confident_predictions_keep_their_digits", _clipped_binary),
]


def _made(name, make):
    if isinstance(make, dict):
        return honest(name, **make)
    return make(name) if make.__code__.co_argcount else make()


@pytest.mark.parametrize(
    ("name", "bug", "law", "make"), [pytest.param(*each, id="-".join(each[:3])) for each in BUGS]
)
def test_laws__find_the_planted_bug(name, bug, law, make, monkeypatch):
    """The bug is found by the law whose sentence describes it."""
    monkeypatch.setattr(kit, "smallest", lambda law, subject, call, broken: (call, broken))
    f, g = _made(name, make)
    dtypes = ("float16", "float32", "float64") if "float16" in bug else ("float32", "float64")
    (each,) = [each for each in LAWS if each.name == law]
    # as the law is held against who does not keep the digits: the least that it asks
    made = replace(subject(f, name, grad=g, dtypes=dtypes), mode=each.mode)
    assert kit.examine(each, made, EXAMPLES, seed=3).word == "broken"


@pytest.mark.parametrize(
    ("name", "bug", "law", "change"),
    [pytest.param(*each, id="-".join(each[:3])) for each in bugs_of_size.BUGS],
)
def test_laws__find_the_planted_bug_of_size(name, bug, law, change, monkeypatch):
    """Whatever the seed: these laws try few calls."""
    monkeypatch.setattr(kit, "smallest", lambda law, subject, call, broken: (call, broken))
    f, g, supports = bugs_of_size.fast(name, **change)
    (each,) = [each for each in LAWS if each.name == law]
    made = replace(subject(f, name, grad=g, supports=supports), mode=each.mode)
    for seed in range(2):
        assert kit.examine(each, made, EXAMPLES, seed).word == "broken"


def test_laws__every_law_has_a_bug_that_it_finds():
    """A law without a bug is not known to work."""
    bugs = [*BUGS, *bugs_of_size.BUGS]
    assert {law.name for law in LAWS} == {law for _, _, law, _ in bugs}
    assert len({(name, bug) for name, bug, _, _ in bugs}) >= 40
