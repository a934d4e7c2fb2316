"""Every test a model of structures should pass, to inherit from."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from geomlib.errors import InvalidInput
from geomlib.testing import rearranged
from geomlib.testing.asserting import require, skip
from geomlib.testing.case import Case, build, cast
from geomlib.testing.layer_suite import LayerSuite
from geomlib.testing.measures import agree, detached, plain, same
from geomlib.verify.values import outputs_of

__all__ = ["ModelSuite"]


class ModelSuite(LayerSuite):
    """Tests of one model: ``class TestMine(ModelSuite): model = MyModel``, or the name of a registered one.

    Everything in `LayerSuite`, and what only a whole model can be asked.

    Attributes:
        model: a class with ``example(generator)`` and ``symmetry``, a module, a name of ``list_models()``, or a
            static method that returns ``(module, inputs)`` from a generator.

    >>> class TestTensorNet(ModelSuite):
    ...     model = "tensornet"
    >>> TestTensorNet().test_translation()
    """

    model: ClassVar[Any] = None

    def case(self, seed: int | None = None) -> Case:
        """Return model, inputs and declaration, built from the seed."""
        model = plain(self, "model")
        if isinstance(model, str):
            from geomlib.zoo.registry import model_class

            model = model_class(model)
        return build(
            model, self.seed if seed is None else seed, self.symmetry, plain(self, "inputs"), "model"
        )

    def test_config_rebuilds_it(self) -> None:
        """``create_model(**model.config)`` gives the same model, ready for the same weights."""
        case = self.case()
        config = getattr(case.bare, "config", None)
        if not isinstance(config, dict) or "name" not in config:
            skip("no `config` with the name of a registered model")
        from geomlib.zoo.registry import create_model

        again = create_model(**config).eval()
        again.load_state_dict(case.bare.state_dict(), strict=True)
        given = cast(case.inputs, torch.float32)
        want, found = detached(case.bare(**given)), detached(again(**given))
        wrong = [name for name, x in want.items() if not same(x, found[name])]
        require(
            not wrong, f"outputs {wrong} differ after create_model(**config): a setting is missing in config"
        )

    def test_translation(self) -> None:
        """A shift of all points changes no output that is not a point."""
        case = self.case()
        points = [
            n for n, t in case.types.items() if t.kind == "point" and isinstance(case.inputs.get(n), Tensor)
        ]
        if not points:
            skip("no input is a point")
        size = case.inputs[points[0]].shape[-1]
        shift = torch.tensor([3.0, -2.0, 7.0], dtype=torch.float64).repeat(size)[:size]
        moved = case.outputs({**case.inputs, **{n: case.inputs[n] + shift for n in points}})
        want = {
            n: x + shift if n in case.output_types and case.output_types[n].kind == "point" else x
            for n, x in case.outputs(case.inputs).items()
        }
        agree(case, moved, want, "shifted")

    def test_empty_graphs(self) -> None:
        """Numbers left out in ``batch`` are empty graphs: the others keep their outputs."""
        case = self.case()
        batch = case.inputs.get("batch")
        if not isinstance(batch, Tensor):
            skip("no input `batch`")
        graphs, scopes = (
            rearranged.graphs_of(case.inputs, case.types),
            {n: t.scope for n, t in case.types.items()},
        )
        wide = {
            n: x.repeat_interleave(2, 0)
            if isinstance(x, Tensor) and scopes.get(n) in ("graph", "cell")
            else x
            for n, x in case.inputs.items()
        }
        found = case.outputs({**wide, "batch": 2 * batch + 1})
        for name, x in found.items():
            require(bool(torch.isfinite(x).all()), f"empty graphs: output `{name}` holds NaN or infinity")
        per_graph = [n for n, t in case.output_types.items() if t.scope in ("graph", "cell") and n in found]
        rows = {n: x[1::2][:graphs] if n in per_graph else x for n, x in found.items()}
        agree(case, rows, case.outputs(case.inputs), "empty graphs")

    def test_size_consistency(self) -> None:
        """Two copies far apart have twice the energy."""
        case, cutoff, (energy, _, points) = self.case(), self._cutoff(self.case()), self.potential
        if energy not in case.output_types or points not in case.inputs or cutoff is None:
            skip(f"no output `{energy}`, no positions `{points}` or no cutoff")
        types, batch = case.types, case.inputs.get("batch")
        first = (
            torch.arange(len(case.inputs[points])) if batch is None else (batch == batch[0]).nonzero()[:, 0]
        )
        one = rearranged.chosen(cast(case.inputs, torch.float64), types, first)
        two = rearranged.joined(one, {**one, points: one[points].double() + 100.0 * cutoff}, types)
        two = {n: x if not _per_graph(types, n) else one[n] for n, x in two.items()}
        if batch is not None:
            two["batch"] = torch.zeros(2 * len(first), dtype=batch.dtype)
        if isinstance(two.get("num_graphs"), int):
            two["num_graphs"] = 1
        found, want = case.outputs(two)[energy], 2.0 * case.outputs(one)[energy]
        agree(case, {energy: found}, {energy: want}, "two copies far apart")

    def test_repeatable(self) -> None:
        """The same call twice gives the same numbers, bit for bit."""
        case = self.case()
        given = cast(case.inputs, torch.float32)
        a, b = detached(case.module(**given)), detached(case.module(**given))
        require(all(same(x, b[n]) for n, x in a.items()), "two calls on the same inputs differ")

    def test_without_gradients(self) -> None:
        """Outputs are the same under ``torch.no_grad()``, forces included."""
        case = self.case()
        given = cast(case.inputs, torch.float32)
        want = detached(case.module(**given))
        with torch.no_grad():
            found = outputs_of(case.module(**given))
        attached = [n for n, x in found.items() if x.requires_grad]
        require(not attached, f"outputs {attached} carry a graph under torch.no_grad()")
        require(
            set(found) == set(want),
            f"under torch.no_grad() the outputs are {sorted(found)}, not {sorted(want)}",
        )
        agree(
            case,
            {n: x.double() for n, x in found.items()},
            {n: x.double() for n, x in want.items()},
            "no_grad",
        )

    def test_training_step(self) -> None:
        """A loss on all outputs, forces included, gives every weight a finite gradient in training mode."""
        case = self.case()
        model = case.module.train()
        terms = [
            x.double().square().sum() for x in outputs_of(model(**cast(case.inputs, torch.float32))).values()
        ]
        torch.stack(terms).sum().backward()
        for name, p in model.named_parameters():
            excused = not p.requires_grad or name.removeprefix("inner.") in self.unused_parameters
            require(p.grad is not None or excused, f"parameter `{name}` gets no gradient in training mode")
            require(
                p.grad is None or bool(torch.isfinite(p.grad).all()),
                f"the gradient of `{name}` is not finite",
            )

    def test_nan_is_not_hidden(self) -> None:
        """A NaN in the positions is refused or shows in the outputs; it never becomes a finite answer."""
        case, points = self.case(), self.potential[2]
        if not isinstance(case.inputs.get(points), Tensor):
            skip(f"no positions `{points}`")
        bad = case.inputs[points].clone()
        bad[0, 0] = float("nan")
        try:
            found = case.outputs({**case.inputs, points: bad})
        except InvalidInput:
            return
        hidden = [n for n, x in found.items() if n in case.output_types and bool(torch.isfinite(x).all())]
        require(not hidden, f"a NaN in `{points}` gives finite outputs {hidden}")


def _per_graph(types: Any, name: str) -> bool:
    return name in types and types[name].scope in ("graph", "cell")
