"""Where in a network something goes wrong: the module's path, what it was given, and the user's line."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from winnow.core.errors import Refused, told
from winnow.core.holes import Asking
from winnow.core.space import Space


@dataclass
class Trace:
    """What a forward pass tells of its modules while it runs; `what` begins every sentence."""

    what: str
    names: dict[nn.Module, str]
    open: list[tuple[nn.Module, tuple[Any, ...], list[int]]] = field(default_factory=list)
    given: dict[nn.Module, dict[str | int, Any]] = field(default_factory=dict)  # by hole and option: what was returned
    lost: str | None = None  # the first module that makes what is not finite of what is
    several: bool = False  # whether every hole runs all its candidates

    def enter(self, module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        given = (*inputs, *named.values())
        self.open.append((module, given, [x._version for x in given if isinstance(x, Tensor)]))

    def leave(self, module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any], output: Any) -> None:
        while self.open and self.open[-1][0] is not module:  # a module that raised, and was caught
            self.open.pop()
        if not self.open:
            return
        _, given, before = self.open.pop()
        if self.lost is None and _finite(given) and not _finite((output,)):
            self.lost = self.name(module)
        hole = self.open[-1][0] if self.open else None
        if isinstance(hole, Asking):
            option = _option(hole, module)
            self.given.setdefault(hole, {})[option] = output
            changed = [x._version for x in given if isinstance(x, Tensor)] != before
            if changed and (self.several or hole.decision.several):
                raise Refused(
                    f"{self.what}: option {option!r} of decision {hole.decision.name!r} changes its input in place, "
                    "and the other options read it too: give it inplace=False"
                )

    def name(self, module: nn.Module) -> str:
        path = self.names.get(module, "")
        return f"module {path!r} ({type(module).__name__})" if path else f"the network ({type(module).__name__})"

    def blame(self, error: BaseException) -> Refused:
        said = told(error)
        if "does not have a deterministic implementation" in said:
            place = f" of {self.name(self.open[-1][0])}" if self.open else ""
            operation = said.split(" does not have")[0].split(": ")[-1]
            return Refused(
                f"{self.what}: {operation}{place} gives other bits each time on this device, and winnow promises equal "
                "ones (docs/determinism.md): take another layer in its place"
            )
        odd = self.disagreement()
        if odd is not None:
            return Refused(f"{self.what}: {odd}")
        if not self.open:
            return Refused(f"{self.what}: {said}")
        module, given, _ = self.open[-1]
        return Refused(f"{self.what}: {self.name(module)}, given {described(given)}: {said}")

    def disagreement(self) -> str | None:
        """Candidates that cannot be summed: of two shapes, or no tensors."""
        for hole, outputs in self.given.items() if self.several else ():
            assert isinstance(hole, Asking)
            for option, output in outputs.items():
                if not isinstance(output, Tensor):
                    return (
                        f"option {option!r} of decision {hole.decision.name!r} returns a {type(output).__name__}; "
                        "the options of a choice are weighed and added, so each returns one tensor"
                    )
            shapes = {option: tuple(output.shape) for option, output in outputs.items()}
            first, *rest = shapes.items()
            for option, shape in rest:
                if shape != first[1]:
                    return (
                        f"decision {hole.decision.name!r}: option {first[0]!r} returns shape {first[1]}, option "
                        f"{option!r} {shape}; the options of a choice are weighed and added, so all return one shape"
                    )
        return None


@contextlib.contextmanager
def traced(network: nn.Module, what: str, *, several: bool = False) -> Iterator[Trace]:
    """Refused, with the place, where the block, which runs `network`, raises. `several`: holes run all candidates."""
    names: dict[nn.Module, str] = {}
    for name, module in network.named_modules():
        names.setdefault(module, name.removeprefix("model").removeprefix(".") if isinstance(network, Space) else name)
    trace = Trace(what, names, several=several)
    handles = []
    for module in names:
        if not isinstance(module, Space) and not isinstance(module, torch.jit.ScriptModule):
            handles.append(module.register_forward_pre_hook(trace.enter, with_kwargs=True))
            handles.append(module.register_forward_hook(trace.leave, with_kwargs=True))
    try:
        yield trace
    except Refused:
        raise
    except (Exception, SystemExit) as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        raise trace.blame(error) from error
    finally:
        for handle in handles:
            handle.remove()


def described(given: tuple[Any, ...]) -> str:
    return ", ".join(str(tuple(x.shape)) if isinstance(x, Tensor) else type(x).__name__ for x in given) or "nothing"


def _option(hole: Asking, module: nn.Module) -> str | int:
    for option in hole.decision.options:
        if module in hole.kept(option if not hole.decision.several else (option,)):
            return option
    return hole.decision.name


def _finite(values: tuple[Any, ...]) -> bool:
    return all(bool(x.isfinite().all()) for x in values if isinstance(x, Tensor) and (x.is_floating_point()))
