"""What was made of the same tensors is not made again."""

import copy
import pickle

import torch

from alflow.models.ani.recent import Recent


class Counter:
    """Counts how often it is asked."""

    def __init__(self):
        self.count = 0

    def __call__(self):
        self.count += 1
        return self.count


def test_the_same_tensors_have_the_same_made_of_them():
    recent, make = Recent(), Counter()
    one, two = torch.zeros(2), torch.zeros(3)
    assert [recent.get((one, two), make) for _ in range(3)] == [1, 1, 1]
    assert recent.get((two, one), make) == 2
    assert recent.get((two,), make) == 3
    assert recent.get((one.clone(),), make) == 4


def test_what_was_written_to_is_another_tensor():
    recent, make = Recent(), Counter()
    tensor = torch.zeros(2)
    recent.get((tensor,), make)
    tensor[0] = 1
    assert recent.get((tensor,), make) == 2


def test_tensors_are_not_kept_alive():
    recent, make = Recent(), Counter()
    recent.get((torch.zeros(2),), make)
    assert recent.get((torch.zeros(2),), make) == 2


def test_a_copy_begins_anew():
    recent, tensor = Recent(), torch.zeros(2)
    recent.get((tensor,), Counter())
    for other in (copy.deepcopy(recent), pickle.loads(pickle.dumps(recent))):
        assert other.get((tensor,), lambda: "new") == "new"
