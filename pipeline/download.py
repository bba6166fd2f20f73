"""Stage 1: raw data in the REFER layout → data/raw/: drawn (RefShapes), fetched, or copied from a folder.

    python pipeline/download.py [--offline]

Reads the catalog of archives (archives.yaml) or the folder `data.folder`; writes data/raw/<benchmark>/ and
data/raw/images/. Downloads are kept in .scratch/archives/. The demo draws its data in about ten seconds.
"""

import shutil
from pathlib import Path

import context  # noqa: F401
from arguments import is_offline
from logs import set_up_logging
from paths import RAW, ROOT, SCRATCH, refuse_links

from s2rm.acquire.archives.catalog import load_catalog
from s2rm.acquire.archives.citations import describe_citations
from s2rm.acquire.archives.layout import lay_out_archives
from s2rm.acquire.archives.store import ArchiveStore
from s2rm.acquire.folder import lay_out_folder
from s2rm.acquire.own_folder import find_folder
from s2rm.config.load import load_params
from s2rm.core.errors import exit_on_user_error
from s2rm.core.project import require_writable
from s2rm.refshapes import write_refshapes


def main() -> None:
    """Write the raw data of all benchmarks in params.yaml."""
    set_up_logging()
    refuse_links()
    offline, data = is_offline(), load_params().data
    require_writable(RAW, SCRATCH)
    shutil.rmtree(RAW, ignore_errors=True)  # as DVC does: its cache may share the files' bytes
    benchmarks = list(data.benchmarks)
    if data.source == "refshapes":
        write_refshapes(data.refshapes, benchmarks, RAW)
    elif data.source == "folder":
        lay_out_folder(find_folder(data, ROOT), benchmarks, RAW)
    else:
        catalog = load_catalog(Path(data.catalog))
        # Downloads are kept outside of the stage's outputs, which DVC deletes before it runs the stage.
        store = ArchiveStore.from_environment(SCRATCH / "archives", catalog, offline=offline)
        lay_out_archives(store, benchmarks, RAW, referit=data.referit, keep_archives=data.keep_archives)
        print(describe_citations(catalog, benchmarks, data.referit))


if __name__ == "__main__":
    exit_on_user_error(main)
