"""Device code of the `triton` backend: what one program does for one layer, one step and one network of a batch.

A program owns SEGMENT consecutive units of a layer of one network: it alone reads and writes their potentials, their
rows of weights, their peak and their divergence mark, so nothing is atomic and nothing depends on the order in which
programs run. The equations are those of `src_lab.sleep.reference`.

Weights stay as they come, row-major (n_out, n_in), a postsynaptic unit's inputs contiguous. Of the possible layouts
this one moves least memory when about as many units spike above as below a layer: the learning pass reads and writes
whole rows, contiguously, and the forward sum reads scattered elements once, a 32-byte sector each. Transposed weights
would make the learning pass scatter both its read and its write; keeping both layouts would scatter the second write
and take twice the memory; and lazily applied decrements, the cure on a CPU, need a log that every program walks.
Row-major also keeps a program's sum and its learning on the same rows, so that one launch does both.

Spikes are bytes in segments of SEGMENT units, with the number of spikes of every segment beside them. A consumer turns
these counts into the indices of the spiking units by cumulative sums in registers (`_impulse`): in ascending order, at
a cost that hardly grows with the layer, and without a launch of its own.
"""

import triton
from triton import language as tl


@triton.jit(do_not_specialize=["row", "networks", "n_out"])
def step(
    weight_ptr: tl.tensor,  # (networks, n_out, n_in)
    pre_spike_ptr: tl.tensor,  # (rows, networks, segments of n_in, SEGMENT) uint8
    pre_count_ptr: tl.tensor,  # (rows, networks, segments of n_in) int32
    spike_ptr: tl.tensor,  # (rows, networks, segments of n_out, SEGMENT) uint8
    count_ptr: tl.tensor,  # (rows, networks, segments of n_out) int32
    potential_ptr: tl.tensor,  # (networks, n_out), after the reset
    trace_ptr: tl.tensor,  # (rows, networks, n_out), before the threshold test; touched only when RECORD
    peak_ptr: tl.tensor,  # (networks, segments of n_out)
    diverged_ptr: tl.tensor,  # (networks, segments of n_out) int32, first row with a potential that is not finite
    bias_ptr: tl.tensor,  # (networks, n_out), touched only when BIASED
    impulse_ptr: tl.tensor,  # (networks, n_out), touched only when INHIBITED, as is
    impulse_sum_ptr: tl.tensor,  # (networks, segments of n_out) float64
    parameter_ptr: tl.tensor,  # (networks, PARAMETERS): alpha, threshold, decay, dc, inhibition, inc, -dec, the bias' two
    row: tl.tensor,  # of the chunk's buffers: which step this is
    networks: tl.tensor,
    n_out: tl.tensor,
    n_in: tl.tensor,
    PARAMETERS: tl.constexpr,
    RULE: tl.constexpr,
    INHIBITED: tl.constexpr,  # impulses and their sums were left by `sum_impulses`
    BIASED: tl.constexpr,
    RECORD: tl.constexpr,
    SEGMENT: tl.constexpr,
    ACTIVE: tl.constexpr,
    GROUP: tl.constexpr,
    COLUMNS: tl.constexpr,
) -> None:
    """One step of one layer: impulse, membrane, threshold, reset, and learning in the rows that spiked."""
    segment = tl.program_id(0)
    network = tl.program_id(1).to(tl.int64)
    moment = row.to(tl.int64) * networks + network
    segments_in, segments_out = tl.cdiv(n_in, SEGMENT), tl.cdiv(n_out, SEGMENT)
    unit = segment * SEGMENT + tl.arange(0, SEGMENT)
    real = unit < n_out
    row_ptr = weight_ptr + (network * n_out + unit) * n_in
    pre_spike_ptr += moment * segments_in * SEGMENT
    pre_count_ptr += moment * segments_in
    parameter_ptr += network * PARAMETERS

    if INHIBITED:
        impulse = tl.load(impulse_ptr + network * n_out + unit, mask=real, other=0)
        mean = _mean(impulse_sum_ptr + network * segments_out, segments_out, n_out, GROUP).to(impulse.dtype)
        impulse -= tl.load(parameter_ptr + 4) * mean
    else:
        alpha = tl.load(parameter_ptr)
        impulse = alpha * _impulse(row_ptr, real, pre_spike_ptr, pre_count_ptr, segments_in, SEGMENT, ACTIVE, GROUP)

    before = tl.load(potential_ptr + network * n_out + unit, mask=real, other=0)
    v = before * tl.load(parameter_ptr + 2) + impulse
    if BIASED:
        bias = tl.load(bias_ptr + network * n_out + unit, mask=real, other=0)
        v += tl.load(parameter_ptr + 7) * bias
    v += tl.load(parameter_ptr + 3)
    spikes = real & (v >= tl.load(parameter_ptr + 1))
    rank = tl.cumsum(spikes.to(tl.int32), 0)
    count = tl.max(rank, 0)
    # Several threads hold each unit: all must have read its potential and its weights before one of them writes.
    tl.debug_barrier()
    _note(v, real, row, peak_ptr + network * segments_out + segment, diverged_ptr + network * segments_out + segment)
    if RECORD:
        tl.store(trace_ptr + moment * n_out + unit, v, mask=real)
    tl.store(potential_ptr + network * n_out + unit, tl.where(spikes, 0, v), mask=real)
    tl.store(spike_ptr + moment * segments_out * SEGMENT + unit, spikes.to(tl.uint8))
    tl.store(count_ptr + moment * segments_out + segment, count)
    if BIASED:
        change = tl.load(parameter_ptr + 8) * _factor(bias, RULE)
        tl.store(bias_ptr + network * n_out + unit, bias + change, mask=spikes)

    inc, minus_dec = tl.load(parameter_ptr + 5), tl.load(parameter_ptr + 6)
    for k in range(count):
        spiking = segment * SEGMENT + tl.sum((rank <= k).to(tl.int32), 0)
        _learn(weight_ptr + (network * n_out + spiking) * n_in, pre_spike_ptr, n_in, inc, minus_dec, RULE, COLUMNS)


