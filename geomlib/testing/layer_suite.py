"""Every test a layer should pass, to inherit from."""

from __future__ import annotations

import copy
import io
import re
from functools import lru_cache, partial
from typing import Any, ClassVar

import torch
from torch import Tensor

from geomlib.algebra.symmetry import KINDS, Symmetry
from geomlib.testing import rearranged
from geomlib.testing.asserting import require, skip
from geomlib.testing.case import Case, build, cast, difference
from geomlib.testing.measures import agree, detached, finite, gradients, jumps, narrowed, plain, same
from geomlib.testing.slopes import TOLERANCE, first_order_error, force_error, second_order_error
from geomlib.verify.statistic import tolerance
from geomlib.verify.values import outputs_of

__all__ = ["LayerSuite"]

_IRREP = re.compile(r"\d[eo]\b")
_GROUP = re.compile(r"\b(S?O|S?E|T|[SG]L|Sp|U|SU|Pin|Spin|B|Aut)\(\d|\bKron\(|\bS_n\b|\bA_n\b")
_FLOATS = (torch.float32, torch.float64)


@lru_cache(maxsize=256)
def _checked(suite: type[LayerSuite], trials: int, seed: int) -> Any:
    from geomlib.verify import check

    return check(suite().case().module, trials=trials, seed=seed)


