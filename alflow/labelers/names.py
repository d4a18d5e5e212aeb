"""One spelling for each method and basis, and the names that do not mean what they say."""

import re
from collections.abc import Callable, Iterable

from alflow.core.elements import SYMBOLS
from alflow.core.errors import SettingsError, closest
from alflow.labelers import engine

_SAME_METHOD = {
    "b3lyp": "b3lypg",
    "pbe1pbe": "pbe0",
    "pbeh": "pbe0",
    "rhf": "hf",
    "uhf": "hf",
}
"""B3LYP alone is the Gaussian flavour (VWN3 correlation, `b3lypg`) in PySCF; some other
programs mean VWN5 by it (`b3lyp5` here). Spelling it out keeps the two apart."""

_CORRELATED = {
    "mp2": "mp2",
    "rimp2": "mp2",
    "dfmp2": "mp2",
    "ccsd": "ccsd",
    "ccsd(t)": "ccsd(t)",
}
"""Methods beyond Hartree-Fock; whether integrals are fitted is said by `density_fit`."""
_FULL_TRIPLES = ("ccsdt", "ccsdtq", "ccsd[t]")
_CORRELATION_FITTING = {
    **{name: f"{name}ri" for name in ("ccpvdz", "ccpvtz", "ccpvqz", "ccpv5z")},
    **{name: f"{name}ri" for name in ("augccpvdz", "augccpvtz", "augccpvqz", "augccpv5z")},
    **{name: f"{name}ri" for name in ("def2svp", "def2svpd", "def2tzvp", "def2tzvpd")},
    **{name: f"{name}ri" for name in ("def2tzvpp", "def2tzvppd", "def2qzvp", "def2qzvpp")},
    "631g": "ccpvdzri",
    "6311g": "ccpvtzri",
}

_DISPERSION = re.compile(r"(d[234](bj|zero|op)?m?(2b|atm)?|[^r]b97x?d|^b97d|cf22d)$")
_DOUBLE_HYBRID = re.compile(r"^(w?b2(gp)?plyp|dsd|xyg|pwpb95|mpw2plyp|pbe0dh|pbeqidh)")
_NON_LOCAL = re.compile(r"(97[xm]v|vv10)$")

_COMMON = (1, 8)
"""Elements that every basis set for molecules has; one for heavy atoms may lack the first."""
_PREFIX = re.compile(r"^(hyb_)?(lda|gga|mgga)_(xc|x|c|k)_")
"""What libxc puts before the name of a functional."""

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
    if (known := _CORRELATED.get(plain.replace("-", ""))) is not None:
        return known
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
            "the name has a dispersion correction, which PySCF would drop silently or take another "
            "functional for (its wb97x-d3bj is wB97X-V); write the bare functional, and its "
            "correction as 'dispersion', for example {method: pbe0, dispersion: d3bj}"
        )
    if plain in _FULL_TRIPLES:
        return "triples beyond the perturbative ones of ccsd(t) are not supported"
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


def usual_spelling(basis: str) -> str:
    """A (canonical) basis with the dashes that papers write: `631g*` is 6-31g*."""
    split = re.sub(r"^(\d)(\d{2,3})(?=\+*g)", r"\1-\2", basis)
    return re.sub(r"^(aug)?cc(?=p)", lambda m: f"{'aug-' * bool(m[1])}cc-", split)


def fitting_basis(basis: str) -> str:
    """Auxiliary basis for density fitting that goes with a (canonical) basis.

    Fixed here, because the choice changes energies by some 0.01 mHartree (water clusters) and
    PySCF's own may change between versions.
    """
    return _FITTING.get(basis.rstrip("*"), "def2-universal-jkfit")


def correlation_fitting_basis(basis: str) -> str:
    """Auxiliary basis for fitted correlation energies that goes with a (canonical) basis."""
    return _CORRELATION_FITTING.get(basis.rstrip("*"), "def2tzvppri")


def check_functional(method: str) -> None:
    """Refuse a (canonical) method that PySCF does not know or computes only in part.

    Raises:
        SettingsError: If it is neither `hf` nor beyond it, and no such functional.
    """
    if method == "hf" or method in _CORRELATED.values():
        return
    libxc = engine.load("pyscf.dft.libxc")
    try:
        kind, is_non_local = libxc.xc_type(method), libxc.is_nlc(method)
    except (KeyError, ValueError) as error:
        known = {_PREFIX.sub("", str(code).lower()) for code in libxc.XC_CODES}
        raise SettingsError(
            f"PySCF knows no functional {method!r}",
            next_step=_suggestion(method, {*known, "hf"}),
        ) from error
    if kind not in ("LDA", "GGA", "MGGA", "HF") or is_non_local:
        raise SettingsError(f"functional {method!r} has a part that is not supported")


def check_basis(name: str, numbers: Iterable[int] = (1,)) -> None:
    """Refuse a basis set that PySCF does not have for these elements.

    Args:
        name: Name of the basis set as given.
        numbers: Atomic numbers.

    Raises:
        SettingsError: If it does not exist, or lacks an element.
    """
    basis = engine.load("pyscf.gto.basis")
    plain = canonical_basis(name)
    missing = [SYMBOLS[number] for number in numbers if not _has_basis(plain, number)]
    if not missing:
        return
    if plain in basis.ALIAS or any(_has_basis(plain, number) for number in _COMMON):
        raise SettingsError(f"basis set {name!r} has no functions for {', '.join(missing)}")
    raise SettingsError(
        f"PySCF knows no basis set {name!r}",
        next_step=_suggestion(plain, basis.ALIAS, usual_spelling),
    )


def core_potentials(basis: str, numbers: Iterable[int]) -> dict[str, str]:
    """Effective core potentials that go with a (canonical) basis, by element.

    A basis that was made for them means something else without, and PySCF would not mind: all
    elements for which there is one get it.

    Args:
        basis: Canonical name of the basis set.
        numbers: Atomic numbers.
    """
    load = engine.load("pyscf.gto.basis").load_ecp
    found = {}
    for symbol in sorted({SYMBOLS[number] for number in numbers}):
        try:
            is_there = bool(load(basis, symbol))
        except _unknown_basis():
            is_there = False
        if is_there:
            found[symbol] = basis
    return found


def _unknown_basis() -> tuple[type[Exception], ...]:
    missing: type[Exception] = engine.load("pyscf.lib.exceptions").BasisNotFoundError
    return (
        missing,
        KeyError,
        ValueError,
        TypeError,
    )  # TypeError: some names with no such file


def _has_basis(plain: str, number: int) -> bool:
    try:
        with engine.one_thread():
            return bool(engine.load("pyscf.gto.basis").load(plain, SYMBOLS[number]))
    except _unknown_basis():
        return False


def _suggestion(word: str, known: Iterable[str], spelt: Callable[[str], str] = str) -> str:
    match = closest(word, known)
    return (
        f"did you mean {spelt(match)!r}?"
        if match
        else "spell it as in PySCF's documentation"
    )
