"""A small file of moving skeletons in the format of HDM05: three actions, four actors, bones that keep their lengths."""

from __future__ import annotations

from pathlib import Path

import numpy as np

#: The tree of HDM05: parents, -1 for the root.
PARENT = [
    -1,
    0,
    1,
    2,
    3,
    4,
    0,
    6,
    7,
    8,
    9,
    0,
    11,
    12,
    13,
    14,
    15,
    13,
    17,
    18,
    19,
    20,
    21,
    20,
    13,
    24,
    25,
    26,
    27,
    28,
    27,
]


def skeleton_arrays(clips_of_an_action: int = 2, frames: int = 20, seed: int = 0) -> dict[str, np.ndarray]:
    """Return arrays of clips of actions 1, 2 and 11 of actors p, q (training) and y (test); each action turns other bones."""
    rng = np.random.default_rng(seed)
    lengths = rng.uniform(2, 8, size=31)
    joints, label, actor = [], [], []
    for who in ("p", "q", "y"):
        for action in (1, 2, 11):
            for _ in range(clips_of_an_action):
                count = frames + int(rng.integers(0, 5))
                t = np.arange(count) / 4 + rng.uniform(0, 6)
                speed = np.ones(31)
                speed[{1: slice(1, 11), 2: slice(17, 24), 11: slice(24, 31)}[action]] = 4
                x = np.zeros((count, 31, 3))
                x[:, 0] = rng.normal(size=3) * 5 + t[:, None]
                for i, p in enumerate(PARENT[1:], 1):
                    angle, lean = np.sin(speed[i] * t + i) * speed[i] / 4, 0.3 * np.cos(t + i)
                    way = np.stack(
                        [np.cos(angle) * np.cos(lean), np.sin(angle) * np.cos(lean), np.sin(lean)], -1
                    )
                    x[:, i] = x[:, p] + lengths[i] * way
                joints.append(x)
                label.append(action)
                actor.append(who)
    return {
        "joints": np.concatenate(joints).astype(np.float32),
        "offsets": np.cumsum([0, *map(len, joints)]),
        "label": np.array(label),
        "actor": np.array(actor),
        "split": np.array(["test" if a == "y" else "train" for a in actor]),
        "parent": np.array(PARENT) + 1,
    }


def skeleton_file(folder: Path, drop: tuple[str, ...] = (), **changes: np.ndarray) -> Path:
    """Write such a file, with arrays changed or left out."""
    arrays = {**skeleton_arrays(), **changes}
    np.savez(folder / "skeletons.npz", **{k: v for k, v in arrays.items() if k not in drop})
    return folder / "skeletons.npz"
