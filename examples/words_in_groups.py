"""Words in finite groups: which parts of a learned table of products are there, and how many numbers it takes.

A network learns (a, b) -> w(a, b) for a word w such as ab, abA = a b a^-1 or the commutator abAB, from 80 % of all pairs. The
table of the word, a tensor of |G|^3 zeros and ones, splits by the irreducible representations of its three arguments. A block
(phi, psi, zeta) can only be there if phi is in the n_a-th and psi in the n_b-th tensor power of zeta, where n_a and n_b count
the letters: fusion rules of the group. After the network has understood (the test accuracy rises long after that of training,
if at all), its logits live on the same blocks. The smallest width with an exact solution is a tensor rank.

    python examples/words_in_groups.py                     # S4, ab: under a minute
    python examples/words_in_groups.py --group A5 --word abA --steps 4000 --plot curves.png

Source: *Words in groups*, arXiv 2509.06931.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from geomlib.algebra.groups import parity
from geomlib.algebra.groups.characters import cycle_type, murnaghan_nakayama, partitions
from geomlib.errors import InvalidInput

__all__ = ["FiniteGroup", "cp_error", "energies", "finite_group", "predicted_support", "train", "word_table"]

Perm = tuple[int, ...]
Triplet = tuple[int, int, int]
#: Step, loss, accuracy on training pairs, on the others, part of the energy on the allowed blocks.
Row = tuple[int, float, float, float, float]


@dataclass(frozen=True, eq=False)
class FiniteGroup:
    """A finite group of permutations, with its real irreducible characters.

    Args:
        name: how it is written.
        product: (order, order) numbers of the products.
        inverse: (order,) numbers of the inverses.
        irreps: names of the irreducible representations.
        characters: (irreps, order) characters of all elements.
    """

    name: str
    product: Tensor
    inverse: Tensor
    irreps: tuple[str, ...]
    characters: Tensor
    blocks: Tensor = field(init=False)  # (order,) the irrep that every row of `basis` belongs to
    basis: Tensor = field(init=False)  # (order, order) orthonormal rows

    def __post_init__(self) -> None:
        """Make an orthonormal basis of functions on the group, irrep by irrep."""
        quotient = self.product[:, self.inverse]  # x y^-1
        order, one = (
            len(self.inverse),
            int(self.product.diagonal().eq(torch.arange(len(self.inverse))).nonzero()[0]),
        )
        rows, blocks = list[Tensor](), list[Tensor]()
        for k, chi in enumerate(self.characters):
            projector = chi[one] / order * chi[quotient]
            values, vectors = torch.linalg.eigh(projector)
            rows.append(vectors[:, values > 0.5].T)
            blocks.append(torch.full((len(rows[-1]),), k))
        object.__setattr__(self, "basis", torch.cat(rows))
        object.__setattr__(self, "blocks", torch.cat(blocks))

    @property
    def order(self) -> int:
        """Number of elements."""
        return len(self.inverse)


def finite_group(name: str) -> FiniteGroup:
    """Return S3, S4, S5 (characters by the rule of Murnaghan and Nakayama) or A5 (by its table)."""
    if name not in ("S3", "S4", "S5", "A5"):
        raise InvalidInput(f"group {name!r}: expected S3, S4, S5 or A5.")
    n = int(name[1])
    elements: list[Perm] = [
        p for p in itertools.permutations(range(n)) if name[0] == "S" or parity(p) == "even"
    ]
    number = {p: k for k, p in enumerate(elements)}
    after: Callable[[Perm, Perm], Perm] = lambda p, q: tuple(p[i] for i in q)  # noqa: E731
    product = torch.tensor([[number[after(p, q)] for q in elements] for p in elements])
    inverse = product.eq(number[tuple(range(n))]).int().argmax(1)
    if name[0] == "S":
        shapes = list(partitions(n))
        rows = [[murnaghan_nakayama(shape, cycle_type(p)) for p in elements] for shape in shapes]
        return FiniteGroup(
            name, product, inverse, tuple(map(str, shapes)), torch.tensor(rows, dtype=torch.float64)
        )
    # two classes of five-cycles: those conjugate in A5 to (0 1 2 3 4), and the rest, their squares
    cycle = (1, 2, 3, 4, 0)
    inverses = {p: elements[int(inverse[k])] for p, k in number.items()}
    first = {after(after(g, cycle), inverses[g]) for g in elements}
    gold = (1 + 5**0.5) / 2
    table = {
        (1, 1, 1, 1, 1): (1, 3, 3, 4, 5), (2, 2, 1): (1, -1, -1, 0, 1), (3, 1, 1): (1, 0, 0, 1, -1),
    }  # fmt: skip
    fives = {True: (1, gold, 1 - gold, -1, 0), False: (1, 1 - gold, gold, -1, 0)}
    columns = [table.get(cycle_type(p)) or fives[p in first] for p in elements]
    characters = torch.tensor(columns, dtype=torch.float64).T.contiguous()
    return FiniteGroup(name, product, inverse, ("1", "3", "3'", "4", "5"), characters)


def word_table(group: FiniteGroup, word: str) -> Tensor:  # (order, order)
    """Return the number of w(a, b) for all a and b; capital letters are inverses."""
    if not word or set(word) - set("abAB"):
        raise InvalidInput(f"word {word!r}: expected letters a, b, A, B, as in 'abA'.")
    a = torch.arange(group.order)[:, None].expand(group.order, group.order)
    letters = {"a": a, "b": a.T, "A": group.inverse[a], "B": group.inverse[a.T]}
    found = letters[word[0]]
    for letter in word[1:]:
        found = group.product[found, letters[letter]]
    return found


def predicted_support(group: FiniteGroup, word: str) -> set[Triplet]:
    """Return the triplets of irreps that the fusion rules allow."""
    chi = group.characters
    counts = word.lower().count("a"), word.lower().count("b")

    def inside(small: int, large: int, power: int) -> bool:
        return float((chi[small] * chi[large] ** power).mean()) > 0.5

    irreps = range(len(chi))
    return {
        (p, q, z)
        for p, q, z in itertools.product(irreps, repeat=3)
        if inside(p, z, counts[0]) and inside(q, z, counts[1])
    }


def energies(
    group: FiniteGroup, tensor: Tensor
) -> Tensor:  # (order, order, order) -> (irreps, irreps, irreps)
    """Return the squared norm of every block of a tensor on the group."""
    u = group.basis.to(tensor)
    square = torch.einsum("abc,xa,yb,zc->xyz", tensor, u, u, u).square()
    member = torch.nn.functional.one_hot(group.blocks, len(group.irreps)).to(tensor)
    return torch.einsum("xyz,xp,yq,zr->pqr", square, member, member, member)


class WordNetwork(nn.Module):
    """Two layers on a pair of elements, each as a row of its own: V act(W_a + W_b)."""

    def __init__(self, order: int, width: int, activation: str) -> None:
        """Draw the weights as nn.Linear does."""
        super().__init__()
        self.first = nn.Linear(2 * order, width, bias=False)
        self.second = nn.Linear(width, order, bias=False)
        self.order, self.activation = order, activation

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the logits of w(a, b)."""
        rows = self.first.weight.T
        h = rows[a] + rows[self.order + b]
        return self.second(h.square() if self.activation == "quadratic" else h.relu())


