import pytest
from report_inputs import ReportInputs, make_inputs


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> ReportInputs:
    """Read only; a test that breaks a file makes its own with `make_inputs`."""
    return make_inputs(tmp_path_factory.mktemp("inputs"))
