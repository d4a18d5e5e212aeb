"""Settings of the suite of a molecule."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from alflow.core.canonical import path_sha256
from alflow.core.protocols import ValidationSuite
from alflow.registry import InputFile
from alflow.validation.settings import SuiteSettings


class MoleculeSettings(SuiteSettings):
    """A molecule: its conformers, rotations about bonds, vibrations, and a run.

    `NAME/conformer_2/energy` [meV] and so on, each relaxed, above the first one;
    `NAME/torsion_1/barrier` [meV], the highest energy of a rigid rotation above the lowest, and the
    whole curve; `NAME/vibration_1` and so on [1/cm], ascending, imaginary ones as negative numbers,
    and `NAME/zero_point_energy` [meV] of the first conformer; `NAME/energy_drift` [meV/atom/ps] and
    `NAME/survived` [ps] of a run at constant energy.
    """

    kind: Literal["molecule"] = "molecule"
    file: InputFile
    """Geometries of the same molecule, in any format that ASE reads; the first one is that of
    which rotations and vibrations are computed. Workers read it, too."""
    sha256: str = Field(default="", pattern="^([0-9a-f]{64})?$")
    """Checksum of the file; taken from the file if not given, and compared with it if given."""
    name: str = Field(default="molecule", pattern=r"^[A-Za-z0-9_-]+$")
    """First word of the names of its properties."""
    torsions: tuple[tuple[int, int, int, int], ...] = ()
    """Four atoms each, counted from 0: the part behind the third one turns about the bond between
    the second and the third."""
    torsion_steps: int = Field(default=24, ge=6, le=360)
    """Number of points of a full turn."""
    force_eV_per_A: float = Field(default=0.005, gt=0)
    """Relaxations end when no atom feels a stronger mean force [eV/Å]."""
    hessian_step_A: float = Field(default=0.01, gt=0, le=0.1)
    """Displacement of each coordinate, up and down, for the vibrations [Å]."""
    temperature_K: float = Field(default=300.0, gt=0)
    """Temperature from which the run at constant energy starts [K]."""
    duration_ps: float = Field(default=5.0, ge=0)
    """Time of that run [ps]; 0 leaves it out."""
    timestep_fs: float = Field(default=0.25, gt=0)
    """Its integration step [fs]."""

    @model_validator(mode="before")
    @classmethod
    def _reads_file(cls, values: Any) -> Any:
        """Note what is in the file, unless that was done before."""
        if not isinstance(values, Mapping) or values.get("sha256"):
            return values
        path = Path(str(values.get("file"))).absolute()
        if not path.is_file():
            raise ValueError(f"file: there is no file {path}")
        return {**values, "sha256": path_sha256(path)}

    def create(self) -> ValidationSuite:
        """The suite."""
        from alflow.validation.molecule_run import MoleculeSuite

        return MoleculeSuite(self)
