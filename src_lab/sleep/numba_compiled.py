"""The machine code behind `src_lab.sleep.numba_kernel`, which says why it does what it does.

All compiled code is in this one file because numba's cache on disk notices a change only in the file of the function
called.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar, cast

import numba
import numpy as np
from numba.extending import overload
from numpy.typing import NDArray

from src_lab.sleep.rules import TADROS_WIDTH

Array = NDArray[Any]
Scalar = Any
"""np.float32 or np.float64, that of the weights."""
F = TypeVar("F", bound=Callable[..., Any])

TADROS, SIGMOID, SIGMOID_NEAR_ZERO, PROPORTIONAL = range(4)

LEVELS = 11
LOG_STEPS = 1 << (LEVELS - 1)
"""Steps with spikes that a log holds before every column is brought up to date and the log starts anew."""


class Log(NamedTuple):
    """Spikes of one layer's units since its columns were last all up to date. Steps without a spike take no room.

    Node (k, m) of the tree holds the units that spiked in the 2^k steps from m 2^k on, the most frequent first: its
    entries begin at `units[k, starts[m 2^k]]`, and the first `sizes[k, m 2^k + r]` of them spiked more than r times.
    `steps` (1,) counts the steps held.
    """

    units: Array
    sizes: Array
    starts: Array
    steps: Array


class Layer(NamedTuple):
    """One layer asleep. Scalars are in the weights' dtype, as PyTorch rounds a Python scalar before using it.

    columns     (n_pre, n), the transposed weights; row j has seen the first `applied[j]` steps of the log
    potentials  (n,)
    threshold   of the potential, with beta
    bias        (n,), or (0,) for a layer without; bias_drive times it is added at every step, and bias_rate f(bias) to it
                at a spike
    """

    columns: Array
    applied: Array
    potentials: Array
    log: Log
    rule: int
    alpha: Scalar
    inc: Scalar
    dec: Scalar
    decay: Scalar
    inhibition: Scalar
    dc: Scalar
    threshold: Scalar
    bias: Array
    bias_drive: Scalar
    bias_rate: Scalar


class Scratch(NamedTuple):
    """Buffers as wide as the widest layer, shared by all layers; `active` has one row for each side of a layer."""

    total: Array
    impulse: Array
    gathered: Array
    counts: Array
    cursor: Array
    active: Array


def compiled(function: F) -> F:
    """`function` in machine code, compiled at its first call and kept on disk where some folder can be written."""
    try:
        return cast(F, numba.njit(cache=True, nogil=True, error_model="numpy")(function))
    except RuntimeError:
        return cast(F, numba.njit(nogil=True, error_model="numpy")(function))


def inlined(function: F) -> F:
    """`function` as part of its caller's machine code: compiled by itself as well, it would cost more than it saves."""
    return cast(F, numba.njit(inline="always", error_model="numpy")(function))


def _exp(x: Scalar) -> Scalar:
    """e^x within 1.1 ulp: x = n ln 2 + r, a polynomial in r, times 2^n in two factors so that 0 and inf are reached.

    The compiler has no vector form of the C library's; this one has no branch and vectorises.
    """
    raise NotImplementedError


@overload(_exp)
def _exp_of(x: Scalar) -> Callable[[Any], Any]:
    return _exp_single if x == numba.float32 else _exp_double


def _exp_single(x: Scalar) -> Scalar:
    x = min(max(x, np.float32(-104)), np.float32(89))
    n = (x * np.float32(1.44269504) + np.float32(12582912)) - np.float32(12582912)
    r = (x - n * np.float32(0.693359375)) - n * np.float32(-2.12194440e-4)
    q = np.float32(0.04166655421) + r * (np.float32(0.008363232884) + r * np.float32(0.001392625083))
    q = np.float32(0.5) + r * (np.float32(0.1666657667) + r * q)
    half = np.int32(n) >> 1
    rest = np.int32(n) - half
    low, high = np.int32((half + 127) << 23).view(np.float32), np.int32((rest + 127) << 23).view(np.float32)
    return (np.float32(1) + (r + r * r * q)) * low * high


