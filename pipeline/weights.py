"""Pretrained encoders from the Hugging Face Hub → data/weights. Trainings then need no network."""

from pathlib import Path

import context  # noqa: F401
from arguments import is_offline
from logs import set_up_logging
from paths import ROOT, WEIGHTS

from s2rm.acquire.archives.catalog import load_catalog
from s2rm.acquire.hub.weights import fetch_weights
from s2rm.config.params import load_params
from s2rm.core.errors import exit_on_user_error


def main() -> None:
    set_up_logging()
    offline, params = is_offline(), load_params()
    catalog = load_catalog(Path(params.data.catalog))
    fetch_weights(
        params.vision,
        params.language,
        WEIGHTS,
        store=ROOT / ".scratch" / "weights",  # outside of what DVC deletes before it runs a stage
        revisions=catalog.revisions(),
        pin=catalog.pin_revision,
        offline=offline,
    )


if __name__ == "__main__":
    exit_on_user_error(main)
