"""Models whose forces are derivatives of their energy, compiled so that they can be trained on forces."""

from __future__ import annotations

import os
import shutil
import warnings
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import make_fx
from torch.overrides import TorchFunctionMode

from geomlib.errors import InvalidInput, MissingDependency

__all__ = ["CompiledForces", "compile_forces"]

_DETACH = torch.ops.aten.detach.default


def compile_forces(
    model: nn.Module, *, backend: str | None = None, positions: str = "pos", energy: str = "energy"
) -> CompiledForces:
    r"""Return a module that evaluates energy and forces by one compiled graph, and can be trained on both.

    .. math:: F_i = -\frac{\partial}{\partial r_i} \sum_b E_b(r; \theta)

    ``torch.compile`` alone cannot differentiate twice, which a loss of forces needs. Here energy and forces are first traced
    into one graph of plain operators; that graph is compiled, and its first derivative is the second of the energy. A graph
    is made for every set of shapes, so pad inputs to a few sizes; what the model does may not depend on values of
    its inputs (neighbour lists are inputs).

    **Group** that of the model. **Shapes** those of the model; forces as positions.

    Args:
        model: called with keyword arguments, returns the energies or a dict that holds them; the parameters stay its own.
        backend: of ``torch.compile``: ``"inductor"``, ``"aot_eager"`` (no compiler needed), or any other; ``"inductor"`` if
            absent, or, with a warning, ``"aot_eager"`` where there is no C++ compiler.
        positions: name of the argument that holds the positions.
        energy: key of the energies, if the model returns a dict.

    Raises:
        MissingDependency: ``"inductor"`` was asked for by name and there is no C++ compiler.
        InvalidInput: at the call: no positions among the arguments, or no energy among the results.

    >>> class Springs(nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.stiffness = nn.Parameter(torch.tensor(2.0))
    ...
    ...     def forward(self, pos):
    ...         return 0.5 * self.stiffness * (pos**2).sum()
    >>> model = compile_forces(Springs(), backend="aot_eager")
    >>> out = model(pos=torch.tensor([[1.0, 2.0, 3.0]]))
    >>> out["forces"].tolist()
    [[-2.0, -4.0, -6.0]]
    >>> out["forces"].sum().backward()
    >>> float(model.model.stiffness.grad)
    -6.0
    """
    return CompiledForces(model, _backend(backend), positions, energy)


class CompiledForces(nn.Module):
    """A model whose energies and forces come from one compiled graph per set of shapes; see :func:`compile_forces`.

    Args:
        model: the model; its parameters are used as they are at each call.
        backend: of ``torch.compile``.
        positions: name of the argument that holds the positions.
        energy: key of the energies.
        limit: number of graphs kept; the least recently used goes first.
    """

    def __init__(
        self, model: nn.Module, backend: str, positions: str, energy: str, *, limit: int = 32
    ) -> None:
        super().__init__()
        self.model, self.backend, self.positions, self.energy, self.limit = (
            model,
            backend,
            positions,
            energy,
            limit,
        )
        self._graphs: OrderedDict[Hashable, Callable[..., dict[str, Tensor]]] = OrderedDict()

    def forward(self, **inputs: Any) -> dict[str, Tensor]:
        """Return energies and forces, and whatever else the model returns.

        Raises:
            InvalidInput: no positions among the arguments, or no energy among the results.
        """
        if not isinstance(inputs.get(self.positions), Tensor):
            raise InvalidInput(
                f"compile_forces: expected the positions as the argument {self.positions!r}, got {sorted(inputs)}."
            )
        tensors = {k: v for k, v in inputs.items() if isinstance(v, Tensor)}
        fixed = {k: v for k, v in inputs.items() if not isinstance(v, Tensor)}
        state = {**dict(self.model.named_parameters()), **dict(self.model.named_buffers())}
        key = (
            *((k, v.shape, v.dtype, v.device) for k, v in (*tensors.items(), *state.items())),
            *((m.training, type(m)) for m in self.model.modules()),
            repr(sorted(fixed.items())),
        )
        graph = self._graphs.get(key)
        if graph is None:
            graph = self._graphs[key] = self._compiled(state, tensors, fixed)
            while len(self._graphs) > self.limit:
                self._graphs.popitem(last=False)
        self._graphs.move_to_end(key)
        return graph(state, tensors)

    def _compiled(
        self, state: dict[str, Tensor], tensors: dict[str, Tensor], fixed: dict[str, Any]
    ) -> Callable[..., dict[str, Tensor]]:
        def evaluate(state: dict[str, Tensor], tensors: dict[str, Tensor]) -> dict[str, Tensor]:
            with torch.enable_grad():
                with _KeepConstants():
                    found = torch.func.functional_call(self.model, state, (), {**tensors, **fixed})
                out = dict(found) if isinstance(found, dict) else {self.energy: found}
                if not isinstance(out.get(self.energy), Tensor):
                    raise InvalidInput(
                        f"compile_forces: the model returned {sorted(out)}, but no {self.energy!r}; name it by energy=."
                    )
                pos = tensors[self.positions]
                (g,) = torch.autograd.grad(
                    out[self.energy].sum(), pos, create_graph=True, materialize_grads=True
                )
            return {**{k: v for k, v in out.items() if isinstance(v, Tensor)}, "forces": -g}

        example = {k: v.detach() for k, v in tensors.items()}
        example[self.positions].requires_grad_()
        graph = make_fx(evaluate, tracing_mode="real")(state, example)
        # Autograd detaches what it saves; in the graph that would cut the second derivative.
        for node in graph.graph.find_nodes(op="call_function", target=_DETACH):
            node.replace_all_uses_with(node.args[0])
            graph.graph.erase_node(node)
        graph.recompile()
        return torch.compile(graph, backend=self.backend, dynamic=False)

    def __getstate__(self) -> dict[str, Any]:
        """Copy and pickle everything but the graphs."""
        return {**self.__dict__, "_graphs": OrderedDict()}


@torch.library.custom_op("geomlib::constant", mutates_args=())
def _constant(x: Tensor) -> Tensor:
    """A copy that has no derivative."""
    return x.clone()


@_constant.register_fake
def _(x: Tensor) -> Tensor:
    return torch.empty_like(x)


_constant.register_autograd(lambda ctx, grad: None)


class _KeepConstants(TorchFunctionMode):
    """Mark what the model itself takes out of differentiation, by ``detach`` or under ``no_grad``."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        taken = func in (Tensor.detach, torch.detach) or not torch.is_grad_enabled()
        if taken and isinstance(out, Tensor) and out.is_floating_point() and all(out is not a for a in args):
            return _constant(out)
        return out


def _backend(name: str | None) -> str:
    if name not in (None, "inductor"):
        return str(name)
    compilers = [os.environ.get("CXX"), "g++", "clang++", "c++", "cl"]
    if any(shutil.which(c) for c in compilers if c):
        return "inductor"
    if name is None:
        warnings.warn(
            "compile_forces: no C++ compiler was found (tried $CXX, g++, clang++, c++, cl), so the graph runs operator by "
            "operator (backend='aot_eager'). Install one, or pass backend='aot_eager' to silence this.",
            stacklevel=3,
        )
        return "aot_eager"
    raise MissingDependency(
        "compile_forces: backend 'inductor' needs a C++ compiler, and none was found (tried $CXX, g++, clang++, c++, cl). "
        "Install one or use backend='aot_eager'."
    )