def _exp_double(x: Scalar) -> Scalar:
    x = min(max(x, -750.0), 710.0)
    n = (x * 1.4426950408889634 + 6755399441055744.0) - 6755399441055744.0
    r = (x - n * 6.93147180369123816490e-01) - n * 1.90821492927058770002e-10
    q = 2.755726827690569619e-6 + r * (2.762020159103154878e-7 + r * 2.510047250569499599e-8)
    q = 0.0001984126986317155603 + r * (0.0000248015210578682052 + r * q)
    q = 0.008333333333330038197 + r * (0.001388888891736708056 + r * q)
    q = 0.1666666666666666746 + r * (0.04166666666662382053 + r * q)
    q = 0.5000000000000001031 + r * q
    half = np.int64(n) >> 1
    rest = np.int64(n) - half
    low, high = np.int64((half + 1023) << 52).view(np.float64), np.int64((rest + 1023) << 52).view(np.float64)
    return (1.0 + (r + r * r * q)) * low * high


def _sigmoid_near_zero(w: Scalar) -> Scalar:
    """1 / (1 + exp(-w)) for |w| <= 1, within 1.2 ulp and without a division: 1/2 + w P(w^2), P a Chebyshev fit."""
    raise NotImplementedError


@overload(_sigmoid_near_zero)
def _sigmoid_near_zero_of(w: Scalar) -> Callable[[Any], Any]:
    return _sigmoid_near_zero_single if w == numba.float32 else _sigmoid_near_zero_double


def _sigmoid_near_zero_single(w: Scalar) -> Scalar:
    t = w * w
    p = np.float32(0.002081992266) + t * (np.float32(-0.0002069696829) + t * np.float32(1.672982855e-5))
    return np.float32(0.5) + w * (np.float32(0.2499999967) + t * (np.float32(-0.02083316747) + t * p))


def _sigmoid_near_zero_double(w: Scalar) -> Scalar:
    t = w * w
    p = 2.22465225220014884e-9 + t * (-2.075332847254025991e-10 + t * 1.350283841111941728e-11)
    p = 2.192350159920078861e-7 + t * (-2.219315975394371276e-8 + t * p)
    p = 0.00002135692160043526047 + t * (-2.163872103088501463e-6 + t * p)
    p = 0.002083333333327002368 + t * (-0.0002108134919643371882 + t * p)
    return 0.5 + w * (0.2499999999999999993 + t * (-0.02083333333333317539 + t * p))


@compiled
def change(w: Array, rate: Scalar, rule: int) -> None:
    """w += rate f(w) in place, f as in `src_lab.sleep.rules`. SIGMOID_NEAR_ZERO is SIGMOID for all |w| <= 1."""
    one = w.dtype.type(1)
    if rule == SIGMOID_NEAR_ZERO:
        for i in range(w.size):
            w[i] += rate * _sigmoid_near_zero(w[i])
    elif rule == SIGMOID:
        for i in range(w.size):
            far = one / (one + _exp(-w[i]))
            w[i] += rate * (_sigmoid_near_zero(w[i]) if abs(w[i]) <= one else far)
    elif rule == TADROS:
        two, width = w.dtype.type(2), w.dtype.type(TADROS_WIDTH)
        for i in range(w.size):
            w[i] += rate * (two * (one - one / (one + _exp(-w[i] / width))))
    else:
        for i in range(w.size):
            w[i] += rate * w[i]


@inlined
def _cheapest(rule: int, w: Array, rounds: int, rate: Scalar) -> int:
    """The code of `rule` to run for `rounds` changes of w: since 0 <= f <= 1, can any weight leave -1 .. 1?"""
    reach = w.dtype.type(0.999 - rounds * abs(rate))
    outside = 0
    if rule == SIGMOID:
        for i in range(w.size):
            outside |= not abs(w[i]) <= reach
    return SIGMOID_NEAR_ZERO if rule == SIGMOID and not outside else rule


@compiled
def _apply(column: Array, units: Array, sizes: Array, rate: Scalar, rule: int, gathered: Array) -> None:
    """Change `column` at `units` by `rate`: in round r the first `sizes[r]` of them, until a size is 0."""
    w = gathered[: sizes[0]]
    for i in range(w.size):
        w[i] = column[units[i]]
    rounds = 0
    while rounds < sizes.size and sizes[rounds]:
        rounds += 1
    code = _cheapest(rule, w, rounds, rate)
    for r in range(rounds):
        change(w[: sizes[r]], rate, code)
    for i in range(w.size):
        column[units[i]] = w[i]