class LayerSuite:
    """Tests of one layer: ``class TestMine(LayerSuite): layer = MyLayer``.

    A test that does not apply is skipped and says why; one that you do not want is switched off by name,
    ``test_compile = None``. Tolerances are measured from the layer's own float32 round-off, none is chosen.

    Attributes:
        layer: a class with ``example(generator)`` and ``symmetry``, a module, or a static method that returns
            ``(module, inputs)`` from a generator.
        symmetry: the declaration, where the layer has none.
        inputs: keyword arguments (or a static method of a generator), where the layer has no ``example``.
        cutoff: distance at which everything must vanish; by default ``layer.cutoff`` or ``layer.basis.cutoff``.
        smooth: whether values and first derivatives are continuous at the cutoff.
        compiles: ``True``, or the reason why ``torch.compile`` is not supported.
        unused_parameters: parameters that may stay without gradient.
        potential: names of energy, forces and positions, where the layer has them.
        trials: random group elements of a check.
        seed: seed of everything.

    >>> from geomlib.layers import VectorHead
    >>> class TestVectorHead(LayerSuite):
    ...     layer = VectorHead
    >>> TestVectorHead().test_equivariance()
    """

    layer: ClassVar[Any] = None
    symmetry: ClassVar[Symmetry | None] = None
    inputs: ClassVar[Any] = None
    cutoff: ClassVar[float | None] = None
    smooth: ClassVar[bool] = True
    compiles: ClassVar[bool | str] = True
    unused_parameters: ClassVar[tuple[str, ...]] = ()
    potential: ClassVar[tuple[str, str, str]] = ("energy", "forces", "pos")
    trials: int = 24
    seed: int = 0
    #: Reports of the checks that were made, for the page of ``--equiv-html``.
    equivariance_reports: tuple[Any, ...] = ()

    def case(self, seed: int | None = None) -> Case:
        """Return module, inputs and declaration, built from the seed."""
        layer, inputs = (plain(self, name) for name in ("layer", "inputs"))
        return build(layer, self.seed if seed is None else seed, self.symmetry, inputs)

    def report(self) -> Any:
        """Return the report of one check, made once per class."""
        return _checked(type(self), self.trials, self.seed)

    def equivariance_options(self, trials: int | None = None, seed: int | None = None) -> None:
        """Take the options of the pytest plugin, where it is loaded."""
        self.trials = self.trials if trials is None else trials
        self.seed = self.seed if seed is None else seed

    # what it is

    def test_construct(self) -> None:
        """The same seed gives the same weights and inputs, and building draws nothing from the global state."""
        before = torch.get_rng_state()
        a, b = self.case(), self.case()
        require(torch.equal(before, torch.get_rng_state()), "building changes the global random state")
        for (name, x), y in zip(a.module.state_dict().items(), b.module.state_dict().values(), strict=True):
            require(
                same(x, y),
                f"`{name}` differs between two builds from one seed: draw from torch's own generator",
            )
        for name, x in a.inputs.items():
            alike = same(x, b.inputs[name]) if isinstance(x, Tensor) else True
            require(
                alike,
                f"input `{name}` differs between two builds from one seed: use the generator of `example`",
            )

    def test_repr_shows_representations(self) -> None:
        """``repr`` says how the data transform: irreps, a kind such as ``vector``, or the group."""
        case = self.case()
        if case.symmetry.group == "S_n":
            skip("nothing is declared but the order of rows")
        text = repr(case.bare)
        kinds = "|".join(kind for kind in KINDS if kind not in ("index", "inv"))
        shown = _IRREP.search(text) or _GROUP.search(text) or re.search(rf"\b({kinds}|invariants?)s?\b", text)
        require(shown is not None, f"repr shows no representation and no group; write `extra_repr`:\n{text}")

    # forward and backward

    def test_forward(self) -> None:
        """Outputs are finite, as declared, with one row per node or edge, and inputs stay as they are."""
        case = self.case()
        given = cast(case.inputs, torch.float32)
        found = outputs_of(case.module(**given))
        missing = sorted(set(case.output_types) - set(found))
        require(not missing, f"outputs {missing} are declared, found {sorted(found)}")
        rows = {
            "node": rearranged.nodes_of(case.inputs, case.types),
            "edge": rearranged.edges_of(case.inputs, case.types),
        }
        for name, t in case.output_types.items():
            x = found[name]
            require(bool(torch.isfinite(x).all()), f"output `{name}` holds NaN or infinity")
            want = rows.get(t.scope or "")
            require(
                want is None or (x.dim() > 0 and x.shape[0] == want),
                f"output `{name}` has shape {tuple(x.shape)}, declared {t}: expected {want} rows",
            )
        for name, x in cast(case.inputs, torch.float32).items():
            unchanged = same(x, given[name]) if isinstance(x, Tensor) else True
            require(unchanged, f"input `{name}` is modified in place")

    def test_backward(self) -> None:
        """Every parameter gets a finite gradient, so does every float input in use, and not all are zero."""
        _, grads = gradients(self.case(), torch.float32)
        require(bool(grads), "nothing to differentiate: no weights and no float inputs, or detached outputs")
        for name, g in grads.items():
            excused = name.startswith("input ") or name.removeprefix("inner.") in self.unused_parameters
            require(g is not None or excused, f"parameter `{name}` gets no gradient (see unused_parameters)")
            require(g is None or bool(torch.isfinite(g).all()), f"the gradient of `{name}` is not finite")
        require(any(g is not None and bool(g.any()) for g in grads.values()), "every gradient is zero")

    # symmetry

    def test_equivariance(self) -> None:
        """The declared group holds to round-off, at all amplitudes, in values and gradients."""
        found = self.report()
        self.equivariance_reports = (found,)
        found.raise_if_failed()

    def test_breaks(self) -> None:
        """What is declared in ``breaks`` is really broken."""
        declared = self.case().symmetry.breaks
        if not declared:
            skip("nothing is declared in `breaks`")
        seen = self.report().breaks
        for name in declared:
            require(
                seen.get(name, 0.0) > 1.0,
                f"breaks={name!r} is claimed, but the layer respects it to round-off",
            )

    def test_mutant_is_caught(self) -> None:
        """A copy with a fault of one part in 10,000 is called BROKEN: the equivariance test can fail."""
        from geomlib.verify import check, mutant

        case = self.case()
        found = check(mutant(case.module, case.inputs), trials=4, seed=self.seed, explain=False)
        require(found.verdict == "BROKEN", f"a broken copy is called {found.verdict}:\n{found}")

    def test_permutation(self) -> None:
        """Nodes in another order give outputs in that order."""
        case = self.case()
        nodes = rearranged.nodes_of(case.inputs, case.types)
        if nodes is None or "S_n" not in case.symmetry.group:
            skip("no input has one row per node, or S_n is not declared")
        order = torch.randperm(nodes, generator=torch.Generator().manual_seed(self.seed))
        moved = case.outputs(rearranged.reordered(case.inputs, case.types, order))
        want = {n: x[order] if _scope(case, n) == "node" else x for n, x in case.outputs(case.inputs).items()}
        agree(case, moved, want, "nodes in another order")

    def test_edge_order(self) -> None:
        """Edges in another order change nothing but the order of edge outputs."""
        case = self.case()
        edges = rearranged.edges_of(case.inputs, case.types)
        if edges is None:
            skip("no input has one row per edge")
        order = torch.randperm(edges, generator=torch.Generator().manual_seed(self.seed))
        moved = case.outputs(rearranged.reordered_edges(case.inputs, case.types, order))
        want = {n: x[order] if _scope(case, n) == "edge" else x for n, x in case.outputs(case.inputs).items()}
        agree(case, moved, want, "edges in another order")

    # other graphs

    def test_batching(self) -> None:
        """Two inputs in one batch give what each gives alone."""
        case, other = self.case(), self.case(self.seed + 1)
        types = case.types
        if "batch" not in case.inputs and rearranged.edge_index_of(case.inputs, types) is None:
            skip("neither `batch` nor an edge index says which nodes belong together")
        a, b = case.inputs, other.inputs
        if isinstance(a.get("batch"), Tensor):  # the first graph of each, so that both are single
            a, b = (
                rearranged.chosen(x, types, (x["batch"] == x["batch"].min()).nonzero()[:, 0]) for x in (a, b)
            )
        elif any(t.scope in ("graph", "cell", None) for t in case.output_types.values()):
            skip("an output per graph, but no `batch` to separate the graphs")
        together = case.outputs(rearranged.joined(a, b, types))
        alone = case.outputs(a), case.outputs(b)
        want = {n: torch.cat([x[n] for x in alone]) for n in together if alone[0][n].dim()}
        agree(case, together, want, "a batch of two beside one by one")

    def test_one_node(self) -> None:
        """One node without edges gives finite outputs and gradients."""
        case = self.case()
        if rearranged.nodes_of(case.inputs, case.types) is None:
            skip("no input has one row per node")
        finite(case, rearranged.chosen(case.inputs, case.types, torch.tensor([0]), edges=False), "one node")

    def test_no_edges(self) -> None:
        """Nodes without any edge give finite outputs and gradients."""
        case = self.case()
        nodes, types = rearranged.nodes_of(case.inputs, case.types), case.types
        cutoff = self._cutoff(case)
        if nodes is not None and rearranged.edge_index_of(case.inputs, types) is not None:
            inputs = rearranged.chosen(case.inputs, types, torch.arange(nodes), edges=False)
        elif nodes is not None and cutoff is not None and any(t.kind == "point" for t in types.values()):
            inputs = rearranged.spread(case.inputs, types, 2.0 * cutoff)
        else:
            skip("no edges are given, and none follow from points and a cutoff")
        finite(case, inputs, "no edges")

    def test_isolated_node(self) -> None:
        """One more node that touches nothing changes no other node."""
        case = self.case()
        nodes, types, cutoff = rearranged.nodes_of(case.inputs, case.types), case.types, self._cutoff(case)
        local = rearranged.edge_index_of(case.inputs, types) is not None or cutoff is not None
        if nodes is None or not local:
            skip("no edge index and no cutoff: every node may see every other")
        more = rearranged.with_far_node(case.inputs, types, 10.0 * (cutoff or 10.0))
        found, want = case.outputs(more), case.outputs(case.inputs)
        scopes = {n: _scope(case, n) for n in found}
        for name, x in found.items():
            require(
                bool(torch.isfinite(x).all()),
                f"output `{name}` holds NaN or infinity beside an isolated node",
            )
        rows = {
            n: x[:nodes] if scopes[n] == "node" else x
            for n, x in found.items()
            if scopes[n] in ("node", "edge")
        }
        agree(case, rows, {n: want[n] for n in rows}, "one more, isolated node")

    def test_cutoff_is_smooth(self) -> None:
        """Values and first derivatives are continuous where a pair passes the cutoff."""
        case, cutoff = self.case(), self._cutoff(self.case())
        if cutoff is None:
            skip("no cutoff: set `cutoff = ...` if there is one")
        if not self.smooth:
            skip("declared not smooth")
        found = jumps(case, cutoff)
        if found is None:
            skip("no input is a point, an edge vector or a distance")
        sizes = [size for _, _, _, size, _ in found]
        require(any(sizes), "no output depends on the distance of a pair below the cutoff")
        for what, near, far, size, noise in found:
            # A continuous function closes at least tenfold when the distance to the cutoff shrinks a thousandfold.
            closed = near <= max(0.1 * far, noise)
            require(
                closed, f"{what} jumps by {near / max(size, 1e-300):.1e} of its size at the cutoff {cutoff}"
            )

    # numbers

    def test_float32(self) -> None:
        """Float32 weights give outputs no narrower than float32."""
        case = self.case()
        for name, x in case.outputs(case.inputs, torch.float32).items():
            ok = not x.is_floating_point() or x.dtype in _FLOATS
            require(ok, f"output `{name}` is {x.dtype} with float32 weights")

    def test_float64(self) -> None:
        """Float64 weights give float64 outputs, and nothing inside was rounded to float32."""
        case = self.case()
        for name, x in case.outputs(case.inputs).items():
            ok = not x.is_floating_point() or x.dtype == torch.float64
            require(ok, f"output `{name}` is {x.dtype} with float64 weights and inputs")
        found = narrowed(case)
        require(not found, f"computed in a narrower type: {'; '.join(found)}")

    def test_default_dtype(self) -> None:
        """The results do not depend on ``torch.get_default_dtype()``, at construction or at call."""
        from geomlib.verify.state import default_dtype

        case = self.case()
        want = case.outputs(case.inputs)
        with default_dtype(torch.float64):
            later, native = case.outputs(case.inputs), self.case()
        require(all(same(x, later[n]) for n, x in want.items()), "a call depends on the default dtype")
        native.module.double().load_state_dict(case.at(torch.float64).state_dict())
        again = outputs_of(native.module.eval()(**cast(case.inputs, torch.float64)))
        agree(case, {n: x.detach() for n, x in again.items()}, want, "built under the default dtype float64")

    # copies

    def test_save_and_load(self) -> None:
        """The state dict, written and read, gives a fresh instance the same outputs, bit for bit."""
        case, other = self.case(), self.case(self.seed + 1)
        if not isinstance(plain(self, "layer"), type):  # one and the same module: give the copy other weights
            with torch.no_grad():
                for p in other.module.parameters():
                    p.add_(torch.ones_like(p))
        file = io.BytesIO()
        torch.save(case.module.state_dict(), file)
        file.seek(0)
        other.module.load_state_dict(torch.load(file, weights_only=True), strict=True)
        want, found = case.outputs(case.inputs), other.outputs(case.inputs)
        wrong = [name for name, x in want.items() if not same(x, found[name])]
        require(
            not wrong, f"outputs {wrong} differ after saving and loading: something is not in the state dict"
        )

    def test_deepcopy(self) -> None:
        """A deep copy computes the same and shares no weights."""
        case = self.case()
        given = cast(case.inputs, torch.float32)
        want = detached(case.module(**given))
        twin = copy.deepcopy(case.module)
        found = detached(twin(**given))
        require(all(same(x, found[n]) for n, x in want.items()), "a deep copy computes something else")
        with torch.no_grad():
            for p in twin.parameters():
                p.add_(torch.ones_like(p))
        again = detached(case.module(**given))
        require(
            all(same(x, again[n]) for n, x in want.items()), "a deep copy shares weights with the original"
        )

    def test_compile(self) -> None:
        """``torch.compile`` gives the same values and gradients; values alone where forces are taken inside.

        (torch 2.13 cannot compile a forward pass that differentiates with respect to an input that requires a gradient.)
        """
        if self.compiles is not True:
            skip(str(self.compiles) if self.compiles else "torch.compile is not supported")
        if not torch._dynamo.is_dynamo_supported():
            skip("torch.compile does not run here")
        case = self.case()
        torch.compiler.reset()
        wrap = partial(torch.compile, backend="aot_eager")
        if self.potential[1] in case.output_types:
            agree(
                case,
                detached(wrap(case.at(torch.float64))(**cast(case.inputs, torch.float64))),
                case.outputs(case.inputs),
                "compiled",
            )
            return
        want, slopes = gradients(case)
        found, compiled = gradients(case, wrap=wrap)
        agree(case, found, want, "compiled")
        narrow = gradients(case, torch.float32)[1]
        # Where the true gradient is zero, as of a shift in front of a softmax, each side has noise of its own.
        noise = 1e-14 * max((float(g.norm()) for g in slopes.values() if g is not None), default=0.0)
        for name, g in slopes.items():
            h, n = compiled.get(name), narrow.get(name)
            require((g is None) == (h is None), f"compiled: the gradient of `{name}` is missing, or is new")
            if g is not None and h is not None and n is not None and float((h - g).norm()) > noise:
                most, error = tolerance(difference(n, g)), difference(h, g)
                require(
                    error <= most,
                    f"compiled: the gradient of `{name}` differs by {error:.1e}, not {most:.1e}",
                )

    # derivatives

    def test_gradients(self) -> None:
        """First derivatives with respect to inputs and weights are those of central differences."""
        found = first_order_error(self.case(), self.seed)
        require(found.ok, found.says("first derivatives"))

    def test_second_derivatives(self) -> None:
        """Second derivatives too, as training on forces needs them; forces are first derivatives already."""
        found = second_order_error(self.case(), self.seed, (self.potential[1], "stress"))
        if found is None:
            skip("the gradient is not differentiable again, or the outputs are linear in everything")
        require(found.ok, found.says("second derivatives"))

    def test_conservativity(self) -> None:
        """Forces are the negative derivative of the energy with respect to the positions."""
        case, (energy, forces, points) = self.case(), self.potential
        if energy not in case.output_types or forces not in case.output_types or points not in case.inputs:
            skip(f"no outputs `{energy}` and `{forces}` with positions `{points}`")
        error = force_error(case, energy, forces, points, self.seed)
        require(error <= TOLERANCE, f"`{forces}` differ from -d {energy} / d {points} by {error:.1e}")

    def _cutoff(self, case: Case) -> float | None:
        if self.cutoff is not None:
            return self.cutoff
        found = getattr(case.bare, "cutoff", None)
        found = getattr(getattr(case.bare, "basis", None), "cutoff", None) if found is None else found
        return float(found) if isinstance(found, (int, float)) else None


def _scope(case: Case, name: str) -> str | None:
    return case.output_types[name].scope if name in case.output_types else None
