"""S²RM + CASG for referring image segmentation (arXiv 2405.09006): a reference implementation.

    from s2rm import Predictor
    masks = Predictor.from_pretrained("models/joint").predict(image, ["the red circle on the left"])

`S2RM` is the model alone, a torch module; `create_model(name)` makes one with random weights. Each name is
imported on first use: `import s2rm` loads no torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from s2rm.config.load import load_params
    from s2rm.data.processor import Processor
    from s2rm.model.create import create_model, list_models
    from s2rm.model.s2rm import S2RM
    from s2rm.predictor import Predictor

__version__ = "0.1.0"
__all__ = ["S2RM", "Predictor", "Processor", "__version__", "create_model", "list_models", "load_params"]

_HOMES = {
    "S2RM": "s2rm.model.s2rm",
    "Predictor": "s2rm.predictor",
    "Processor": "s2rm.data.processor",
    "create_model": "s2rm.model.create",
    "list_models": "s2rm.model.create",
    "load_params": "s2rm.config.load",
}


def __getattr__(name: str) -> Any:
    """Import a public name on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module 's2rm' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
