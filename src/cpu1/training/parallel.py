"""The group of processes that train one model: a single process, or all that torchrun started.

    Group      one process, which has nothing to share
    Replicas   the model in every process, gradients averaged (DDP, arXiv 2006.15704)
    Shards     weights, gradients and moments split among the processes (FSDP2, arXiv 2304.11277)

Every group has the same batch in a step and minimises the same loss. So a term that is not linear in means over the
batch must use `Group.mean`. Only the process that leads writes and evaluates.

Shapes: B windows of a step's batch, N units of a window.
"""

import gc
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from cpu1.errors import UserError
from cpu1.model.ingredients.linear import TernaryProjection
from cpu1.model.ingredients.lookups import set_sparse
from cpu1.model.network import Model
from cpu1.runs.settings import Settings

T = TypeVar("T")
MEETING_TRIES, MEETING_PAUSE = 150, timedelta(seconds=2)


@dataclass(frozen=True)
class Ranks:
    """The number of this process and how many there are, in all and on this machine."""

    rank: int = 0
    world: int = 1
    local_rank: int = 0
    local_world: int = 1

    @classmethod
    def read(cls) -> "Ranks":
        """The ranks that torchrun sets in the environment. UserError for a variable that is no number."""
        names = {"rank": "RANK", "world": "WORLD_SIZE", "local_rank": "LOCAL_RANK", "local_world": "LOCAL_WORLD_SIZE"}
        try:
            return cls(**{field: int(os.environ[name]) for field, name in names.items() if name in os.environ})
        except ValueError as error:
            raise UserError(f"{', '.join(names.values())} are torchrun's, and one is no number ({error})") from None