@triton.jit(do_not_specialize=["row", "networks", "n_out"])
def sum_impulses(
    weight_ptr: tl.tensor,
    pre_spike_ptr: tl.tensor,
    pre_count_ptr: tl.tensor,
    impulse_ptr: tl.tensor,
    impulse_sum_ptr: tl.tensor,
    parameter_ptr: tl.tensor,
    row: tl.tensor,
    networks: tl.tensor,
    n_out: tl.tensor,
    n_in: tl.tensor,
    PARAMETERS: tl.constexpr,
    SEGMENT: tl.constexpr,
    ACTIVE: tl.constexpr,
    GROUP: tl.constexpr,
) -> None:
    """Before `step` when a layer is inhibited by its mean: the impulses, and their sum over each segment in float64."""
    segment = tl.program_id(0)
    network = tl.program_id(1).to(tl.int64)
    moment = row.to(tl.int64) * networks + network
    segments_in, segments_out = tl.cdiv(n_in, SEGMENT), tl.cdiv(n_out, SEGMENT)
    unit = segment * SEGMENT + tl.arange(0, SEGMENT)
    real = unit < n_out
    row_ptr = weight_ptr + (network * n_out + unit) * n_in
    pre_spike_ptr += moment * segments_in * SEGMENT
    pre_count_ptr += moment * segments_in
    alpha = tl.load(parameter_ptr + network * PARAMETERS)
    impulse = alpha * _impulse(row_ptr, real, pre_spike_ptr, pre_count_ptr, segments_in, SEGMENT, ACTIVE, GROUP)
    tl.store(impulse_ptr + network * n_out + unit, impulse, mask=real)
    total = tl.sum(tl.where(real, impulse, 0).to(tl.float64), 0)
    tl.store(impulse_sum_ptr + network * segments_out + segment, total)


