"""Queries (head, relation) as they are served: with all their known answers, or with a few drawn wrong ones."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

from geomlib.datasets.ranking import KnownTails
from geomlib.datasets.tasks import Samples
from geomlib.errors import InvalidInput

__all__ = ["RankedQueries", "SampledTails"]


class RankedQueries:
    """Queries whose target is the answer asked for, and behind it the other known ones, which ranking leaves out.

    Args:
        samples: ``head``, ``relation`` and ``tail`` (N,).
        known: answers of all parts of the graph.

    >>> samples = Samples({"head": torch.tensor([0]), "relation": torch.tensor([1]), "tail": torch.tensor([4])})
    >>> known = KnownTails(torch.tensor([0, 0]), torch.tensor([1, 1]), torch.tensor([4, 2]))
    >>> RankedQueries(samples, known).batch(torch.tensor([0]))["tail"]
    tensor([[4, 2]])
    """

    def __init__(self, samples: Samples, known: KnownTails) -> None:
        self.samples, self.known = samples, known

    def __len__(self) -> int:
        return len(self.samples)

    def batch(self, index: Tensor) -> dict[str, Tensor]:
        """Return the queries with these numbers; ``tail`` is (B, 1 + K), filled up with -1."""
        batch = self.samples.batch(index)
        others = self.known.others(batch["head"], batch["relation"], batch["tail"])
        return {**batch, "tail": torch.cat([batch["tail"][:, None], others], 1)}


class SampledTails:
    """Queries with few candidates: the answers of the batch and entities drawn at random, the same for all its queries.

    The draw depends on the batch alone, so a run that is continued sees the same ones. Candidates are sorted and different
    from one another; a known answer to one query may be a wrong candidate of another.

    Args:
        samples: ``head``, ``relation`` and ``tail`` (N,).
        entities: to draw from.
        negatives: how many are drawn.

    Raises:
        InvalidInput: not between 1 and the number of entities.

    >>> samples = Samples({k: torch.tensor([0, 3]) for k in ("head", "relation", "tail")})
    >>> batch = SampledTails(samples, 9, 3).batch(torch.tensor([1]))
    >>> bool(batch["candidates"][batch["tail"]] == 3), len(batch["candidates"]) <= 4
    (True, True)
    """

    def __init__(self, samples: Samples, entities: int, negatives: int) -> None:
        if not 1 <= negatives <= entities:
            raise InvalidInput(f"negatives={negatives}: expected 1..{entities}, or 0 for all entities.")
        self.samples, self.entities, self.negatives = samples, entities, negatives

    def __len__(self) -> int:
        return len(self.samples)

    def batch(self, index: Tensor) -> dict[str, Tensor]:
        """Return the queries with these numbers, ``candidates`` (K,), and ``tail`` as the place among them."""
        batch = self.samples.batch(index)
        digest = hashlib.sha256(index.cpu().contiguous().numpy().tobytes()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)
        drawn = torch.randint(self.entities, (self.negatives,), generator=generator)
        candidates, place = torch.cat([batch["tail"], drawn.to(index.device)]).unique(return_inverse=True)
        return {**batch, "candidates": candidates, "tail": place[: len(index)]}
