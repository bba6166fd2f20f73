"""Stage 1, beside the data: pretrained encoders from the Hugging Face Hub → data/weights/.

    python pipeline/weights.py [--offline]

Reads the pinned revisions in archives.yaml and archives.lock; writes the weights and a record of their
checksums, so trainings need no network. The demo has no pretrained encoders: a second, for an empty record.
"""

from pathlib import Path

import context  # noqa: F401
from arguments import is_offline
from logs import set_up_logging
from paths import SCRATCH, WEIGHTS

from s2rm.acquire.archives.catalog import load_catalog
from s2rm.acquire.hub.fetch_encoders import fetch_weights
from s2rm.config.load import load_params
from s2rm.core.errors import exit_on_user_error
from s2rm.core.project import require_writable


def main() -> None:
    """Fetch the encoders that params.yaml names."""
    set_up_logging()
    offline, params = is_offline(), load_params()
    require_writable(WEIGHTS, SCRATCH)
    catalog = load_catalog(Path(params.data.catalog))
    fetch_weights(
        params.vision,
        params.language,
        WEIGHTS,
        store=SCRATCH / "weights",  # outside of what DVC deletes before it runs a stage
        revisions=catalog.revisions(),
        pin=catalog.pin_revision,
        offline=offline,
    )


if __name__ == "__main__":
    exit_on_user_error(main)
