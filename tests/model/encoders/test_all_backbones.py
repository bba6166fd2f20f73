"""Every family of timm's models as a backbone: it works, or one line says why not."""

from collections import defaultdict
from collections.abc import Callable

import pytest
import timm

from s2rm.config.params import Params
from s2rm.core.errors import UserError
from s2rm.model.profile import describe

FAMILIES: dict[str, list[str]] = defaultdict(list)
for known in timm.list_models():
    FAMILIES[timm.models.model_entrypoint(known).__module__].append(known)


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("image_size", [80, 96])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_backbone_is_described_or_refused_in_one_line(
    tiny_params: Callable[..., Params], family: str, image_size: int
) -> None:
    names = FAMILIES[family]
    for name in {names[0], min(names, key=len)}:
        params = tiny_params(
            f"vision.backbone={name}",
            "~vision.options",
            "+vision.options={}",
            f"vision.image_size={image_size}",
        )
        try:
            said = f"{name} has {describe(params)['vision'].parameters} parameters"
        except UserError as error:
            said = str(error)
        assert name in said
        assert "\n" not in said
