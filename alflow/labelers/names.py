"""One spelling for each method and basis, and the names that do not mean what they say."""

import re

from alflow.core.errors import SettingsError

_SAME_METHOD = {
    "b3lyp": "b3lypg",
    "pbe1pbe": "pbe0",
    "pbeh": "pbe0",
    "rhf": "hf",
    "uhf": "hf",
}
"""B3LYP alone is the Gaussian flavour (VWN3 correlation, `b3lypg`) in PySCF; some other
programs mean VWN5 by it (`b3lyp5` here). Spelling it out keeps the two apart."""

_DISPERSION = re.compile(r"(d[234](bj|zero|op)?m?(2b|atm)?|[^r]b97x?d|^b97d|cf22d)$")
_DOUBLE_HYBRID = re.compile(r"^(w?b2(gp)?plyp|dsd|xyg|pwpb95|mpw2plyp|pbe0dh|pbeqidh)")
_NON_LOCAL = re.compile(r"(97[xm]v|vv10)$")

_FITTING = {
    "631g": "cc-pvdz-jkfit",
    "6311g": "cc-pvtz-jkfit",
    "ccpvdz": "cc-pvdz-jkfit",
    "ccpvtz": "cc-pvtz-jkfit",
    "ccpvqz": "cc-pvqz-jkfit",
    "augccpvdz": "aug-cc-pvdz-jkfit",
    "augccpvtz": "aug-cc-pvtz-jkfit",
    "augccpvqz": "aug-cc-pvqz-jkfit",
}


def canonical_method(name: str) -> str:
    """The one spelling of a method, as PySCF takes it.

    Raises:
        SettingsError: If the name promises something that PySCF would leave out or that is not
            supported here: dispersion, a three-fold corrected composite, a double hybrid,
            non-local correlation.
    """
    plain = re.sub(r"\s", "", name).lower()
    bare = re.sub(r"[-_/()]", "", plain)
    reason = _trap(bare)
    if not re.search(r"[+*,(]", plain):  # a name; anything else is an expression of names
        plain = bare
    if reason or not plain:
        raise SettingsError(f"method {name!r} cannot be used: {reason or 'it is empty'}")
    return _SAME_METHOD.get(plain, plain)


def _trap(plain: str) -> str:
    if _DISPERSION.search(plain):
        return (
            "dispersion corrections are not supported, and PySCF would drop this one silently "
            "or take another functional for it; use the bare functional, for example wb97x"
        )
    if plain.endswith("3c"):
        return "composite '3c' methods need corrections that are not supported"
    if _DOUBLE_HYBRID.search(plain):
        return "the perturbative part of double hybrids is not supported"
    if _NON_LOCAL.search(plain):
        return "non-local (VV10) correlation is not supported"
    return ""


def canonical_basis(name: str) -> str:
    """The one spelling of a basis set, as PySCF takes it: 6-31G(d) and 6-31g* are `631g*`.

    Raises:
        SettingsError: If the name is empty.
    """
    plain = re.sub(r"[-_\s]", "", name).lower()
    plain = plain.replace("(d,p)", "**").replace("(d)", "*")
    if not plain:
        raise SettingsError("the name of the basis set is empty")
    return plain


def fitting_basis(basis: str) -> str:
    """Auxiliary basis for density fitting that goes with a (canonical) basis.

    Fixed here, because the choice changes energies by some 0.01 mHartree (water clusters) and
    PySCF's own may change between versions.
    """
    return _FITTING.get(basis.rstrip("*"), "def2-universal-jkfit")
