"""The callable under test, in two precisions, with its gradients as further outputs."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from geomlib.algebra.symmetry import TensorType, dual_type
from geomlib.errors import InvalidInput
from geomlib.verify.arguments import call
from geomlib.verify.copies import in_float32, in_float64
from geomlib.verify.values import Leaves, Tree, last_name, leaves, map_leaves, narrowed, outputs_of, replaced

__all__ = ["COTANGENT", "GRADIENT", "Target", "WrongShape", "gradient_type"]

#: Prefix of the outputs that are gradients.
GRADIENT = "d/d "
#: Prefix of the inputs that gradients are formed with: one random weight per output.
COTANGENT = "cotangent of "
#: How torch words that two floating types met.
_MIXED = ("same dtype", "expected scalar type", "must have the same", "dtype", "Input type")


def _plain() -> AbstractContextManager[object]:
    return nullcontext()


class WrongShape(InvalidInput):
    """An output has other rows than its type promises: a mistake of the target, not a refusal of the input."""


class Target:
    """Deep copies of a callable in float64 and float32, evaluated on trees of inputs.

    Both copies hold the *same* function: parameters are first rounded to numbers that float32 can hold.
    Buffers are left alone, because a module that keeps exact tables recomputes them when its type changes.

    Args:
        function: a module, used in evaluation mode, or a callable that follows the dtype of its inputs.
        types: type of each input leaf; gradients are taken of those that are not ``index``.
        gradients: whether gradients are appended to the outputs.
        narrow: whether the float32 copy is made too; copies of networks whose code is generated take their time.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        types: Mapping[str, TensorType],
        *,
        gradients: bool,
        narrow: bool = True,
    ):
        self.types, self.gradients = dict(types), gradients
        self.notes: list[str] = []
        #: Outputs that were attached to a graph when gradients were last taken.
        self.differentiable: set[str] = set()
        #: Entered around every float64 evaluation; replaced by what watches or changes its operations.
        self.watch: Callable[[], AbstractContextManager[object]] = _plain
        self._copies = in_float64(function)
        self._wide = self._copies.function
        self._narrow = in_float32(self._copies).function if narrow else None
        self._ran = False

    @property
    def modules(self) -> dict[str, nn.Module]:
        """Modules of the float64 copy by the name under which the callable knows them, ``""`` for itself."""
        return self._copies.modules

    @property
    def constants(self) -> dict[str, Tensor]:
        """Tensors outside modules that the float64 copy uses."""
        return self._copies.constants

    def wide(self, tree: Tree, *, gradients: bool | None = None) -> Leaves:
        """Return the float64 outputs for float64 inputs."""
        fresh = map_leaves(tree, lambda _, x: x.detach().clone())
        with self.watch():
            return self._evaluate(self._wide, fresh, self.gradients if gradients is None else gradients)

    def narrow(self, tree: Tree, *, gradients: bool | None = None) -> Leaves:
        """Return the outputs of the float32 copy on inputs rounded to float32.

        Raises:
            InvalidInput: there is no such copy.
        """
        if self._narrow is None:
            raise InvalidInput("Target: made without its float32 copy. Leave out narrow=False.")
        return self._evaluate(
            self._narrow, narrowed(tree), self.gradients if gradients is None else gradients
        )

    def raw(self, tree: Tree) -> Leaves:
        """Return the float64 outputs as computed: on these very tensors, attached to their graph."""
        with self.watch():
            return self._outputs(self._wide, tree)

    def with_cotangents(self, tree: Tree, generator: torch.Generator, like: Tree | None = None) -> Tree:
        """Return the inputs with one random cotangent per output, from which gradients are formed.

        Args:
            tree: float64 inputs.
            generator: draws the cotangents.
            like: inputs with cotangents; where the shapes are the same, no evaluation is needed to know those.
        """
        if not self.gradients:
            return tree
        if like is not None:
            old, new = leaves(like), leaves(tree)
            weights = {n: x for n, x in old.items() if n.startswith(COTANGENT)}
            same = {n: x.shape for n, x in new.items()} == {
                n: x.shape for n, x in old.items() if n not in weights
            }
            if same and all(
                torch.equal(x, old[n]) for n, x in new.items() if last_name(n) in ("batch", "ptr")
            ):
                drawn = {n: torch.randn(x.shape, generator=generator).double() for n, x in weights.items()}
                return {**tree, **{n: x.to(weights[n]) for n, x in drawn.items()}}
        found = self.raw(map_leaves(tree, lambda _, x: x.detach().clone()))
        random = {
            COTANGENT + name: torch.randn(out.shape, generator=generator).double().to(out.device)
            for name, out in found.items()
            if out.is_floating_point()
        }
        return {**tree, **random}

    def pairing(self, tree: Tree) -> tuple[float, float]:
        """Return the sum of outputs times cotangents, whose derivative the gradients are, and its bound."""
        found = self.raw(map_leaves(tree, lambda _, x: x.detach().clone()))
        pairs = [(found[n].detach().double(), tree[COTANGENT + n]) for n in sorted(self.differentiable)]
        value = sum(float((x * c).sum()) for x, c in pairs)
        return value, sum(float(torch.linalg.vector_norm(x) * torch.linalg.vector_norm(c)) for x, c in pairs)

    def cotangent_types(self, outputs: Mapping[str, TensorType]) -> dict[str, TensorType]:
        """Return the types of the cotangents: the duals of the outputs, equal for orthogonal groups."""
        return {COTANGENT + name: gradient_type(t) for name, t in outputs.items()}

    def variables(self, tree: Tree) -> Leaves:
        """Return the inputs that gradients are taken of."""
        return {
            path: x
            for path, x in leaves(tree).items()
            if x.is_floating_point() and path in self.types and self.types[path].kind != "index"
        }

    def graph(self, tree: Tree, skip: Collection[str] = ()) -> tuple[Leaves, Leaves, Tensor | None]:
        """Return differentiable inputs, float64 outputs, and the sum of outputs times cotangents (or ``None``).

        Args:
            tree: float64 inputs with cotangents.
            skip: outputs left out of the sum.
        """
        fresh = map_leaves(tree, lambda _, x: x.detach().clone())
        wrt = {path: x.requires_grad_() for path, x in self.variables(fresh).items()}
        with torch.enable_grad(), self.watch():
            found = self._outputs(self._wide, replaced(fresh, wrt))
            attached = [
                n for n, x in found.items() if x.requires_grad and COTANGENT + n in tree and n not in skip
            ]
            pairs = [(found[n], tree[COTANGENT + n]) for n in attached]
            total = sum(((x * c.to(x)).sum() for x, c in pairs), torch.zeros((), dtype=torch.float64))
        return wrt, found, total if pairs else None

    def attached(self, tree: Tree, *, compiled: bool) -> Leaves:
        """Return float64 outputs with their graph, from the plain call or under ``torch.compile``.

        The compilation stops before code is generated: what gets lost gets lost there, and no compiler is needed.
        """
        fresh = map_leaves(tree, lambda _, x: x.detach().clone())
        wrt = {path: x.requires_grad_() for path, x in self.variables(fresh).items()}
        function = torch.compile(self._wide, backend="aot_eager") if compiled else self._wide
        with torch.enable_grad():
            return self._outputs(function, replaced(fresh, wrt))

    def _outputs(self, function: Callable[..., Any], tree: Tree) -> Leaves:
        arguments = {name: value for name, value in tree.items() if not name.startswith(COTANGENT)}
        if self._ran:
            return outputs_of(call(function, arguments))
        try:
            found = outputs_of(call(function, arguments))
        except RuntimeError as error:
            if not any(words in str(error) for words in _MIXED):
                raise
            raise InvalidInput(
                f"verify: the target fails on float64 inputs ({str(error).splitlines()[0]}). It must follow the "
                "dtype of its inputs: pass the module itself, and make constants with `.to(x)`."
            ) from error
        self._ran = True
        return found

    def _evaluate(self, function: Callable[..., Any], tree: Tree, gradients: bool) -> Leaves:
        if not gradients:
            return {name: out.detach() for name, out in self._outputs(function, tree).items()}
        wrt = {path: x.requires_grad_() for path, x in self.variables(tree).items()}
        with torch.enable_grad():
            found = self._outputs(function, replaced(tree, wrt))
        attached = [name for name, out in found.items() if out.requires_grad and COTANGENT + name in tree]
        self.differentiable = set(attached)
        pairs = [(found[name], tree[COTANGENT + name].detach().to(found[name])) for name in attached]
        for name, (out, c) in zip(attached, pairs, strict=True):
            if out.shape != c.shape:
                raise WrongShape(
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
    """Return the type of a gradient with respect to a tensor of type ``t``: A^-T acts, and points do not shift."""
    return dual_type(t)
