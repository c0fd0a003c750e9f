"""DeCE over rows of logits in Triton, one program a row, in place. The mathematics and its names are in dece.py.

Three sweeps over a row: maximum and sum; logarithms and weights (where there is smoothing); gradient. The
target's class is masked out of every sum and handled by itself, so that 1 - p_t keeps its digits. Row
mathematics is fp32 whatever the logits are. Comparisons are written so that a NaN comes out as a NaN.
"""
# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator"

import triton
import triton.language as tl


@triton.jit
def _others(z, at, classes, target):
    """A block of a row's other classes, fp32; -inf (probability 0) for the target and beyond the end."""
    keep = (at < classes) & (at != target)
    return tl.load(z + at, mask=keep, other=-float("inf")).to(tl.float32), keep


@triton.jit
def _softmax(z, classes, target, BLOCK: tl.constexpr):
    """(z_t, what to take off before exp, sum of exp, 1 / sum, p_t, 1 - p_t) of a row, in one sweep."""
    columns = tl.arange(0, BLOCK)
    z_t = tl.load(z + target).to(tl.float32)
    top = z_t
    rest = tl.full((), 0.0, tl.float32)
    for start in range(0, classes, BLOCK):
        x, _keep = _others(z, start + columns, classes, target)
        higher = tl.maximum(top, tl.max(x, 0))
        # While every class seen is at -inf, -inf - -inf must not make a NaN of what comes after.
        below = tl.where(higher == -float("inf"), 0.0, higher)
        rest = rest * tl.exp(top - below) + tl.sum(tl.exp(x - below), 0)
        top = higher
    shift = tl.where(top == -float("inf"), 0.0, top)
    e_t = tl.exp(z_t - shift)
    total = rest + e_t
    return z_t, shift, total, 1.0 / total, e_t / total, rest / total


@triton.jit
def _minus_log_below_one(y):
    """-log(1 - y) of a small y; below 1/16 the series is off by less than 1e-8."""
    return y * (1.0 + y * (1.0 / 2 + y * (1.0 / 3 + y * (1.0 / 4 + y * (1.0 / 5 + y / 6)))))


@triton.jit
def smoothed_rows(  # noqa: PLR0917 - a launch is positional
    logits,
    stride,
    classes,
    targets,
    scales,
    losses,
    pulls,
    others_out,
    on,
    off,
    missing,
    SMOOTHED: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Without blending and clamp: label-smoothed cross-entropy. ``missing`` is 1 - q_t."""
    row = tl.program_id(0).to(tl.int64)
    z = logits + row * stride
    target = tl.load(targets + row)
    scale = tl.load(scales + row).to(tl.float32)
    columns = tl.arange(0, BLOCK)
    z_t, shift, total, inverse, _p_t, others = _softmax(z, classes, target, BLOCK)
    log_total = tl.log(total)
    loss = on * tl.where(others < 0.0625, _minus_log_below_one(others), log_total + (shift - z_t))
    if SMOOTHED:
        below = tl.full((), 0.0, tl.float32)
        for start in range(0, classes, BLOCK):
            x, keep = _others(z, start + columns, classes, target)
            below += tl.sum(tl.where(keep, x - shift, 0.0), 0)
        loss += off * ((classes - 1) * log_total - below)
    pull = others - missing
    for start in range(0, classes, BLOCK):
        at = start + columns
        x, _keep = _others(z, at, classes, target)
        gradient = scale * (tl.exp(x - shift) * inverse - off)
        gradient = tl.where(at == target, -scale * pull, gradient)
        tl.store(z + at, gradient.to(logits.dtype.element_ty), mask=at < classes)
    tl.store(losses + row, loss)
    tl.store(pulls + row, pull)
    tl.store(others_out + row, others)


@triton.jit
def _blended(x, shift, inverse, gain, ground, floor, CLAMPED: tl.constexpr):  # noqa: PLR0917
    """(p, weight without the factor q_c, what the logarithm is taken of) of a block of other classes."""
    p = tl.exp(x - shift) * inverse
    if CLAMPED:
        mixed = gain * tl.where(p < floor, floor, p) + ground
        return p, tl.where(p < floor, 0.0, gain * p / mixed), mixed
    else:
        mixed = gain * p + ground
        return p, gain * p / mixed, mixed


@triton.jit
def blended_rows(  # noqa: PLR0917 - a launch is positional
    logits,
    stride,
    classes,
    targets,
    scales,
    losses,
    pulls,
    others_out,
    alpha,
    on,
    off,
    base_t,
    gain,
    ground,
    unit_loss,
    floor,
    SMOOTHED: tl.constexpr,
    CLAMPED: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """DeCE. ``base_t`` is (1 - a) q_t; logarithms are those of gain * p + ground, and ``unit_loss`` is what that leaves out."""
    row = tl.program_id(0).to(tl.int64)
    z = logits + row * stride
    target = tl.load(targets + row)
    scale = tl.load(scales + row).to(tl.float32)
    columns = tl.arange(0, BLOCK)
    _z_t, shift, _total, inverse, p_t, others = _softmax(z, classes, target, BLOCK)
    held_t = tl.where(p_t < floor, floor, p_t)
    blend_t = alpha * held_t + base_t
    w_t = tl.where(p_t < floor, 0.0, on * alpha * p_t / blend_t)
    loss = -on * tl.log(blend_t)
    weights = tl.full((), 0.0, tl.float32)
    if SMOOTHED:
        logs = tl.full((), 0.0, tl.float32)
        for start in range(0, classes, BLOCK):
            x, keep = _others(z, start + columns, classes, target)
            _p, weight, mixed = _blended(x, shift, inverse, gain, ground, floor, CLAMPED)
            weights += tl.sum(tl.where(keep, weight, 0.0), 0)
            logs += tl.sum(tl.where(keep, tl.log(mixed), 0.0), 0)
        weights *= off
        loss += unit_loss - off * logs
    elif not CLAMPED:
        lost = alpha * others
        loss = tl.where(lost < 0.0625, _minus_log_below_one(lost), loss)
    pull = others * w_t - p_t * weights
    for start in range(0, classes, BLOCK):
        at = start + columns
        x, _keep = _others(z, at, classes, target)
        if SMOOTHED:
            p, weight, _mixed = _blended(x, shift, inverse, gain, ground, floor, CLAMPED)
            gradient = scale * (p * (weights + w_t) - off * weight)
        else:
            gradient = scale * (tl.exp(x - shift) * inverse * w_t)
        gradient = tl.where(at == target, -scale * pull, gradient)
        tl.store(z + at, gradient.to(logits.dtype.element_ty), mask=at < classes)
    tl.store(losses + row, loss)
    tl.store(pulls + row, pull)
    tl.store(others_out + row, others)
