"""The PostgreSQL server that other tests break: its switches do what they say."""

import pytest
from postgres import postgres  # noqa: F401 (a fixture)


def test_commits_survive_a_kill(postgres):  # noqa: F811
    url = postgres.make_database()
    postgres.sql("CREATE TABLE kept (n BIGINT); INSERT INTO kept VALUES (1), (2)", url)
    postgres.kill()
    with pytest.raises(RuntimeError, match="failed"):
        postgres.sql("SELECT 1", url)
    postgres.start()
    assert postgres.sql("SELECT sum(n) FROM kept", url) == "3"
    postgres.restart()
    assert postgres.sql("SELECT sum(n) FROM kept", url) == "3"


def test_read_only_refuses_writes_until_it_is_lifted(postgres):  # noqa: F811
    url = postgres.make_database()
    postgres.set_read_only(True)
    with pytest.raises(RuntimeError, match="read-only"):
        postgres.sql("CREATE TABLE refused (n BIGINT)", url)
    postgres.cut_connections()
    postgres.set_read_only(False)
    assert postgres.sql("CREATE TABLE taken (n BIGINT); SELECT count(*) FROM taken", url) == "0"
