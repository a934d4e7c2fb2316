r"""Clips of HDM05 skeletons: a validated reader, and what a clip is turned into (covariances, subspaces)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from geomlib.algebra.manifolds.covariance import covariance as series_covariance
from geomlib.datasets.arrays import read_npz
from geomlib.datasets.motion import Motions, motion_file, read_motions, rigid_pairs
from geomlib.errors import InvalidInput

__all__ = ["ACTIONS", "PARTS", "Clips", "covariance", "read_clips", "subspace", "window_covariances"]

Array = np.ndarray[Any, Any]

#: What is done, in the order of the labels.
ACTIONS = (
    "deposit on floor", "elbow to knee", "grab high", "hop on both legs", "jog in a circle", "kick", "lie down", "rotate arms",
    "sneak", "squat", "throw",
)  # fmt: skip
#: Five joints each of left leg, right leg, trunk and head, left arm, right arm.
PARTS = ((1, 2, 3, 4, 5), (6, 7, 8, 9, 10), (12, 13, 14, 15, 16), (17, 18, 19, 20, 21), (24, 25, 26, 27, 28))
_JOINTS = 31


@dataclass(frozen=True)
class Clips:
    """Clips of skeletons and what they show.

    Args:
        motions: joints in lengths of the skeleton files, offsets, actors and splits.
        label: of every clip, 0..10, see :data:`ACTIONS`.
    """

    motions: Motions
    label: Array

    def __len__(self) -> int:
        return len(self.label)

    def relative(self, clip: int) -> Array:  # (frames, 93)
        """Return the coordinates of the joints of a clip relative to its first joint."""
        start, stop = self.motions.offsets[clip : clip + 2]
        x = self.motions.joints[start:stop]
        return (x - x[:, :1]).reshape(len(x), -1)


def read_clips(path: str | Path | None = None) -> Clips:
    """Return the clips of the file of :func:`~geomlib.datasets.motion.motion_file`, in lengths of the skeleton files.

    Raises:
        InvalidInput: no such file, arrays that do not fit together or are not finite, a clip with fewer than two frames, a
            label outside 1..11, an actor of the training part in the test part, bones that change their lengths.
    """
    file = motion_file(path)
    motions = read_motions(file, unit=1.0)
    label = read_npz(file).get("label")
    count = len(motions.offsets) - 1
    if label is None or label.shape != (count,) or not np.issubdtype(label.dtype, np.integer):
        found = "no `label`" if label is None else f"`label` {label.dtype} of shape {label.shape}"
        raise InvalidInput(
            f"hdm05: {file} has {found}, expected whole numbers, one for each of its {count} clips."
        )
    wrong = np.flatnonzero((label < 1) | (label > len(ACTIONS)))
    if len(wrong):
        raise InvalidInput(
            f"hdm05: {file}: clip {wrong[0]} has label {label[wrong[0]]}, expected 1..{len(ACTIONS)}."
        )
    if motions.joints.shape[1] != _JOINTS:
        raise InvalidInput(
            f"hdm05: {file} has {motions.joints.shape[1]} joints, the skeletons of HDM05 have {_JOINTS}."
        )
    short = np.flatnonzero(np.diff(motions.offsets) < 2)
    if len(short):
        raise InvalidInput(f"hdm05: {file}: clip {short[0]} has one frame; a covariance needs two.")
    unknown = sorted(set(motions.split.tolist()) - {"train", "test"})
    if unknown:
        raise InvalidInput(f"hdm05: {file}: split {unknown[0]!r}, expected 'train' or 'test'.")
    both = set(motions.actor[motions.split == "train"]) & set(motions.actor[motions.split == "test"])
    if both:
        raise InvalidInput(
            f"hdm05: {file}: actor {sorted(both)[0]!s} is in the training and in the test part."
        )
    rigid_pairs(motions)  # raises where a bone changes its length
    return Clips(motions, label.astype(np.int64) - 1)


def covariance(
    x: Array,  # (frames, d)
    shrink: float = 1e-3,
) -> Array:  # (d, d)
    r"""Return the covariance of the frames of a clip with a part of its mean variance on the diagonal.

    .. math:: C = \frac{1}{T - 1} \sum_t (x_t - \bar x)(x_t - \bar x)^T, \qquad C + \frac{s \operatorname{tr} C}{d} I

    Clips are shorter than 93 frames, so without s C is singular.

    Args:
        x: frames, two or more.
        shrink: s.

    Raises:
        InvalidInput: fewer than two frames, a negative s, or a clip in which nothing moves.

    >>> covariance(np.array([[0.0, 0.0], [2.0, 0.0]]), shrink=0.5)
    array([[2.5, 0. ],
           [0. , 0.5]])
    """
    if x.ndim != 2 or len(x) < 2:
        raise InvalidInput(f"covariance: x of shape {x.shape}, expected (frames, d) with two frames or more.")
    return _unbiased(x, shrink)


def _unbiased(x: Array, shrink: float, *, check: bool = True) -> Array:
    mean_square = series_covariance(torch.from_numpy(x.T), shrink, check=check)
    return mean_square.numpy() * (len(x) / (len(x) - 1))


def window_covariances(
    x: Array,  # (frames, 3 joints)
    windows: int,
    parts: tuple[tuple[int, ...], ...] = PARTS,
    shrink: float = 1e-3,
) -> Array:  # (windows, parts, d, d)
    r"""Return covariances of parts of the body in windows of equal length that overlap by half.

    A clip of T frames has windows of :math:`\lceil 2 T / (w + 1) \rceil` frames, at least two, evenly spread from its first
    frame to its last. The shrinkage is relative to the whole clip's variance of the part, so that a part at rest in one window
    has a small covariance, not a singular one.

    Args:
        x: coordinates, joint by joint.
        windows: w.
        parts: joints of every part, all parts with as many.
        shrink: see :func:`covariance`.

    Raises:
        InvalidInput: see :func:`covariance`.
    """
    frames = len(x)
    length = min(frames, max(2, -(-2 * frames // (windows + 1))))
    starts = np.linspace(0, frames - length, windows).round().astype(int)
    joints = x.reshape(frames, -1, 3)
    found: list[Array] = []
    for part in parts:
        own = joints[:, part].reshape(frames, -1)
        floor = covariance(own, shrink) - covariance(own, 0.0)
        inside = [_unbiased(own[s : s + length], 0.0, check=False) for s in starts]
        found.append(np.stack([c + floor for c in inside]))
    return np.stack(found, 1)


def subspace(
    x: Array,  # (frames, d)
    rank: int,
) -> Array:  # (d, rank)
    """Return an orthonormal basis of the span of the leading left singular vectors of the d x frames matrix.

    The largest entry of every column is positive.

    Raises:
        InvalidInput: fewer frames, or a lower rank, than ``rank``.
    """
    u, s, _ = np.linalg.svd(x.T, full_matrices=False)
    if rank > len(s) or not s[rank - 1] > 1e-9 * s[0]:
        raise InvalidInput(f"subspace: rank={rank}, but a clip of {len(x)} frames spans fewer dimensions.")
    u = u[:, :rank]
    return u * np.sign(u[np.abs(u).argmax(0), np.arange(rank)])
