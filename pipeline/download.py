"""Stage 1: raw data in the REFER layout → data/raw: drawn (RefShapes), fetched, or taken from a folder."""

import os
import shutil
from pathlib import Path

import context  # noqa: F401
from arguments import is_offline
from logs import set_up_logging
from paths import RAW, ROOT

from s2rm.acquire.archives.catalog import load_catalog
from s2rm.acquire.archives.layout import lay_out_archives
from s2rm.acquire.archives.store import ArchiveStore
from s2rm.acquire.folder import lay_out_folder
from s2rm.config.params import load_params
from s2rm.core.errors import exit_on_user_error
from s2rm.refshapes import write_refshapes


def main() -> None:
    set_up_logging()
    offline, data = is_offline(), load_params().data
    shutil.rmtree(RAW, ignore_errors=True)  # as DVC does: its cache may share the files' bytes
    benchmarks = list(data.benchmarks)
    if data.source == "refshapes":
        write_refshapes(data.refshapes, benchmarks, RAW)
    elif data.source == "folder":
        lay_out_folder(Path(os.environ.get("S2RM_REAL_DATA") or str(data.folder)), benchmarks, RAW)
    else:
        # What has come lies outside of what DVC deletes before it runs a stage.
        store = ArchiveStore.from_environment(
            ROOT / ".scratch" / "archives", load_catalog(Path(data.catalog)), offline=offline
        )
        lay_out_archives(store, benchmarks, RAW, referit=data.referit, keep_archives=data.keep_archives)


if __name__ == "__main__":
    exit_on_user_error(main)
