"""Operations on symbols: the look-back of the local decoder, and the loss.

Shapes: B streams, N units, L symbols of look-back, D width, V symbols, M rows.
"""

from typing import Any

import torch
from torch import Tensor

from cpu1.ops import reference
from cpu1.ops.native import addresses, dense, fast_form_of, train
from cpu1.ops.operator import Operator

# -------------------------------------------------------------------------------------- look back


@fast_form_of(reference.look_back)
def look_back(base: Tensor, vectors: Tensor, stream: Tensor) -> Tensor:
    out: Tensor = look_back_op(base, vectors, stream)
    return out


look_back_op = Operator(
    "look_back(Tensor base, Tensor vectors, Tensor stream) -> Tensor",
    lambda base, vectors, stream: torch.empty_like(base),
)
look_back_backward_op = Operator(
    "look_back_backward(Tensor dout, Tensor vectors, Tensor stream) -> Tensor",
    lambda dout, vectors, stream: torch.empty_like(vectors),
)


@look_back_op.kernel("CPU")
def _look_back(base: Tensor, vectors: Tensor, stream: Tensor) -> Tensor:
    (batch, units, width), (symbols, taps, _) = base.shape, vectors.shape
    base, vectors, stream = base.contiguous(), dense(vectors, symbols, taps, width), dense(stream, batch, taps + units)
    out = torch.empty_like(base)
    train.look_back(*addresses(base, vectors, stream, out), batch, units, width, taps, symbols, torch.get_num_threads())
    return out


@look_back_backward_op.kernel("CPU")
def _look_back_backward(dout: Tensor, vectors: Tensor, stream: Tensor) -> Tensor:
    (batch, units, width), (symbols, taps, _) = dout.shape, vectors.shape
    dout, dvectors = dout.contiguous(), torch.zeros_like(vectors)
    train.look_back_backward(
        *addresses(dout, stream.contiguous(), dvectors), *(batch, units, width, taps, symbols, torch.get_num_threads())
    )
    return dvectors


@look_back_op.gradient(lambda ctx, inputs, out: ctx.save_for_backward(*inputs[1:]))
def _(ctx: Any, dout: Tensor) -> tuple[Any, ...]:
    return dout, look_back_backward_op(dout, *ctx.saved_tensors), None


# ------------------------------------------------------------------------------------------- loss


@fast_form_of(reference.cross_entropy)
def cross_entropy(logits: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    nats, _ = cross_entropy_op(logits, target)
    total: Tensor = (nats if weight is None else nats * weight).sum()
    return total


cross_entropy_op = Operator(
    "cross_entropy(Tensor logits, Tensor target) -> (Tensor, Tensor)",
    lambda logits, target: (logits.new_empty(len(logits)), logits.new_empty(len(logits))),
)
cross_entropy_backward_op = Operator(
    "cross_entropy_backward(Tensor dnats, Tensor logits, Tensor target, Tensor total) -> Tensor",
    lambda dnats, logits, target, total: torch.empty_like(logits),
)


@cross_entropy_op.kernel("CPU")
def _cross_entropy(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    logits, target = logits.contiguous(), dense(target.long(), len(logits))
    nats, total = cross_entropy_op.empty(logits, target)
    train.cross_entropy(*addresses(logits, target, nats, total), *logits.shape, torch.get_num_threads())
    return nats, total


@cross_entropy_backward_op.kernel("CPU")
def _cross_entropy_backward(dnats: Tensor, logits: Tensor, target: Tensor, total: Tensor) -> Tensor:
    logits, target, dnats = logits.contiguous(), target.long().contiguous(), dnats.contiguous()
    dlogits = torch.empty_like(logits)
    tensors = addresses(logits, target, total, dnats, dlogits)
    train.cross_entropy_backward(*tensors, *logits.shape, torch.get_num_threads())
    return dlogits


@cross_entropy_op.gradient(lambda ctx, inputs, out: ctx.save_for_backward(*inputs, out[1]), constants=(1,))
def _(ctx: Any, dnats: Tensor, _: None) -> tuple[Any, ...]:
    return cross_entropy_backward_op(dnats, *ctx.saved_tensors), None
