"""Which of a GPU's libraries and kernels a run may use, and when it follows a mask.

The stack decides, and fields of the machine over it: ``masks``, ``library``, ``kernel``.
"""

from nmsim.errors import SpecError, UnknownName
from nmsim.files import remembered
from nmsim.gemm import Gemm
from nmsim.machines.gpu.kernels import load_kernels
from nmsim.machines.gpu.schema import Gpu, Library
from nmsim.machines.gpu.stacks import Masks, Stack, load_stack
from nmsim.network.operand import ROLES, Role, operands_of
from nmsim.registry import unknown_name

__all__ = [
    "check",
    "choices",
    "dense_library",
    "masks_of",
    "role_of",
    "sparse_libraries",
    "stack_of",
]


def stack_of(machine: Gpu) -> Stack:
    """The stack that calls a GPU's libraries.

    Raises
    ------
    UnknownName, SpecError
        for one that does not exist.
    """
    return load_stack(machine.stack)


def masks_of(machine: Gpu) -> Masks:
    """When a mask is followed: as the machine says, else as its stack does."""
    return machine.masks or stack_of(machine).masks


def role_of(gemm: Gemm, position: str) -> Role | None:
    """What an operand is to its network; None: the GEMM is of none."""
    if gemm.kind == "gemm":
        return None
    if gemm.kind == "matmul":
        return "activation"
    tensor = operands_of(gemm)[position == "b"].tensor
    return next((role for role in ROLES if role == tensor), "activation")


@remembered(maxsize=1024)
def sparse_libraries(machine: Gpu, role: Role | None) -> tuple[str, ...]:
    """Names of the libraries that may run a mask of an operand, in order of preference."""
    check(machine)
    own = _names(machine, sparse=True)
    if machine.library in own:
        return (machine.library,)
    stack = stack_of(machine)
    if not stack.sparse:
        return _searched(machine)
    return tuple(name for name in stack.libraries(role) if name in own)


@remembered(maxsize=256)
def dense_library(machine: Gpu) -> str:
    """The library that a dense GEMM is to run by; "" where nobody says."""
    check(machine)
    own = _names(machine, sparse=False)
    return next((name for name in (machine.library, stack_of(machine).packed) if name in own), "")


def _names(machine: Gpu, *, sparse: bool) -> tuple[str, ...]:
    """Libraries of the machine that take its number format, each name once."""
    fits = (
        one.library
        for one in machine.libraries
        if one.sparse == sparse and (not one.dtypes or machine.dtype in one.dtypes)
    )
    return tuple(dict.fromkeys(fits))


def _searched(machine: Gpu) -> tuple[str, ...]:
    """Libraries that take masks, but for defaults: what their own search finds is no slower."""
    defaults = {
        one.library for one in machine.libraries if load_kernels(one.kernels).choice == "default"
    }
    return tuple(name for name in _names(machine, sparse=True) if name not in defaults)


@remembered(maxsize=256)
def check(machine: Gpu) -> None:
    """Hold ``stack``, ``library`` and ``kernel`` of a machine to what there is.

    Raises
    ------
    UnknownName, SpecError
        naming what there is instead.
    """
    stack_of(machine)
    known = tuple(dict.fromkeys(one.library for one in machine.libraries))
    if machine.library and machine.library not in known:
        raise _named(machine, unknown_name("library", machine.library, known))
    if not machine.kernel:
        return
    every = {name for one in machine.libraries for name in _kernels(one)}
    if machine.kernel not in every:
        raise _named(machine, unknown_name("kernel", machine.kernel, sorted(every)))
    own = {name for one in _in_use(machine) for name in _kernels(one)}
    if machine.kernel not in own:
        whose = f"library {machine.library}" if machine.library else f"stack {machine.stack}"
        raise SpecError(
            f"kernel {machine.kernel!r}: {whose} on {machine.name} does not have it, expected one "
            f"of {', '.join(sorted(own))}"
        )


def _named(machine: Gpu, error: UnknownName) -> UnknownName:
    """The error with the machine's name before it, whose file may be to blame."""
    return UnknownName(f"{machine.name}: {error}")


def choices(machine: Gpu) -> str:
    """What chooses kernels and whether masks are followed: ``stack best, masks where they pay``.

    Raises
    ------
    UnknownName, SpecError
        as ``check``.
    """
    check(machine)
    said = [f"stack {machine.stack}", f"masks {masks_of(machine).replace('_', ' ')}"]
    said += [f"library {machine.library}"] if machine.library else []
    said += [f"kernel {machine.kernel}"] if machine.kernel else []
    return ", ".join(said)


def _in_use(machine: Gpu) -> tuple[Library, ...]:
    """Libraries that a run may call: the named one, or those of the stack."""
    if machine.library:
        return tuple(one for one in machine.libraries if one.library == machine.library)
    stack = stack_of(machine)
    served = {name for service in stack.sparse for name in service.libraries}
    return tuple(
        one
        for one in machine.libraries
        if not (one.sparse and stack.sparse) or one.library in served
    )


def _kernels(library: Library) -> tuple[str, ...]:
    return tuple(kernel.name for kernel in load_kernels(library.kernels).kernels)
