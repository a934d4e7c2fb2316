"""From what the user passes to what every tool needs: a float64 copy, a group, types and a source of inputs."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Generator

from geomlib.algebra.groups import Element, Group, parse_group
from geomlib.algebra.symmetry import Symmetry, TensorType
from geomlib.errors import InvalidInput
from geomlib.verify.arguments import flat_outputs, flat_types, holds_tensors, normalized, resolved
from geomlib.verify.inputs import Draw, example_of, infer_types, invented, jittered
from geomlib.verify.moves import Types, num_nodes
from geomlib.verify.target import Target
from geomlib.verify.values import Leaves, Tree, leaves, rounded

__all__ = ["Prepared", "prepared", "simple_elements"]


@dataclass(frozen=True)
class Prepared:
    """A callable ready to be evaluated in float64.

    Args:
        name: for reports.
        target: the float64 copy, in evaluation mode.
        group: acting on the number of nodes of the inputs.
        inputs: type of every input tensor.
        outputs: declared types of the outputs; empty where nothing is declared.
        base: one set of inputs.
        warnings: inputs without a type.
    """

    name: str
    target: Target
    group: Group
    inputs: Types
    outputs: Types
    base: Tree
    warnings: tuple[str, ...]
    _draw: Draw

    def draw(self, generator: Generator) -> Tree:
        """Return new inputs of the same shapes."""
        tree = rounded({k: v for k, v in self._draw(generator).items() if k in self.base})
        old, new = leaves(self.base), leaves(tree)
        same = old.keys() == new.keys() and all(x.shape == new[n].shape for n, x in old.items())
        return tree if same else rounded(jittered(self.base, self.inputs)(generator))

    def evaluate(self, tree: Tree) -> Leaves:
        """Return the outputs, detached."""
        with torch.enable_grad():
            found = self.target.raw(tree)
        return {name: x.detach() for name, x in found.items()}


def prepared(
    tool: str,
    target: Callable[..., Any],
    group: str | Group | None,
    inputs: Any,
    outputs: Any,
    example: Any,
    generator: Generator,
) -> Prepared:
    """Resolve the arguments that `locate`, `lie` and `infer` share; what is not given comes from ``symmetry``.

    Raises:
        InvalidInput: no group, no inputs, or names that do not fit.
    """
    name = getattr(target, "__name__", None) or type(target).__name__
    if isinstance(target, type):
        raise InvalidInput(f"verify.{tool}: {name} is a class. Pass an instance.")
    own = getattr(target, "symmetry", None)
    own = own if isinstance(own, Symmetry) else None
    if group is None and own is None:
        raise InvalidInput(
            f"verify.{tool}: {name} declares no symmetry, so group must be given, for example 'O(3)'."
        )
    group = cast(Symmetry, own).group if group is None else group
    if holds_tensors(inputs):
        inputs, example = None, inputs
    texts = flat_types(inputs, "0") if inputs is not None else own.inputs if own is not None else {}
    answers = flat_outputs(outputs) if outputs is not None else own.outputs if own is not None else None
    parsed = parse_group(group) if isinstance(group, str) else group
    given = Symmetry(parsed.name, texts, "inv" if answers is None else answers)
    dim = parsed.identity().linear.shape[0] or 3
    source = _source(tool, name, target, given.input_types(), example, dim)
    base = rounded(normalized(target, example) if example is not None else source(generator))
    present = {n: t for n, t in given.input_types().items() if base.get(n, n) is not None}
    types, _ = resolved(target, present, leaves(base), strict=False)
    types, warnings = infer_types(base, types)
    if example is not None:
        source = jittered(base, types)
    copied = Target(target, types, gradients=False, narrow=False)
    sized = parsed.sized(num_nodes(leaves(base), types) or 0)
    declared = {} if answers is None else given.output_types()
    return Prepared(name, copied, sized, types, declared, base, tuple(warnings), source)


def _source(
    tool: str, name: str, target: Any, types: Mapping[str, TensorType], example: Any, dim: int
) -> Draw:
    own = example_of(target)
    if own is not None and example is None:
        return own
    if not types and example is None:
        raise InvalidInput(
            f"verify.{tool}: no inputs for {name}. Pass a dict of tensors, or types such as 'vector' or "
            "{'pos': 'node:point'}."
        )
    return invented(types, dim)


def simple_elements(group: Group, generator: Generator, scale: float = 1.0) -> list[Element]:
    """Return one element per component of every factor, each doing a single thing: turn, shift or permute.

    >>> [g.label for g in simple_elements(parse_group("E(3)*S_n").sized(4), torch.Generator().manual_seed(0))]
    ['proper', 'improper', 'translation', 'permutation']
    """
    found: list[Element] = []
    for factor in getattr(group, "factors", (group,)):
        drawn = [factor.sample(name, generator, scale) for name in factor.components()]
        turned = [replace(g, shift=torch.zeros_like(g.shift)) for g in drawn if _turns(g)]
        shifted = [g for g in drawn if bool(g.shift.any())][:1]
        permuted = [g for g in drawn if g.nodes is not None or g.edges is not None][-1:]
        found += turned
        found += [
            replace(g, linear=torch.eye(len(g.shift), dtype=torch.float64), label="translation")
            for g in shifted
        ]
        found += [replace(g, label="permutation") for g in permuted]
    return found


def _turns(g: Element) -> bool:
    return bool(g.linear.numel()) and not torch.equal(g.linear, torch.eye(len(g.linear), dtype=torch.float64))
