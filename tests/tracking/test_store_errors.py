"""Messages of other libraries become one line that says what helps and tells no secret."""

import pytest

from s2rm.tracking.store_errors import DELETED, UNREACHABLE, explain


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("API request to http://h failed with exception HTTPConnectionPool(…)", "does not answer"),
        ("API request to http://h failed with timeout exception x. To increase …", "does not answer"),
        (
            "API request to endpoint /x failed with error code 404 != 200. Response body: '<html>'",
            "answers, but",
        ),
        ("… Max retries exceeded … (Caused by ResponseError('too many 502 error responses'))", "with errors"),
        ("API request failed with error code 401 != 200", "refuses the access"),
        (
            "Detected out-of-date database schema (found version x, but expected y)",
            "mlflow db upgrade sqlite:///f",
        ),
        ("(sqlite3.DatabaseError) file is not a database\n[SQL: SELECT 1]", "is not a database: if it"),
        ("(sqlite3.DatabaseError) database disk image is malformed", "is corrupt"),
        ("(sqlite3.OperationalError) database is locked", "is locked by another process"),
        ("(sqlite3.OperationalError) attempt to write a readonly database", "is read-only"),
        ("[Errno 30] Read-only file system: 'mlflow.db.lock'", "is read-only"),
        ("No module named 'psycopg2'", "needs a driver that is missing"),
    ],
)
def test_what_is_known_says_what_helps(text: str, meaning: str) -> None:
    error = explain(RuntimeError(text), "sqlite:///f")
    assert str(error).startswith("the MLflow store sqlite:///f ")
    assert meaning in str(error)
    assert error.code == UNREACHABLE


def test_what_is_unknown_is_one_short_line_without_the_password() -> None:
    error = explain(
        RuntimeError("first line\nsecond: anna:s3cret@host\n" + 1000 * "x"), "http://host", "s3cret"
    )
    assert "\n" not in str(error)
    assert "s3cret" not in str(error)
    assert len(str(error)) < 300
    assert error.code == ""
    assert "ZeroDivisionError" in str(explain(ZeroDivisionError(), "http://host"))
    assert explain(RuntimeError("… Current state is deleted."), "http://host").code == DELETED
