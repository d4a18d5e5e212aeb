"""What validation says about a file, for people and for programs."""

from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

from alflow.core.labels import Label
from alflow.core.structures import Structure
from alflow.store.interchange.consistency import ForceTest
from alflow.store.interchange.diagnosis import Refusal
from alflow.store.interchange.frames import ImportedFrame


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A frame that is not imported.

    Attributes:
        index: Place in the file, from 0.
        formula: What it is made of, or an empty string.
        check: Name of the check that it failed.
        message: What is wrong with it.
    """

    index: int
    formula: str
    check: str
    message: str


@dataclass(frozen=True, slots=True)
class AcceptedFrame:
    """A frame that may be imported.

    Attributes:
        frame: The frame.
        structure: Its geometry.
        label: Its energy, forces and stress.
    """

    frame: ImportedFrame
    structure: Structure
    label: Label


@dataclass(frozen=True, slots=True)
class Validation:
    """What validation found in a file.

    Attributes:
        n_frames: Frames in the file.
        accepted: Frames that may be imported, in order; none of them twice.
        duplicates: Places in the file of frames that repeat an accepted one.
        quarantined: Frames that must not be imported.
        refusals: Mistakes that run through the whole file; nothing of it must be imported.
        forces: What the comparison of energies and forces found; None with too few pairs.
        notes: What could not be told, sentences.
    """

    n_frames: int
    accepted: tuple[AcceptedFrame, ...]
    duplicates: tuple[int, ...] = ()
    quarantined: tuple[Quarantined, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    forces: ForceTest | None = None
    notes: tuple[str, ...] = ()

    @property
    def fix(self) -> str:
        """Options that mend all mistakes of the file, as far as they are known."""
        return " ".join(dict.fromkeys(one.fix for one in self.refusals if one.fix))

    def counts(self) -> dict[str, int]:
        """Number of quarantined frames by check."""
        return dict(Counter(one.check for one in self.quarantined).most_common())

    def to_json(self) -> dict[str, Any]:
        """A JSON-like dict."""
        return {
            "frames": self.n_frames,
            "accepted": len(self.accepted),
            "duplicates": len(self.duplicates),
            "quarantined": [asdict(one) for one in self.quarantined],
            "refusals": [asdict(one) for one in self.refusals],
            "fix": self.fix,
            "force_test": None if self.forces is None else asdict(self.forces),
            "notes": list(self.notes),
        }
