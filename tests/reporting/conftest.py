import pytest
from report_inputs import ReportInputs, make_example, make_inputs, make_view, make_weights, make_words


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> ReportInputs:
    """Inputs that tests only read; one that breaks a file makes its own with `make_inputs`."""
    return make_inputs(tmp_path_factory.mktemp("inputs"))


@pytest.fixture(scope="module")
def inspected(tmp_path_factory: pytest.TempPathFactory) -> ReportInputs:
    """The same as `inputs`, with an example, a view of the gates and of the words, and balancing weights."""
    made = make_inputs(tmp_path_factory.mktemp("inspected"))
    return made.inspect([make_example()], make_view(), make_weights(), make_words())