@compiled
def _catch_up(layer: Layer, j: np.int64, gathered: Array) -> None:
    """Apply to column j the decrements of all logged steps that it has not seen, by the largest nodes that fit."""
    log, column = layer.log, layer.columns[j]
    step, end = layer.applied[j], log.steps[0]
    if step < end:
        _fetch(column, gathered)
    while step < end:
        level = 0
        while level + 1 < LEVELS and step % (2 << level) == 0 and step + (2 << level) <= end:
            level += 1
        stop = step + (1 << level)
        units = log.units[level, log.starts[step] :]
        _apply(column, units, log.sizes[level, step:stop], -layer.dec, layer.rule, gathered)
        step = stop
    layer.applied[j] = end


@inlined
def _fetch(column: Array, sink: Array) -> None:
    """Read one weight per cache line in order, which memory serves much faster than the scattered reads to come.

    The sum is stored so that the compiler keeps the reads.
    """
    total = column[0]
    for i in range(0, column.size, 64 // column.itemsize):
        total += column[i]
    sink[0] = total


@compiled
def settle(layer: Layer, gathered: Array) -> None:
    """Bring all columns up to date and empty the log."""
    for j in range(layer.applied.size):
        _catch_up(layer, np.int64(j), gathered)
        layer.applied[j] = 0
    layer.log.steps[0] = 0


@inlined
def _is_full(log: Log, units: int) -> bool:
    """Whether the log may be too small for one more step of `units` units."""
    step = log.steps[0]
    return bool(step == LOG_STEPS or log.starts[step] + units > log.units.shape[1])


@inlined
def _note(log: Log, fired: Array, scratch: Scratch) -> None:
    """Log the units that spiked in a step, and build the nodes that this step completes."""
    step = log.steps[0]
    start = log.starts[step]
    for i in range(fired.size):
        log.units[0, start + i] = fired[i]
    log.sizes[0, step] = fired.size
    log.starts[step + 1] = start + fired.size
    log.steps[0] = step + 1
    for level in range(1, LEVELS):
        if (step + 1) % (1 << level):
            break
        _merge(log, level, step + 1 - (1 << level), scratch.counts, scratch.cursor)


@inlined
def _merge(log: Log, level: int, first: int, counts: Array, cursor: Array) -> None:
    """Build the node at `level` that begins at step `first` from its two halves. `counts` is zero before and after."""
    half = 1 << (level - 1)
    sizes = log.sizes[level, first : first + 2 * half]
    for r in range(sizes.size):
        sizes[r] = 0
    for child in (first, first + half):
        units = log.units[level - 1, log.starts[child] :]
        for r in range(half):
            for i in range(log.sizes[level - 1, child + r]):
                sizes[counts[units[i]]] += 1
                counts[units[i]] += 1
    merged = log.units[level, log.starts[first] :]
    for r in range(sizes.size):
        cursor[r] = sizes[r]
    for child in (first, first + half):
        units = log.units[level - 1, log.starts[child] :]
        for i in range(log.sizes[level - 1, child]):
            count = counts[units[i]]
            if count:
                cursor[count - 1] -= 1
                merged[cursor[count - 1]] = units[i]
                counts[units[i]] = 0


@inlined
def _sum_columns(columns: Array, active: Array, total: Array) -> None:
    """total = sum of the active columns, in float64; four at a time, to load and store `total` less often."""
    n = columns.shape[1]
    for i in range(n):
        total[i] = 0
    fours = active.size // 4 * 4
    for a in range(0, fours, 4):
        c0, c1, c2, c3 = columns[active[a]], columns[active[a + 1]], columns[active[a + 2]], columns[active[a + 3]]
        for i in range(n):
            total[i] += (np.float64(c0[i]) + np.float64(c1[i])) + (np.float64(c2[i]) + np.float64(c3[i]))
    for a in range(fours, active.size):
        column = columns[active[a]]
        for i in range(n):
            total[i] += column[i]


@inlined
def _integrate(layer: Layer, active: Array, scratch: Scratch) -> None:
    """v = decay v + I + bias + dc, the impulse I = alpha W s less its inhibition; each is rounded to the weights' dtype."""
    v, impulse = layer.potentials, scratch.impulse
    for i in range(v.size):
        v[i] *= layer.decay
    if active.size:
        _sum_columns(layer.columns, active, scratch.total)
        for i in range(v.size):
            impulse[i] = layer.alpha * v.dtype.type(scratch.total[i])
        if layer.inhibition:
            summed = 0.0
            for i in range(v.size):
                summed += impulse[i]
            inhibition = layer.inhibition * v.dtype.type(summed / v.size)
            for i in range(v.size):
                impulse[i] -= inhibition
        for i in range(v.size):
            v[i] += impulse[i]
    for i in range(layer.bias.size):
        v[i] += layer.bias_drive * layer.bias[i]
    if layer.dc:
        for i in range(v.size):
            v[i] += layer.dc


@inlined
def _all_finite(v: Array) -> bool:
    bad = 0
    for i in range(v.size):
        bad |= not abs(v[i]) < np.inf
    return not bad


@numba.njit(nogil=True, fastmath={"nnan", "nsz"})
def _highest(v: Array) -> Scalar:
    """The maximum of finite numbers: with no NaN and no signed zeros to mind it vectorises."""
    highest = v[0]
    for i in range(v.size):
        highest = max(highest, v[i])
    return highest


@inlined
def _set_positions(flags: Array, found: Array) -> int:
    """Write where `flags` are set to the front of `found`, which has room for one more; return how many there are."""
    count = 0
    for i in range(flags.size):
        found[count] = i
        count += flags[i]
    return count


@inlined
def _fire(v: Array, threshold: Scalar, found: Array) -> int:
    """The same for the units whose potential is at or above the threshold."""
    count = 0
    for i in range(v.size):
        found[count] = i
        count += v[i] >= threshold
    return count


@inlined
def _learn(layer: Layer, active: Array, fired: Array, scratch: Scratch) -> None:
    """Increment what joins two units that spiked, and log the decrements of the other weights of those that did."""
    one_round = scratch.cursor[:1]
    one_round[0] = fired.size
    for a in range(active.size):
        _apply(layer.columns[active[a]], fired, one_round, layer.inc, layer.rule, scratch.gathered)
    _note(layer.log, fired, scratch)
    for a in range(active.size):
        layer.applied[active[a]] = layer.log.steps[0]


@compiled
def _step_layer(layer: Layer, active: Array, found: Array, scratch: Scratch, peak: Array) -> int:
    """One step of a layer, but for the reset of the potentials, under the presynaptic spikes `active`.

    Returns how many units spiked, listed in `found`, or -1 when a potential is not finite.
    """
    v = layer.potentials
    if _is_full(layer.log, v.size):
        settle(layer, scratch.gathered)
    for a in range(active.size):
        _catch_up(layer, np.int64(active[a]), scratch.gathered)
    _integrate(layer, active, scratch)
    if not _all_finite(v):
        return -1
    highest = _highest(v)
    peak[0] = max(peak[0], highest)
    if highest < layer.threshold:
        return 0
    count = _fire(v, layer.threshold, found)
    if layer.inc or layer.dec:
        _learn(layer, active, found[:count], scratch)
    if layer.bias_rate:
        one_round = scratch.cursor[:1]
        one_round[0] = count
        _apply(layer.bias, found[:count], one_round, layer.bias_rate, layer.rule, scratch.gathered)
    return count


@compiled
def advance(
    layers: tuple[Layer, ...],
    scratch: Scratch,
    stimulus: Array,
    counts: Array,
    peaks: Array,
    spikes: Array,
    potentials: Array,
) -> tuple[int, int]:
    """Sleep through the rows of `stimulus` (T, n_0), writing `counts` and `peaks` as `Record` has them.

    `spikes` and `potentials` are (T, n_1 + .. + n_L), or of no rows where not wanted. Returns step and layer of the
    first potential that is not finite, or (-1, -1).
    """
    for step in range(stimulus.shape[0]):
        size = _set_positions(stimulus[step], scratch.active[0])
        offset = 0
        for index in range(len(layers)):
            v = layers[index].potentials
            active, found = scratch.active[index % 2, :size], scratch.active[(index + 1) % 2]
            size = _step_layer(layers[index], active, found, scratch, peaks[index : index + 1])
            if size < 0:
                return step, index
            counts[step, index] = size
            if potentials.size:
                for i in range(v.size):
                    potentials[step, offset + i] = v[i]
            if spikes.size:
                for i in range(size):
                    spikes[step, offset + found[i]] = True
            for i in range(size):
                v[found[i]] = 0
            offset += v.size
    return -1, -1
