"""Settings of `geomlib train MODEL --data TASK` that finish in minutes; the cards say what the papers used."""

from __future__ import annotations

from typing import Any

__all__ = ["TASK_PRESETS"]

#: Task, then model, then settings; "model" holds options of the architecture.
TASK_PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "aut_graph": {
        "aut_network": {
            "steps": 1200, "batch_size": 50, "lr": 1e-2, "warmup": 30, "weight_decay": 1e-4, "val_every": 5,
            "model": {
                "edges": [[0, 1], [0, 2], [0, 3], [1, 4], [1, 5], [2, 6], [2, 7], [3, 8], [3, 9]], "nodes": 10, "features": 2,
                "channels": 16, "layers": 2,
            },
        },
    },
    "charged_nbody": {
        "cgenn_nbody": {
            "steps": 2000, "batch_size": 32, "lr": 4e-3, "warmup": 60, "weight_decay": 1e-4, "val_size": 500, "val_every": 5,
        },
    },
    "double_spring_pendulum": {
        "hamiltonian_tensor_net": {
            "steps": 1200, "batch_size": 50, "lr": 1e-2, "warmup": 50, "val_every": 10, "clip": 1.0,
            "model": {"substeps": 1, "blocks": 1},
        },
    },
    "fb15k_237": {
        "euclidean_kge": {
            "epochs": 10, "batch_size": 512, "lr": 1e-2, "warmup": 0, "optimizer": "adam", "clip": 0.0, "eval_batch_size": 256,
            "val_every": 5, "data_options": {"negatives": 1024},
            "model": {"entities": 14541, "relations": 474, "dim": 56, "op": "rotation"},
        },
        "spd_kge": {
            "epochs": 10, "batch_size": 512, "lr": 1e-2, "warmup": 0, "optimizer": "adam", "clip": 0.0, "eval_batch_size": 256,
            "val_every": 5, "data_options": {"negatives": 1024},
            "model": {"entities": 14541, "relations": 474, "n": 10},
        },
    },
    "eeg_mamem": {
        # Ten steps are an epoch of the 300 trials; microvolts are divided by their deviation.
        "spd_eegnet": {
            "steps": 200, "batch_size": 30, "lr": 2e-3, "warmup": 10, "weight_decay": 1e-2, "clip": 5.0,
            "model": {"scale": 7.0},
        },
    },
    "gaussian_states": {
        "equivariant_tensor_net": {
            "steps": 1500, "batch_size": 200, "lr": 3e-3, "warmup": 50, "weight_decay": 1e-4, "val_every": 10, "clip": 1.0,
            "model": {"group": "Sp(4)", "vectors": 0, "matrices": 1, "channels": 16, "hidden": 64},
        },
    },
    "gravity_nbody": {
        "cgenn_nbody": {"steps": 1200, "batch_size": 32, "lr": 3e-3, "warmup": 60, "val_size": 500},
    },
    "hdm05_subspaces": {
        "gyrogr_net": {
            "steps": 180, "batch_size": 32, "lr": 1e-2, "warmup": 20, "data_options": {"rank": 10}, "model": {"p": 10},
        },
    },
    "hdm05": {
        "spdnet": {"steps": 720, "batch_size": 32, "lr": 5e-3, "val_size": 0, "val_every": 20, "compile": False},
    },
    "hdm05_one": {
        "spdnet": {"steps": 240, "batch_size": 32, "lr": 5e-3, "val_size": 0, "val_every": 20, "compile": False},
    },
    "hdm05_windows": {
        "gyro_spdnet": {"steps": 180, "batch_size": 32, "lr": 2e-3, "val_size": 0, "val_every": 20, "compile": False},
        "gyro_recurrent": {"steps": 240, "batch_size": 32, "lr": 5e-3, "val_size": 0, "val_every": 20, "compile": False},
    },
    "hull5": {
        "cgenn_hull": {"steps": 4000, "batch_size": 64, "lr": 3e-3, "warmup": 60, "val_size": 1024},
    },
    "hull5_8": {
        "cgenn_hull": {
            "steps": 4000, "batch_size": 64, "lr": 3e-3, "warmup": 60, "val_size": 1024, "model": {"points": 8},
        },
        "csmpn": {
            "steps": 512, "batch_size": 8, "lr": 5e-3, "warmup": 30, "train_size": 4096, "val_size": 256, "test_size": 1024,
            "model": {"channels": 8, "layers": 1},
        },
    },
    "imdb_b": {
        "ppgn": {
            "steps": 800, "batch_size": 32, "lr": 2e-3, "warmup": 30, "weight_decay": 1e-4,
            "model": {"features": 2, "classes": 2, "channels": 16, "normalization": "sum"},
        },
    },
    "inertia": {
        "equivariant_tensor_net": {
            "steps": 8000, "batch_size": 200, "lr": 1e-2, "warmup": 50, "weight_decay": 0.5, "val_every": 10, "clip": 1.0,
            "model": {
                "scalars": 5, "vectors": 5, "order": 2, "channels": 16, "hidden": 32, "blocks": 1, "scale": 5.1,
            },
        },
    },
    "motion": {
        "csmpn": {
            "steps": 768, "batch_size": 8, "lr": 3e-3, "warmup": 30, "test_size": 1024,
            "model": {
                "dim": 3, "channels": 8, "layers": 2, "output": "positions", "velocities": True, "lift": "bones",
                "learned_kinds": True,
            },
        },
    },
    "neo_hooke": {
        "tensor_basis": {
            "steps": 6000, "batch_size": 256, "lr": 1e-2, "warmup": 100, "weight_decay": 0.0, "model": {"logs": True},
        },
    },
    "mutag": {
        "ppgn": {
            "steps": 150, "batch_size": 32, "lr": 1e-3, "warmup": 15, "weight_decay": 1e-4,
            "model": {"features": 7, "classes": 2, "channels": 8, "normalization": "sum"},
        },
    },
    "o3_volume": {
        "cgenn_o3": {"steps": 8000, "batch_size": 128, "lr": 5e-3, "warmup": 60, "val_size": 1024},
    },
    "o5_regression": {
        "cgenn_o5": {"steps": 4000, "batch_size": 64, "lr": 2e-3, "warmup": 60, "val_size": 1024},
    },
    "nacl": {
        "gaanet": {
            "steps": 1500, "batch_size": 32, "lr": 2e-3, "warmup": 50, "weight_decay": 1e-4,
            "model": {"features": 4, "outputs": 2, "dim": 32, "layers": 2, "rank": 2},
        },
    },
    "nacl_blank": {
        "gaanet": {
            "steps": 1000, "batch_size": 32, "lr": 5e-3, "warmup": 50,
            "model": {"features": 4, "dim": 32, "layers": 2, "rank": 2, "last_rank": 1, "read_out": "vector"},
        },
    },
    "nations": {
        "euclidean_kge": {
            "epochs": 60, "batch_size": 128, "lr": 1e-2, "warmup": 0, "optimizer": "adam", "clip": 0.0, "eval_batch_size": 256,
            "model": {"entities": 14, "relations": 110, "dim": 16, "op": "rotation"},
        },
        "spd_kge": {
            "epochs": 60, "batch_size": 128, "lr": 1e-2, "warmup": 0, "optimizer": "adam", "clip": 0.0, "eval_batch_size": 256,
            "model": {"entities": 14, "relations": 110, "n": 5},
        },
        "grassmann_kge": {
            "epochs": 20, "batch_size": 128, "lr": 1e-2, "warmup": 0, "optimizer": "adam", "clip": 0.0, "eval_batch_size": 256,
            "model": {"entities": 14, "relations": 110},
        },
    },
    "navier_stokes": {
        "gca_unet": {
            "steps": 600, "batch_size": 8, "lr": 4e-3, "warmup": 30, "val_every": 3,
            "model": {"hidden": 8, "multipliers": [1, 2, 2], "blocks": 1},
        },
        "gca_resnet": {
            "steps": 500, "batch_size": 8, "lr": 4e-3, "warmup": 30, "val_every": 3, "model": {"hidden": 8, "blocks": 3},
        },
    },
    "proteins": {
        # One graph has 620 nodes, a matrix of 384,400 entries, and its batch is padded to it: few at a time, order one.
        "kign": {
            "steps": 500, "batch_size": 8, "lr": 3e-3, "warmup": 30, "weight_decay": 1e-4, "eval_batch_size": 8,
            "model": {"features": 3, "classes": 2, "orders": [1, 1]},
        },
    },
    "o5_synthetic": {
        "equivariant_tensor_net": {
            "steps": 1500, "batch_size": 200, "lr": 3e-3, "warmup": 50, "weight_decay": 1e-4, "val_every": 10, "clip": 1.0,
            "model": {"group": "O(5)", "vectors": 2, "channels": 24, "highest": 1, "hidden": 64},
        },
    },
    "particle_interaction": {
        "equivariant_tensor_net": {
            "steps": 1500, "batch_size": 200, "lr": 3e-3, "warmup": 50, "weight_decay": 1e-4, "val_every": 10, "clip": 1.0,
            "model": {"group": "O(1,3)", "vectors": 4, "channels": 24, "highest": 1, "hidden": 64},
        },
    },
    "path_signature": {
        "equivariant_tensor_net": {
            "steps": 2000, "batch_size": 200, "lr": 5e-3, "warmup": 50, "weight_decay": 0.1, "val_every": 10, "clip": 1.0,
            "model": {"vectors": 10, "order": 2, "channels": 16, "hidden": 32, "blocks": 1, "scale": 4.4},
        },
    },
    "poisson_brackets": {
        "equivariant_tensor_net": {
            "steps": 600, "batch_size": 200, "lr": 1e-2, "warmup": 50, "val_every": 10, "clip": 1.0,
            "model": {
                "group": "Sp(4)", "vectors": 0, "matrices": 2, "order": 2, "channels": 8, "hidden": 32, "blocks": 1,
                "scale": 3.9,
            },
        },
    },
    "shallow_water": {
        "gca_unet": {
            "steps": 600, "batch_size": 8, "lr": 4e-3, "warmup": 30, "val_every": 3,
            "model": {"hidden": 8, "multipliers": [1, 2, 2], "blocks": 1},
        },
        "gca_resnet": {
            "steps": 500, "batch_size": 8, "lr": 4e-3, "warmup": 30, "val_every": 3, "model": {"hidden": 8, "blocks": 3},
        },
    },
    "sparse_vector": {
        "moment_net": {
            "steps": 800, "batch_size": 100, "lr": 3e-3, "warmup": 50, "val_every": 2, "clip": 1.0, "model": {"gain": 4.47},
        },
    },
    "tetris": {
        "gca_mlp": {
            "steps": 6000, "batch_size": 64, "lr": 5e-3, "warmup": 50, "val_every": 5, "model": {"hidden": 64},
        },
        "gca_gnn": {
            "steps": 4000, "batch_size": 64, "lr": 5e-3, "warmup": 50, "val_every": 5,
            "model": {"channels": 16, "message_channels": 16, "hidden": 32, "steps": 3},
        },
    },
    "triangles": {
        "kign": {
            "steps": 3000, "batch_size": 50, "lr": 1e-2, "warmup": 30, "val_every": 10, "eval_batch_size": 250,
            "model": {"orders": [3]},
        },
        "ppgn": {
            "steps": 3000, "batch_size": 50, "lr": 3e-3, "warmup": 30, "val_every": 10, "eval_batch_size": 250,
        },
    },
    "umls": {
        "euclidean_kge": {
            "epochs": 40, "batch_size": 128, "lr": 1e-2, "warmup": 0, "optimizer": "adam", "clip": 0.0, "eval_batch_size": 256,
            "model": {"dim": 16, "op": "rotation"},
        },
        "spd_kge": {
            "epochs": 40, "batch_size": 128, "lr": 1e-2, "warmup": 0, "optimizer": "adam", "clip": 0.0, "eval_batch_size": 256,
            "model": {"n": 5},
        },
        "grassmann_kge": {
            "epochs": 12, "batch_size": 128, "lr": 1e-2, "warmup": 0, "optimizer": "adam", "clip": 0.0, "eval_batch_size": 256,
        },
    },
    "wn18rr": {
        "euclidean_kge": {
            "epochs": 20, "batch_size": 512, "lr": 1e-2, "warmup": 0, "optimizer": "adam", "clip": 0.0, "eval_batch_size": 256,
            "val_every": 5, "data_options": {"negatives": 1024},
            "model": {"entities": 40943, "relations": 22, "dim": 56, "op": "rotation"},
        },
        "spd_kge": {
            "epochs": 20, "batch_size": 512, "lr": 1e-2, "warmup": 0, "optimizer": "adam", "clip": 0.0, "eval_batch_size": 256,
            "val_every": 5, "data_options": {"negatives": 1024},
            "model": {"entities": 40943, "relations": 22, "n": 10},
        },
    },
}  # fmt: skip