class Group:
    """One process, and the interface of all groups."""

    def __init__(self, device: torch.device, ranks: Ranks | None = None) -> None:
        self.device, self.ranks = device, ranks or Ranks()

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes and evaluates."""
        return self.ranks.rank == 0

    @property
    def threads(self) -> int | None:
        """Threads for each process, so that those of a machine share its cores; None: torch's own choice."""
        if self.ranks.local_world == 1:
            return None
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return max(1, cores // self.ranks.local_world)

    def check(self, settings: Settings) -> None:
        """Raises UserError for settings that this group cannot follow."""
        if settings.batch % self.ranks.world:
            raise UserError(
                f"a batch of {settings.batch} windows cannot be shared evenly by {self.ranks.world} processes: "
                "start another number of them, or choose the batch with --set batch=N (for a new run)"
            )

    def share(self, batch: NDArray[Any]) -> Tensor:
        """This process's rows of a step's windows (B, N), on its device: int64 (B / processes, N)."""
        return torch.from_numpy(self.rows(batch).astype(np.int64)).to(self.device)

    def rows(self, batch: NDArray[Any]) -> NDArray[Any]:
        """This process's rows of an array with one row for each window of a step."""
        return np.split(batch, self.ranks.world)[self.ranks.rank]

    def wrap(self, model: Model) -> nn.Module:
        """Moves the model to its device; returns the module to call instead of it. Create the optimiser afterwards."""
        self.choose_gradients(model)
        return model.to(self.device)

    def choose_gradients(self, model: Model) -> None:
        """Sparse gradients of tables are for one process on a CPU: a device would wait to count their rows."""
        set_sparse(model, self.device.type == "cpu" and self.ranks.world == 1)

    def whole(self, model: Model) -> Model:
        """The model with all its weights, for reading; all processes must call this together."""
        return model

    def mean(self, tensor: Tensor) -> Tensor:
        """The mean over the processes, without gradient."""
        return tensor

    def any(self, *flags: bool) -> tuple[bool, ...]:
        """Of each flag, whether it is set in any process."""
        return flags

    def first(self, value: T) -> T:
        """The leading process's `value`."""
        return value

    def gather(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Whole tensors in the leading process; an empty dict in the others."""
        return dict(tensors)

    def spread(self, tensors: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
        """The leading process's whole tensors in every process, one after the other."""
        yield from tensors.items()

    def leave(self) -> None:
        """Ends the communication of the processes; may be called again."""


class Replicas(Group):
    """Processes that each hold the model."""

    def wrap(self, model: Model) -> nn.Module:
        self.choose_gradients(model)
        # Buffers are the same in all processes, since each computes them from the same numbers.
        return DistributedDataParallel(model.to(self.device), forward_sync_buffers=False, gradient_as_bucket_view=True)

    def mean(self, tensor: Tensor) -> Tensor:
        total = tensor.detach().clone()
        dist.all_reduce(total)
        return total / self.ranks.world

    def any(self, *flags: bool) -> tuple[bool, ...]:
        set_somewhere = torch.tensor(flags, dtype=torch.uint8, device=self.device)
        dist.all_reduce(set_somewhere, dist.ReduceOp.MAX)
        return tuple(map(bool, set_somewhere.tolist()))

    def first(self, value: T) -> T:
        box = [value]
        dist.broadcast_object_list(box, src=0, device=self.device)
        return box[0]

    def gather(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return dict(tensors) if self.leads else {}

    def spread(self, tensors: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
        for name, shape, dtype in self.first([(name, t.shape, t.dtype) for name, t in tensors.items()]):
            if self.leads:
                tensor = tensors[name].to(self.device)
            else:
                tensor = torch.empty(shape, dtype=dtype, device=self.device)
            dist.broadcast(tensor, src=0)
            yield name, tensor

    def leave(self) -> None:
        if dist.is_initialized():
            gc.collect()  # a sharded model that outlives its group may abort the process at its exit
            dist.destroy_process_group()


class Shards(Replicas):
    """Processes that each hold a part of every tensor, and gather a block only while they compute it."""

    def check(self, settings: Settings) -> None:
        super().check(settings)
        if settings.optimizer == "muon":
            raise UserError(
                "--set optimizer=muon needs whole matrices, and --shard splits them: leave out --shard, or take adamw"
            )

    def wrap(self, model: Model) -> nn.Module:
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        warnings.filterwarnings("ignore", "FSDP2-wrapped module .* returned a view")  # nothing writes into it
        self.choose_gradients(model)
        mesh = init_device_mesh(self.device.type, (self.ranks.world,))
        for block in model.blocks:
            fully_shard(block, mesh=mesh)
        fully_shard(model, mesh=mesh)
        return model.to(self.device)

    def whole(self, model: Model) -> Model:
        """A copy on the CPU: such a model may be too large for the device."""
        copy = Model(model.recipe)
        copy.load_state_dict({name: full(tensor).cpu() for name, tensor in model.state_dict().items()})
        for own, other in zip(copy.modules(), model.modules(), strict=True):
            if isinstance(own, TernaryProjection) and isinstance(other, TernaryProjection):
                own.ternary = other.ternary  # the phase of training, which is no tensor
        return copy.train(model.training)

    def gather(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        whole = {}
        for name, tensor in tensors.items():
            gathered = full(tensor)
            if self.leads:
                whole[name] = gathered.cpu()
        return whole


@contextmanager
def join(device: torch.device, shard: bool = False) -> Iterator[Group]:
    """A context with the group that this process belongs to. Gloo joins CPUs, NCCL joins GPUs.

    `shard` splits tensors among the processes. UserError when torchrun's variables are wrong, or process 0 is out of
    reach.
    """
    ranks = Ranks.read()
    if ranks.world == 1:
        yield Group(device)
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group(
        "nccl" if device.type == "cuda" else "gloo",
        store=_meet(ranks),
        rank=ranks.rank,
        world_size=ranks.world,
        device_id=device if device.type == "cuda" else None,
    )
    group = (Shards if shard else Replicas)(device, ranks)
    try:
        yield group
    finally:
        group.leave()


def _meet(ranks: Ranks) -> dist.Store:
    """The store with the processes' addresses. It belongs to the first process and ends with it.

    torchrun's own store outlives a restart, and keeps the addresses of processes that have ended (in torch 2.13, see
    its issue 135712). So it only holds the address of the first process: one that has ended does not answer there.
    """
    offered = next(iter(dist.rendezvous("env://")))[0]
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return offered  # not the store of torchrun
    host, key = os.environ["MASTER_ADDR"], "cpu1/port"
    if ranks.rank == 0:
        own = dist.TCPStore(host, 0, is_master=True, wait_for_workers=False)
        offered.set(key, str(own.port))
        return own
    for _ in range(MEETING_TRIES):
        with suppress(dist.DistError):
            return dist.TCPStore(host, int(offered.get(key)), is_master=False, timeout=MEETING_PAUSE)
    raise UserError(f"process {ranks.rank}: process 0 does not answer at {host}; is a firewall between the machines?")


def lost(error: RuntimeError) -> bool:
    """Whether an error means that another process of the group has ended.

    Torch has a class for errors of NCCL; those of gloo only name its source file.
    """
    return isinstance(error, dist.DistError) or "gloo/transport" in str(error)


def unwrapped(replica: nn.Module) -> Any:
    """The model inside the module that `Group.wrap` returned."""
    return replica.module if isinstance(replica, DistributedDataParallel) else replica


def full(tensor: Tensor) -> Tensor:
    """A tensor as it is, or a sharded one gathered from all processes, which must call this together."""
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


def placed(tensor: Tensor, like: Tensor) -> Tensor:
    """A whole tensor on the device of `like`; this process's part of it if `like` is sharded and of the same shape."""
    tensor = tensor.to(like.device)
    if not hasattr(like, "full_tensor") or tensor.shape != like.shape:
        return tensor
    from torch.distributed.tensor import DTensor, distribute_tensor

    assert isinstance(like, DTensor)
    return distribute_tensor(tensor, like.device_mesh, like.placements, src_data_rank=None)