@triton.jit
def _impulse(
    row_ptr: tl.tensor,
    real: tl.tensor,
    pre_spike_ptr: tl.tensor,
    pre_count_ptr: tl.tensor,
    segments: tl.tensor,
    SEGMENT: tl.constexpr,
    ACTIVE: tl.constexpr,
    GROUP: tl.constexpr,
) -> tl.tensor:
    """W s of the program's rows: the spiking units' weights, summed in float64 and rounded once to the weights' dtype.

    ACTIVE spikes at a time, out of GROUP blocks of SEGMENT segments at a time, always from the lowest: the order of a
    float64 sum is fixed too. The k-th spike is looked up as in a tree: its block, its segment there, its unit there.
    """
    lane = tl.arange(0, SEGMENT)
    total = tl.zeros([SEGMENT], tl.float64)
    for first in range(0, segments, GROUP * SEGMENT):
        member = first + tl.arange(0, GROUP)[:, None] * SEGMENT + lane[None, :]
        upto = tl.cumsum(tl.sum(tl.load(pre_count_ptr + member, mask=member < segments, other=0), 1), 0)
        active = tl.max(upto, 0)
        for start in range(0, active, ACTIVE):
            k = start + tl.arange(0, ACTIVE)
            exists = k < active
            block, rank = _locate(upto[None, :], k)
            member = first + block[:, None] * SEGMENT + lane[None, :]
            counts = tl.load(pre_count_ptr + member, mask=exists[:, None] & (member < segments), other=0)
            segment, rank = _locate(tl.cumsum(counts, 1), rank)
            home = (first + block * SEGMENT + segment) * SEGMENT
            spikes = tl.load(pre_spike_ptr + home[:, None] + lane[None, :], mask=exists[:, None], other=0)
            unit, _ = _locate(tl.cumsum(spikes.to(tl.int32), 1), rank)
            w = tl.load(row_ptr[:, None] + (home + unit)[None, :], mask=real[:, None] & exists[None, :], other=0)
            total += tl.sum(w.to(tl.float64), 1)
    return total.to(row_ptr.dtype.element_ty)


@triton.jit
def _locate(upto: tl.tensor, k: tl.tensor) -> tuple[tl.tensor, tl.tensor]:
    """Where the k-th spike lies, given cumulative counts (.., N), and the number of spikes before it in that place."""
    passed = upto <= k[:, None]
    return tl.sum(passed.to(tl.int32), 1), k - tl.max(tl.where(passed, upto, 0), 1)


@triton.jit
def _mean(sum_ptr: tl.tensor, segments: tl.tensor, n_out: tl.tensor, GROUP: tl.constexpr) -> tl.tensor:
    """Mean over the layer, in float64 and in an order that every program shares."""
    total = tl.zeros([GROUP], tl.float64)
    for first in range(0, segments, GROUP):
        group = first + tl.arange(0, GROUP)
        total += tl.load(sum_ptr + group, mask=group < segments, other=0)
    return tl.sum(total, 0) / n_out.to(tl.float64)


@triton.jit
def _note(v: tl.tensor, real: tl.tensor, row: tl.tensor, peak_ptr: tl.tensor, diverged_ptr: tl.tensor) -> None:
    """Raise the segment's peak, and mark the first row in which one of its potentials is not finite."""
    tl.store(peak_ptr, tl.maximum(tl.load(peak_ptr), tl.max(tl.where(real, v, float("-inf")), 0)))
    strays = tl.sum((real & ~(tl.abs(v) < float("inf"))).to(tl.int32), 0)
    if strays > 0:
        tl.store(diverged_ptr, tl.minimum(tl.load(diverged_ptr), row))


@triton.jit
def _learn(
    row_ptr: tl.tensor,
    pre_spike_ptr: tl.tensor,
    n_in: tl.tensor,
    inc: tl.tensor,
    minus_dec: tl.tensor,
    RULE: tl.constexpr,
    COLUMNS: tl.constexpr,
) -> None:
    """w += rate f(w) along one row, where rate is inc under a spike and -dec elsewhere."""
    for first in range(0, n_in, COLUMNS):
        column = first + tl.arange(0, COLUMNS)
        inside = column < n_in
        w = tl.load(row_ptr + column, mask=inside, other=0)
        rate = tl.where(tl.load(pre_spike_ptr + column, mask=inside, other=0) != 0, inc, minus_dec)
        tl.store(row_ptr + column, w + rate * _factor(w, RULE), mask=inside)


@triton.jit
def _factor(w: tl.tensor, RULE: tl.constexpr) -> tl.tensor:
    """f(w) of `src_lab.sleep.rules`, operation by operation, each correctly rounded but for the exponential."""
    if RULE == "tadros":
        factor = 2 * (1 - _divide(1.0, 1 + tl.exp(_divide(-w, 0.001, w.dtype.is_fp64())), w.dtype.is_fp64()))
    elif RULE == "sigmoid":
        factor = _divide(1.0, 1 + tl.exp(-w), w.dtype.is_fp64())
    else:
        factor = w
    return factor


@triton.jit
def _divide(x: tl.tensor, y: tl.tensor, DOUBLE: tl.constexpr) -> tl.tensor:
    """x / y rounded as IEEE says; a plain `/` of float32 is an approximation on the GPU."""
    return x / y if DOUBLE else tl.div_rn(x, y)
