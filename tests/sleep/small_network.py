"""The sleep that tests of several files share: a network of 25-9-7-4 units, so awake that every layer spikes and learns."""

from typing import Any

import torch
from torch import Tensor, nn

from src_lab.models import ModelConfig, build_model
from src_lab.sleep import SleepConfig, StimulusConfig
from src_lab.sleep.chain import find_layers

CONFIG = SleepConfig(
    iterations=250,
    inc=0.01,
    dec=0.002,
    decay=0.95,
    alpha=[1.0, 2.0, 2.0],
    beta=[0.5, 0.4, 0.3],
    max_rate_hz=400.0,
    stimulus=StimulusConfig(samples_per_step=3),
)
IMAGES = torch.rand(20, 5, 5, generator=torch.Generator().manual_seed(7))


def network(dtype: torch.dtype = torch.float32, **options: Any) -> nn.Sequential:
    model = {"name": "test", "widths": [9, 7], "bias": False, "dropout": 0.25, "output": "linear", "rank": None}
    config = ModelConfig(**{**model, "dropout_scaling": "train", "init_range": 0.5, **options})
    return build_model(config, 25, 4, seed=1).to(dtype)


def weights_of(model: nn.Module) -> list[Tensor]:
    return [layer.weight() for layer in find_layers(model)]
