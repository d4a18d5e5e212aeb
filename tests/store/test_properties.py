"""What suites found is kept once, of a generation or of a level of theory."""

import math

import pytest
from sqlalchemy import text

from alflow.core.properties import Curve, Property, SuiteResult
from alflow.core.tasks import Outcome, TaskState
from alflow.store.properties import asked, found

CURVE = Curve("melt/rdf", (1.0, 2.0), "Å", ((0.0, 1.0),), "1", 1.5)
RESULT = SuiteResult(
    (
        Property("fcc/lattice_constant", 4.05, "Å", (4.04, 4.06)),
        Property("fcc/C11", math.nan, "GPa", (100.0, math.nan)),
    ),
    (CURVE,),
    ("hcp has no minimum",),
)


@pytest.fixture
def trained(world):
    world.bootstrap()
    world.label_all()
    world.train_generation()
    return world


def ask(world, name="g0/crystal/1", **who):
    settings = {"suite": {"kind": "crystal"}, **who}
    world.store.publish([world.task("property", name, 0, settings=settings)])
    return world.attempt("property")


def test_properties_come_back_in_the_order_of_their_suite(trained):
    digest = trained.store.content_digest()
    ref = ask(trained, generation=0)
    outcome = Outcome(RESULT.to_json())
    assert trained.store.add_properties(ref, outcome, RESULT.properties)
    assert not trained.store.add_properties(ref, outcome, RESULT.properties)
    with trained.store.read() as connection:
        (one,) = found(connection)
        states = asked(connection)
    assert (one.generation, one.level, one.suite) == (0, "", "crystal")
    lattice, c11 = one.properties
    assert lattice == RESULT.properties[0]
    assert math.isnan(c11.value)
    assert c11.members[0] == 100.0
    assert math.isnan(c11.members[1])
    assert one.curves == (CURVE,)
    assert one.notes == RESULT.notes
    assert [state.state for state in states.values()] == [TaskState.DONE]
    assert trained.store.content_digest() == digest


def test_a_level_of_theory_has_properties_too(trained):
    ref = ask(trained, "level/dft/crystal/1", level="dft", labeler={}, elements=[8])
    trained.store.add_properties(ref, Outcome(RESULT.to_json()), RESULT.properties)
    with trained.store.read() as connection:
        (one,) = found(connection)
        rows = connection.execute(
            text("SELECT name, value, ensemble_id, lot_id FROM property ORDER BY name")
        ).all()
    assert (one.generation, one.level) == (None, "dft")
    assert [row[0] for row in rows] == ["fcc/C11", "fcc/lattice_constant"]
    assert rows[0][1] is None
    assert rows[1][1:3] == (4.05, None)
    assert rows[1][3] is not None


def test_a_suite_may_find_nothing(trained):
    ref = ask(trained, generation=0)
    empty = SuiteResult((), notes=("no minimum",))
    assert trained.store.add_properties(ref, Outcome(empty.to_json()), ())
    with trained.store.read() as connection:
        (one,) = found(connection)
    assert one.properties == ()
    assert one.notes == ("no minimum",)