def train(
    group: FiniteGroup,
    word: str,
    *,
    steps: int = 3000,
    width: int = 512,
    fraction: float = 0.8,
    activation: str = "quadratic",
    every: int = 50,
    seed: int = 0,
    enough: float = 0.99,
) -> tuple[WordNetwork, list[Row]]:
    """Train on a part of all pairs until the rest is right, and return the network and its curves.

    Returns:
        The network; rows of step, loss, training accuracy, test accuracy, energy on the allowed blocks.
    """
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    table = word_table(group, word).flatten()
    pairs = torch.cartesian_prod(torch.arange(group.order), torch.arange(group.order))
    order = torch.randperm(len(pairs), generator=generator)
    cut = round(fraction * len(pairs))
    learn, test = order[:cut], order[cut:]
    network = WordNetwork(group.order, width, activation)
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=1.0, betas=(0.9, 0.98))
    curves: list[Row] = []
    for step in range(1, steps + 1):
        logits = network(*pairs[learn].T)
        loss = nn.functional.cross_entropy(logits, table[learn])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % every == 0 or step == steps:
            with torch.no_grad():
                right = [
                    float((network(*pairs[s].T).argmax(1) == table[s]).double().mean()) for s in (learn, test)
                ]
            curves.append((step, float(loss.detach()), right[0], right[1], inside(group, word, network)))
            if right[1] >= enough:
                break
    return network, curves


def inside(group: FiniteGroup, word: str, network: WordNetwork) -> float:
    """Return the part of the energy of the learned tensor that is on the allowed blocks."""
    found = energies(group, learned_tensor(group, network))
    return float(sum(found[t] for t in predicted_support(group, word)) / found.sum())


