import pytest

from stripe.errors import StripeError
from stripe.registry import Registry, module_of, registered


class First: ...


class Second: ...


def test_names_come_by_place_and_then_by_alphabet() -> None:
    known: Registry[int] = Registry("stripe.tasks", "a number")
    for name, place in (("b", 1), ("z", 0), ("a", 1)):
        known.add(name, place, place=place)
    known["aa"] = 5
    assert list(known.items()) == [("z", 0), ("a", 1), ("b", 1), ("aa", 5)]
    del known["z"]
    assert len(known) == 3
    assert "z" not in known


def test_a_name_belongs_to_one_thing_which_may_be_registered_again() -> None:
    known: Registry[type] = Registry("stripe.tasks", "a shape")
    known.add("one", First)
    known.add("one", First)
    with pytest.raises(StripeError, match=r"there is a shape 'one' already, .*First; give yours another name"):
        known.add("one", Second)
    assert known["one"] is First


@pytest.mark.parametrize("name", ["Task", "Nothing", "Class", "SE"])
def test_only_files_that_register_something_are_looked_into(name: str) -> None:
    assert module_of("stripe.tasks", name) is None
    assert module_of("stripe.attention", "SE") == "stripe.attention.se"


def test_a_package_that_is_not_there_registers_nothing() -> None:
    assert registered("stripe.sound") == []
