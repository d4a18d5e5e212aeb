"""Units inside alflow: eV, Å, fs, K, amu, e; and the factors that lead there.

Every number that crosses an API, a file or a table is in these units unless its name
says otherwise. All conversions of the package use the constants below, so that two
parts of alflow can never disagree in the eighth digit.

Values: CODATA 2018.
"""

EV_PER_HARTREE = 27.211386245988
"""Energy: 1 Hartree in eV."""

ANGSTROM_PER_BOHR = 0.529177210903
"""Length: 1 Bohr in Å."""

EV_PER_ANGSTROM_PER_HARTREE_PER_BOHR = EV_PER_HARTREE / ANGSTROM_PER_BOHR
"""Force: 1 Hartree/Bohr in eV/Å."""

EV_PER_KCAL_PER_MOL = 0.0433641153087705
"""Energy: 1 kcal/mol in eV."""

COULOMB_EV_A = EV_PER_HARTREE * ANGSTROM_PER_BOHR
"""Energy of two elementary charges times their distance: e²/(4π ε0) in eV Å."""

BOLTZMANN_EV_PER_K = 8.617333262e-5
"""Boltzmann constant in eV/K."""

ACCELERATION_PER_FORCE = 9.648533212331e-3
"""1 eV/Å acting on 1 amu, in Å/fs²."""

AMU_PER_ANGSTROM3_PER_G_PER_CM3 = 0.602214076
"""Mass density: 1 g/cm³ in amu/Å³."""

GPA_PER_EV_PER_ANGSTROM3 = 160.21766208
"""Stress: 1 eV/Å³ in GPa."""

SPEED_OF_LIGHT_CM_PER_FS = 2.99792458e-5
"""Speed of light in cm/fs: a frequency of 1/fs divided by it is a wavenumber in 1/cm."""

JOULE_PER_M2_PER_EV_PER_ANGSTROM2 = 16.021766208
"""Energy of a surface: 1 eV/Å² in J/m²."""

PLANCK_MEV_PER_THZ = 4.135667696
"""Energy of a quantum: 1 THz in meV."""
