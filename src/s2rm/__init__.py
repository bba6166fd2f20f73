"""S²RM + CASG for referring image segmentation (arXiv 2405.09006): a reference implementation.

    from s2rm import Predictor
    masks = Predictor.from_pretrained("models/joint").predict(image, ["the red circle on the left"])

`S2RM` is the model alone, a torch module. Both are imported when they are first used: `import s2rm`
loads no torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from s2rm.model.s2rm import S2RM
    from s2rm.predictor import Predictor

__version__ = "0.1.0"
__all__ = ["S2RM", "Predictor", "__version__"]

_HOMES = {"S2RM": "s2rm.model.s2rm", "Predictor": "s2rm.predictor"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 's2rm' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
