"""Which part of a merge is done on a GPU that was asked for, and what that does to its bits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .errors import RecipeError
from .header import counted
from .key_job import KeyJob, NodeJob
from .plan import Plan
from .signature import Cost, Reach

if TYPE_CHECKING:
    import torch

DEVICES = ("cpu", "cuda")


def usable_device(name: str) -> torch.device | None:
    """The device that --device names, once it has computed something; None for the processor.

    Raises:
        RecipeError: torch here cannot use it.
    """
    if name == "cpu":
        return None
    import torch

    try:
        tried = torch.eye(2, device=name)
        torch.linalg.eigvalsh(tried).sum().item()  # what decomposes is loaded now: threads that do so at once fail
        return tried.device
    except (AssertionError, RuntimeError) as error:  # torch's own words for a CPU build, a driver too old, a GPU too new
        why = str(error).partition("\n")[0].partition(". ")[0] if torch.backends.cuda.is_built() else "CPU build"
    raise RecipeError(
        f"--device {name}: torch here has no GPU it can use ({why}). Leave --device out, or install a torch that fits the GPU."
    )


def is_costly(nodes: Sequence[NodeJob]) -> bool:
    """Whether a sum with these calls is worth the way to a GPU and back: any does more than plain arithmetic.

    What the processor adds and multiplies as fast as it reads stays there: weighted sums, copies, and calls such as tensor_sum.
    """
    return any(node.method.cost is not Cost.ARITHMETIC for node in nodes)


def reproducible(plan: Plan, device: str) -> str:
    """ "bitwise", or "tolerance" where another machine may make other last bits: on a GPU all that sees whole tensors."""
    moved = [node for job in _moved(plan) for node in _nodes(job)] if device != "cpu" else []
    return "tolerance" if any(node.method.reach is Reach.TENSOR for node in moved) else plan.reproducible


def placement_note(plan: Plan) -> str:
    """What of a plan the GPU does, in a sentence."""
    moved = _moved(plan)
    if not moved:
        return "nothing of this is done on the GPU: plain sums and copies take the processor no longer than the way there."
    found = f"{counted(len(moved), 'key')} of {len(plan.jobs)} are merged on the GPU, the others on the processor"
    if reproducible(plan, "cuda") == "tolerance":
        return f"{found}; what sees whole tensors may differ from the processor's in last places."
    return f"{found}, with the same bytes."


def _moved(plan: Plan) -> list[KeyJob]:
    return [job for job in plan.jobs if is_costly(job.nodes) or (job.extra is not None and is_costly(job.extra.nodes))]


def _nodes(job: KeyJob) -> tuple[NodeJob, ...]:
    return job.nodes + (job.extra.nodes if job.extra else ())
