import numpy as np
import pytest

from alflow.report.mistake_panels import panels
from alflow.report.mistakes import ElementError, Mistakes, by_element
from alflow.store.mistakes import NEW, TEST, AtomErrors, LabelError, OriginError

NAN = float("nan")


def test_errors_are_taken_together_by_set_and_element():
    numbers = np.array([8, 1, 1], np.uint8)
    errors = np.array([[0.3, 0, 0], [0, 0.1, 0], [0.2, 0.2, 0.1]])
    found = by_element(
        [
            AtomErrors(TEST, numbers, errors),
            AtomErrors(NEW, numbers[:1], np.array([[0.0, 0, 0.6]])),
            AtomErrors(TEST, numbers[:1], np.array([[0.0, 0.4, 0]])),
        ]
    )
    expected = {
        (NEW, "O"): (1, (0.36 / 3) ** 0.5, 0.6),
        (TEST, "H"): (2, ((0.01 + 0.09) / 6) ** 0.5, 0.3),
        (TEST, "O"): (2, ((0.09 + 0.16) / 6) ** 0.5, 0.4),
    }
    assert {(row.which, row.element) for row in found} == set(expected)
    for row in found:
        numbers_of = (row.n_atoms, row.force_rmse, row.largest)
        assert numbers_of == pytest.approx(expected[row.which, row.element])


def test_an_error_that_is_not_finite_does_not_count():
    numbers = np.array([1, 1], np.uint8)
    errors = np.array([[NAN, 0, 0], [0, 0.3, 0]])
    (row,) = by_element([AtomErrors(TEST, numbers, errors)])
    assert (row.n_atoms, row.largest) == (1, pytest.approx(0.3))
    assert by_element([AtomErrors(TEST, numbers[:1], errors[:1])]) == ()
    assert by_element([]) == ()


def test_tables_name_the_worst_and_what_to_type():
    found = Mistakes(
        generation=7,
        iteration=None,
        by_element=(
            ElementError(TEST, "H", 80, 0.02, 0.09),
            ElementError(TEST, "O", 40, 0.05, 0.2),
        ),
        by_origin=(OriginError(TEST, "molecules", 40, 0.0016, None),),
        worst=(LabelError(TEST, 12, 3, "H2O", "molecules", NAN, NAN, -0.004),),
    )
    elements, origins, worst = panels(found)
    assert elements.title == "Forces are most wrong on O: 50.0 meV/Å"
    assert elements.caption.endswith("Test: the test set, by g7.")
    assert origins.table.rows == (("molecules", "test", "40", "40.0", "–"),)
    assert worst.title == "The 1 label with the largest errors"
    assert "alflow show l-12" in worst.caption
    assert worst.table.rows[0][-3:] == ("–", "–", "-4.00")
    assert panels(Mistakes()) == ()
