"""`alflow quarantine` sets labels aside."""


def test_aside_and_back(alflow, database):
    result = alflow("quarantine", "l-1", "l-2", "l-2", "--reason", "a wrong minimum")
    assert result.code == 0
    assert "2 of 2 labels set aside" in result.err
    assert "suspect" in alflow("show", "l-1").out
    assert "a wrong minimum" in alflow("show", "l-1").out
    result = alflow("quarantine", "l-1", "--undo")
    assert "1 of 1 labels trusted again" in result.err
    sql = "SELECT id, quality FROM label WHERE id < 3"
    assert alflow("sql", sql, database, "--csv").out == "id,quality\n1,ok\n2,suspect\n"


def test_what_cannot_be(alflow, database):
    assert (
        "'s-1' is not the name of a label"
        in alflow("quarantine", "s-1", "--reason", "x").err
    )
    assert "add --reason" in alflow("quarantine", "l-1").err
    result = alflow("quarantine", "l-1", "l-99", "--reason", "x", "--db", database)
    assert (result.code, "no label l-99" in result.err) == (2, True)
    assert alflow("show", "l-1", "--json").json["history"] == []
