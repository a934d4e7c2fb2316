"""The callable under test, in two precisions, with its gradients as further outputs."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from geomlib.algebra.symmetry import TensorType
from geomlib.errors import InvalidInput
from geomlib.verify.values import Leaves, Tree, leaves, map_leaves, narrowed, outputs_of, replaced

__all__ = ["GRADIENT", "Target", "gradient_type"]

#: Prefix of the outputs that are gradients.
GRADIENT = "d/d "
_COTANGENT = "cotangent of "


class Target:
    """Deep copies of a callable in float64 and float32, evaluated on trees of inputs.

    Both copies hold the *same* function: parameters are first rounded to numbers that float32 can hold.
    Buffers are left alone, because a module that keeps exact tables recomputes them when its type changes.

    Args:
        function: a module, used in evaluation mode, or a callable that follows the dtype of its inputs.
        types: type of each input leaf; gradients are taken of those that are not ``index``.
        gradients: whether gradients are appended to the outputs.
    """

    def __init__(self, function: Callable[..., Any], types: Mapping[str, TensorType], *, gradients: bool):
        self.types, self.gradients = dict(types), gradients
        self.notes: list[str] = []
        #: Outputs that were attached to a graph when gradients were last taken.
        self.differentiable: set[str] = set()
        if not isinstance(function, nn.Module):
            self._wide: Callable[..., Any] = function
            self._narrow: Callable[..., Any] = function
            return
        wide = copy.deepcopy(function).double().eval()
        with torch.no_grad():
            for parameter in wide.parameters():
                parameter.copy_(parameter.float().double())
        self._wide, self._narrow = wide, copy.deepcopy(wide).float().eval()

    def wide(self, tree: Tree) -> Leaves:
        """Return the float64 outputs for float64 inputs."""
        return self._evaluate(self._wide, map_leaves(tree, lambda _, x: x.detach().clone()))

    def narrow(self, tree: Tree) -> Leaves:
        """Return the outputs of the float32 copy on inputs rounded to float32."""
        return self._evaluate(self._narrow, narrowed(tree))

    def raw(self, tree: Tree) -> Leaves:
        """Return the float64 outputs as computed: on these very tensors, attached to their graph."""
        return outputs_of(self._call(self._wide, tree))

    def with_cotangents(self, tree: Tree, generator: torch.Generator) -> Tree:
        """Return the inputs with one random cotangent per output, from which gradients are formed."""
        if not self.gradients:
            return tree
        found = outputs_of(self._call(self._wide, map_leaves(tree, lambda _, x: x.detach().clone())))
        random = {
            _COTANGENT + name: torch.randn(out.shape, generator=generator).double().to(out.device)
            for name, out in found.items()
            if out.is_floating_point()
        }
        return {**tree, **random}

    def pairing(self, tree: Tree) -> tuple[float, float]:
        """Return the sum of outputs times cotangents, whose derivative the gradients are, and its bound."""
        found = outputs_of(self._call(self._wide, map_leaves(tree, lambda _, x: x.detach().clone())))
        pairs = [(found[n].detach().double(), tree[_COTANGENT + n]) for n in sorted(self.differentiable)]
        value = sum(float((x * c).sum()) for x, c in pairs)
        return value, sum(float(torch.linalg.vector_norm(x) * torch.linalg.vector_norm(c)) for x, c in pairs)

    def cotangent_types(self, outputs: Mapping[str, TensorType]) -> dict[str, TensorType]:
        """Return the types of the cotangents: the duals of the outputs, equal for orthogonal groups."""
        return {_COTANGENT + name: gradient_type(t) for name, t in outputs.items()}

    def _call(self, function: Callable[..., Any], tree: Tree) -> Any:
        arguments = {name: value for name, value in tree.items() if not name.startswith(_COTANGENT)}
        if all(name.isdigit() for name in arguments):
            return function(*(arguments[name] for name in sorted(arguments, key=int)))
        return function(**arguments)

    def _evaluate(self, function: Callable[..., Any], tree: Tree) -> Leaves:
        if not self.gradients:
            return {name: out.detach() for name, out in outputs_of(self._call(function, tree)).items()}
        wrt = {
            path: x.requires_grad_()
            for path, x in leaves(tree).items()
            if x.is_floating_point() and path in self.types and self.types[path].kind != "index"
        }
        with torch.enable_grad():
            found = outputs_of(self._call(function, replaced(tree, wrt)))
        attached = [name for name, out in found.items() if out.requires_grad and _COTANGENT + name in tree]
        self.differentiable = set(attached)
        pairs = [(found[name], tree[_COTANGENT + name].detach().to(found[name])) for name in attached]
        for name, (out, c) in zip(attached, pairs, strict=True):
            if out.shape != c.shape:
                raise InvalidInput(
                    f"verify: output {name!r} has shape {tuple(out.shape)} not {tuple(c.shape)}. "
                    "A graph output has one row per graph; check its scope."
                )
        return {**{name: out.detach() for name, out in found.items()}, **self._gradients(wrt, pairs)}

    def _gradients(self, wrt: Leaves, pairs: list[tuple[Tensor, Tensor]]) -> Leaves:
        if not pairs or not wrt:
            return {}
        try:
            outputs, cotangents = zip(*pairs, strict=True)
            found = torch.autograd.grad(outputs, list(wrt.values()), cotangents, allow_unused=True)
        except RuntimeError as error:
            if "second time" not in str(error):
                raise
            note = "gradients not tested: the target frees its own graph (it differentiates inside)"
            self.notes += [] if note in self.notes else [note]
            return {}
        grads: list[Tensor | None] = list(found)
        return {GRADIENT + path: g for path, g in zip(wrt, grads, strict=True) if g is not None}


def gradient_type(t: TensorType) -> TensorType:
    """Return the type of a gradient with respect to a tensor of type ``t``: points become vectors."""
    return TensorType("vector", t.scope) if t.kind == "point" else t
