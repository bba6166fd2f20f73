"""Find the full model of a study: the parameters that its variants are compared with."""

import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

from s2rm.config.load import load_params
from s2rm.config.params import Params
from s2rm.core.errors import UserError

PARAMS = "params.yaml"


def load_full(file: Path | None = None) -> tuple[Params, str]:
    """Return the parameters of the full model, and where they come from, for people.

    By default they are those of params.yaml as last committed. The file in the folder may hold the values of
    the last `dvc exp run -S`, which would make an ablated model the full one.

    Args:
        file: a parameter file to take instead.

    Raises:
        UserError: the file cannot be read, or is not valid.
    """
    if file is not None:
        return load_params(file), str(file)
    shown = subprocess.run(["git", "show", f"HEAD:./{PARAMS}"], capture_output=True, check=False)
    if shown.returncode:
        return load_params(PARAMS), f"{PARAMS}, which is not committed in git"
    with TemporaryDirectory() as folder:
        path = Path(folder) / PARAMS
        path.write_bytes(shown.stdout)
        try:
            full = load_params(path)
        except UserError as error:
            raise UserError(str(error).replace(str(path), f"the committed {PARAMS}")) from None
    changed = Path(PARAMS).is_file() and Path(PARAMS).read_bytes() != shown.stdout
    note = ", not with the changes in your folder (--full params.yaml takes them)" if changed else ""
    return full, f"{PARAMS} as last committed{note}"
