r"""The sums of a form as programs for one item per thread.

The form :math:`F = \sum_e s_e\, g_{o_e}\, w_{p_e}\, x_{i_e}\, y_{k_e}` holds the product and all its derivatives. What is
computed is a derivative by one role, of several terms: gradients of gradients are sums of the same contractions with one
argument replaced by its tangent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial

from geomlib.kernels.cuda.program import Operand
from geomlib.kernels.cuda.staged import Part, StagedKernel, StagedWriter, lanes_of
from geomlib.kernels.geometric_product.plan import Form

__all__ = [
    "ROLES",
    "Task",
    "Term",
    "contracted",
    "grouped",
    "kernel_of",
    "settled",
    "sums_by_left",
    "work",
]

ROLES = "gxyw"
#: Names of the arrays in the roles g, x, y and w; "" in the role that is derived by, and for weights that are ones.
Term = tuple[str, str, str, str]
#: What to compute: a role and its terms.
Task = tuple[str, tuple[Term, ...]]

#: Numbers that a thread may hold, by the size of the arithmetic's type: measured by compiling, no spills on sm_80 and sm_90.
_REGISTERS = {4: 200, 8: 88}
#: Most outputs that are added up at once.
CHUNK = 64


@dataclass(frozen=True)
class Groups:
    """Entries by a left component: for each weight the output, the right component and whether the sign is negative."""

    lefts: tuple[tuple[int, tuple[tuple[int, tuple[tuple[int, int, bool], ...]], ...]], ...]


@lru_cache(maxsize=512)
def grouped(form: Form, left: str, right: str, out: str) -> Groups:
    """Return the entries of a form by one of its roles.

    Args:
        form: what is summed.
        left: the role by whose components entries are sorted.
        right: the other factor.
        out: the role that is derived by.
    """
    columns = {"g": 0, "x": 1, "y": 2}
    found: dict[int, dict[int, list[tuple[int, int, bool]]]] = {}
    for entry, sign in zip(form.entry.tolist(), form.sign.tolist(), strict=True):
        by_weight = found.setdefault(entry[columns[left]], {})
        by_weight.setdefault(entry[3], []).append((entry[columns[out]], entry[columns[right]], sign < 0))
    return Groups(
        tuple((i, tuple((p, tuple(e)) for p, e in sorted(found[i].items()))) for i in sorted(found))
    )


def _signed(name: Operand, negative: bool) -> Operand:
    if not negative:
        return name
    return (
        name[1:]
        if isinstance(name, str) and name[0] == "-"
        else f"-{name}"
        if isinstance(name, str)
        else -name
    )


def contracted(
    writer: StagedWriter,
    groups: Groups,
    scaled: Callable[[int, int], Operand],
    right: Callable[[int], Operand],
    sums: dict[int, Operand],
    keep: range,
) -> None:
    """Add ``sum s * scaled(i, p) * right(k)`` to the outputs in ``keep``.

    Args:
        writer: of the program.
        groups: entries by left component.
        scaled: the left component times the weight.
        right: the right component.
        sums: outputs so far.
        keep: which outputs.
    """
    for i, by_weight in groups.lefts:
        for p, entries in by_weight:
            mine = [e for e in entries if e[0] in keep]
            if not mine:
                continue
            factor = scaled(i, p)
            for o, k, negative in mine:
                sums[o] = writer.fma(_signed(factor, negative), right(k), sums.get(o))


def sums_by_left(
    writer: StagedWriter,
    groups: Groups,
    out: Callable[[int], Operand],
    right: Callable[[int], Operand],
    use: Callable[[int, int, str], None],
) -> None:
    """Hand ``u = sum s * out(o) * right(k)`` to ``use(i, p, u)`` for every left component and weight."""
    for i, by_weight in groups.lefts:
        for p, entries in by_weight:
            u: str | None = None
            for o, k, negative in entries:
                u = writer.fma(_signed(right(k), negative), out(o), u)
            if u is not None:
                use(i, p, u)


def work(form: Form, tasks: Sequence[Task]) -> int:
    """Return about how many statements tasks take."""
    return len(form.entry) * sum(len(terms) for _, terms in tasks)


class _Program:
    """Writes one kernel; ``names`` maps arrays to their roles."""

    def __init__(self, form: Form, tasks: Sequence[Task], *, shared: bool, reload: bool) -> None:
        self.form, self.tasks, self.reload = form, dict(tasks), reload
        self.writer = StagedWriter(constants_shared=shared)
        self.roles = {
            name: ROLES[k] for _, terms in tasks for term in terms for k, name in enumerate(term) if name
        }

    def write(self) -> None:
        """Write every task; the gradient of the weights comes with that of the left factor."""
        for role in "gxyw":
            if role not in self.tasks or (role == "w" and "x" in self.tasks):
                continue
            if role == "w" or (role == "x" and "w" in self.tasks):
                self._by_left()
            else:
                self._contract(role)
            if self.reload:
                self.writer.forget(*(n for n, r in self.roles.items() if r == "w"))

    def _contract(self, role: str) -> None:
        """Weights multiply the factor that differs between terms, so that one pass serves all of them."""
        terms, size, writer = self.tasks[role], self.form.size(role), self.writer
        first, second = (r for r in "gxy" if r != role)
        choices: list[tuple[tuple[int, int], str, str, dict[str, list[tuple[str, str]]]]] = []
        for left, right in ((first, second), (second, first)):
            passes: dict[str, list[tuple[str, str]]] = {}
            for term in terms:
                named = dict(zip(ROLES, term, strict=True))
                passes.setdefault(named[right], []).append((named[left], named["w"]))
            choices.append(((len(passes), self.form.size(right)), left, right, passes))
        _, left, right, passes = min(choices, key=lambda c: c[0])
        groups = grouped(self.form, left, right, role)
        for begin in range(0, size, CHUNK):
            keep, sums = range(begin, min(begin + CHUNK, size)), dict[int, Operand]()
            for array, pairs in passes.items():
                scaled = lru_cache(None)(partial(self._mixed, tuple(pairs)))
                contracted(writer, groups, scaled, partial(writer.load, array), sums, keep)
            writer.write(f"d{role}", sums, keep.start, len(keep))

    def _mixed(self, pairs: tuple[tuple[str, str], ...], i: int, p: int) -> Operand:
        """Return ``sum of a_i w_p``."""
        total: str | None = None
        for a, w in pairs:
            name = self.writer.load(a, i)
            if not w:
                return name
            total = self.writer.fma(name, self.writer.constant(w, p), total)
        return total or 0.0

    def _by_left(self) -> None:
        writer = self.writer
        users: dict[tuple[str, str], tuple[list[str], list[str]]] = {}
        for g, x, y, _ in self.tasks.get("w", ()):
            users.setdefault((g, y), ([], []))[0].append(x)
        for g, _, y, w in self.tasks.get("x", ()):
            users.setdefault((g, y), ([], []))[1].append(w)
        gradients: dict[int, Operand] = {}
        groups = grouped(self.form, "x", "y", "g")
        for (g, y), (by_weight, by_left) in users.items():
            use = partial(self._use, gradients, by_weight, by_left)
            sums_by_left(writer, groups, partial(writer.load, g), partial(writer.load, y), use)
        if "x" in self.tasks:
            writer.write("dx", gradients, 0, self.form.size("x"))

    def _use(
        self,
        gradients: dict[int, Operand],
        by_weight: list[str],
        by_left: list[str],
        i: int,
        p: int,
        u: str,
    ) -> None:
        """Add ``u`` to the gradients of a weight and of a left component."""
        for x in by_weight:
            self.writer.accumulate(p, self.writer.load(x, i), u)
        for w in by_left:
            factor = self.writer.constant(w, p) if w else 1.0
            gradients[i] = self.writer.fma(factor, u, gradients.get(i))

    def kernel(self, *, sums_shared: bool) -> StagedKernel:
        """Return it, with the number of lanes left open."""
        form, writer = self.form, self.writer
        inputs = tuple(Part(n, form.size(r)) for n, r in self.roles.items() if r != "w")
        constants = tuple(Part(n, form.weights) for n, r in self.roles.items() if r == "w")
        outputs = tuple(Part(f"d{r}", form.size(r)) for r in self.tasks if r != "w")
        sums = form.weights if "w" in self.tasks else 0
        return StagedKernel(
            f"form_{''.join(self.tasks)}", inputs, constants, outputs, sums, tuple(writer.prologue), tuple(writer.body),
            writer.constants_shared, sums_shared and bool(sums), 32,
        )  # fmt: skip

    def live(self) -> int:
        """Return about how many numbers a thread holds, without constants and sums."""
        sizes = {n: self.form.size(r) for n, r in self.roles.items() if r != "w"}
        if not self.reload:
            return sum(sizes.values()) + max(
                (min(self.form.size(r), CHUNK) for r in self.tasks if r != "w"), default=0
            )
        most = 0
        for role, terms in self.tasks.items():
            used = {n for term in terms for n, r in zip(term, ROLES, strict=True) if n and r != "w"}
            streamed = max((sizes[n] for n in used), default=0) if len(used) > 1 else 0
            out = 0 if role == "w" else min(self.form.size(role), CHUNK)
            most = max(most, sum(sizes[n] for n in used) - streamed + out)
        return most


def settled(kernel: StagedKernel, size: int) -> StagedKernel | None:
    """Return the kernel with the largest block that fits; None if none does."""
    lanes = lanes_of(kernel, size)
    return None if lanes is None else replace(kernel, lanes=lanes)


@lru_cache(maxsize=512)
def kernel_of(form: Form, tasks: tuple[Task, ...], size: int) -> StagedKernel | None:
    """Return one kernel for all tasks; None if they are too much for one.

    Args:
        form: what is summed.
        tasks: roles to derive by, with their terms.
        size: bytes of a number of the arithmetic.
    """
    weights = {term[3] for _, terms in tasks for term in terms if term[3]}
    constants, sums = len(weights) * form.weights, form.weights * any(role == "w" for role, _ in tasks)
    for reload, shared, sums_shared in (
        (False, False, False), (True, False, False), (True, True, False), (True, True, True),
    ):  # fmt: skip
        program = _Program(form, tasks, shared=shared, reload=reload)
        held = program.live() + (0 if shared else constants) + (0 if sums_shared else sums)
        if held > _REGISTERS[size]:
            continue
        program.write()
        found = settled(program.kernel(sums_shared=sums_shared), size)
        if found is not None and (found.lanes == found.block or _indivisible(tasks)):
            return found
    return None


def _indivisible(tasks: tuple[Task, ...]) -> bool:
    return len(tasks) == 1 and len(tasks[0][1]) == 1
