"""What is wrong with a setting, as a value that plug-ins can return too."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong with a value, before it is known where in the file the value stands.

    A plug-in's settings may have a method `problems(elements)` that returns findings about the
    settings themselves; their paths are relative to the plug-in's section. A method
    `missing_here()` returns what they need and this machine does not have.

    Attributes:
        path: Keys and list indices that lead to the value.
        message: What is wrong, with the value and the rule; lower-case start, no full stop.
        hint: What to write instead, or an empty string.
        code: Stable identifier of the rule.
        at_key: Whether to point at the key instead of at its value.
    """

    path: tuple[str | int, ...]
    message: str
    hint: str = ""
    code: str = "AL101"
    at_key: bool = False