def learned_tensor(group: FiniteGroup, network: WordNetwork) -> Tensor:
    """Return the logits of all pairs; their mean over the answers, which softmax does not see, is taken out."""
    pairs = torch.cartesian_prod(torch.arange(group.order), torch.arange(group.order))
    with torch.no_grad():
        logits = network(*pairs.T).double().view(group.order, group.order, group.order)
    return logits - logits.mean(2, keepdim=True)


def cp_error(tensor: Tensor, rank: int, *, restarts: int = 10, sweeps: int = 600, seed: int = 0) -> float:
    """Return the smallest relative squared error of a sum of ``rank`` outer products, by alternating least squares.

    The weight of the regularisation falls from sweep to sweep, which keeps the factors from growing against each other.
    """
    generator = torch.Generator().manual_seed(seed)
    total, best = tensor.square().sum(), float("inf")
    unfolded = [tensor.movedim(axis, 0).flatten(1) for axis in range(3)]
    for _ in range(restarts):
        factors = [torch.randn(n, rank, dtype=tensor.dtype, generator=generator) for n in tensor.shape]
        for sweep in range(sweeps):
            weight = 10.0 ** (-1.0 - 13.0 * sweep / sweeps)
            for axis in range(3):
                p, q = (factors[k] for k in range(3) if k != axis)
                products = torch.einsum("ir,jr->ijr", p, q).flatten(0, 1)
                gram = (p.T @ p) * (q.T @ q) + weight * torch.eye(rank, dtype=tensor.dtype)
                factors[axis] = torch.linalg.solve(
                    gram, (unfolded[axis] @ products + weight * factors[axis]).T
                ).T
        found = torch.einsum("ir,jr,kr->ijk", *factors)
        best = min(best, float((tensor - found).square().sum() / total))
        if best < 1e-20:
            break
    return best


def plot(curves: list[Row], title: str, path: str) -> None:
    """Write the curves of accuracy to a file."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    steps, _, learnt, tested, there = zip(*curves, strict=True)
    figure, axes = pyplot.subplots(figsize=(5, 3.2))
    axes.plot(steps, learnt, label="training pairs")
    axes.plot(steps, tested, label="other pairs")
    axes.plot(steps, there, "--", label="energy on allowed blocks")
    axes.set(xlabel="step", ylabel="part", title=title)
    axes.legend()
    figure.tight_layout()
    figure.savefig(path)
    pyplot.close(figure)


def main(arguments: list[str] | None = None) -> dict[str, float]:
    """Print fusion rules, learn a word, look at what was learned, and find tensor ranks of S3."""
    parser = argparse.ArgumentParser(description="Words in finite groups.")
    parser.add_argument("--group", default="S4", choices=["S3", "S4", "S5", "A5"])
    parser.add_argument("--word", default="ab")
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--activation", default="quadratic", choices=["quadratic", "relu"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--ranks", type=int, nargs="*", default=[7, 8, 9])
    parser.add_argument("--plot", help="file for the curves")
    given = parser.parse_args(arguments)
    group = finite_group(given.group)
    print(f"{group.name}: {group.order} elements, irreps {', '.join(group.irreps)}")
    for word in dict.fromkeys(["ab", "abA", "abAB", given.word]):
        tensor = nn.functional.one_hot(word_table(group, word), group.order).double()
        there = {tuple(t) for t in (energies(group, tensor) > 1e-9).nonzero().tolist()}
        allowed = predicted_support(group, word)
        verdict = "as the fusion rules say" if there == allowed else f"the fusion rules allow {len(allowed)}"
        print(f"{word:5s} is there on {len(there):2d} of {len(group.irreps) ** 3} blocks, {verdict}")
    _, curves = train(
        group, given.word, steps=given.steps, width=given.width, activation=given.activation, seed=given.seed
    )
    for step, loss, learnt, tested, there in [*curves[: -1 : max(1, len(curves) // 8)], curves[-1]]:
        print(
            f"step {step:5d}  loss {loss:.4f}  training pairs {learnt:.3f}  other pairs {tested:.3f}  "
            f"energy on the allowed blocks {there:.3f}"
        )
    results: dict[str, float] = dict(
        zip(("step", "loss", "train", "test", "inside"), curves[-1], strict=True)
    )
    tensor = nn.functional.one_hot(word_table(finite_group("S3"), given.word), 6).double()
    for rank in given.ranks:
        results[f"rank {rank}"] = cp_error(tensor, rank)
        print(f"S3, {given.word}: rank {rank}, relative error {results[f'rank {rank}']:.1e}")
    if given.plot:
        plot(curves, f"{group.name}, {given.word}", given.plot)
    return results


if __name__ == "__main__":
    main()
