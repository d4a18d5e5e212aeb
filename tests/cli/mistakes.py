"""Mistakes that users make, what alflow must answer, and how each comes about in a test."""

import math
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from alflow.config.loading import load_campaign
from alflow.config.resolution import resolved
from alflow.store import open_store

WATER = """\
name: water
seed: 20261

system:
  elements: [H, O]
  builders:
    - kind: molecules
      smiles: [O]
      molecules_per_structure: [1, 2]

label:
  primary: dft
  levels:
    dft: {kind: pyscf, method: wb97x, basis: 6-31g*}

model:
  kind: ani
  members: 8

train:
  epochs: 400

sample:
  kind: nemd
  replicas: 32
  timestep_fs: 0.5
  duration_ps: 2.0
  temperature_K: {start: [50, 600], end: [50, 1000]}

acquire:
  kind: threshold
  per_iteration: 28

loop: {bootstrap: 18, max_iterations: 3}

stop:
  converged: {survival_ps: 2.0}
"""
ALUMINUM = """\
name: aluminum
seed: 1999

system:
  elements: [Al]
  builders:
    - kind: random_box
      composition: {Al: 1}
      atoms: [32, 48]
      density_g_per_cm3: [1.2, 4.0]

label:
  primary: gupta
  levels:
    gupta: {kind: analytic, potential: gupta}

model: {kind: ani}

sample:
  kind: nemd
  timestep_fs: 2.0
  duration_ps: 2.5
  temperature_K: {start: [10, 1500], end: [10, 1500]}

acquire: {kind: threshold, per_iteration: 20}

loop: {bootstrap: 40, max_iterations: 4}
"""
FILES = {"campaign.yaml": WATER, "aluminum.yaml": ALUMINUM}
"""The files without a mistake."""

CHECK = "alflow check campaign.yaml"
RUN = "alflow run campaign.yaml"
PYSCF = "{kind: pyscf, method: wb97x, basis: 6-31g*}"
MOLECULES = "kind: molecules\n      smiles: [O]\n      molecules_per_structure: [1, 2]"
FROM_FILE = (MOLECULES, "kind: from_file\n      path: start.xyz")
EAM = ("{kind: analytic, potential: gupta}", "{kind: eam, file: Al.eam.fs}")
IMPORT = "alflow import old.xyz --level dft"

FRAME = """\
3
Properties=species:S:1:pos:R:3
O  0.00  0.00  0.00
H  0.96  0.00  0.00
H -0.24  0.93  0.00
"""
RADICAL = """\
2
Properties=species:S:1:pos:R:3 multiplicity=1
O  0.00  0.00  0.00
H  0.97  0.00  0.00
"""
SITE = """\
from alflow.execution.sites import Site, local_pool


def site():
    return Site("mine", pools={"*": local_pol(workers=4)})
"""
CLUSTER = """\
from alflow.execution.sites import Site
from alflow.execution.slurm import slurm_pool


def site():
    nodes = slurm_pool("nodes", partition="main", workers_per_node=8)
    return Site("cluster", pools={"*": nodes})
"""
TABLE = """\
Aluminium
from a paper

1 Al
10000 0.0005 10000 fine 6.5
"""


@dataclass(frozen=True)
class Mistake:
    """One mistake.

    Attributes:
        title: As a user would recognise it.
        command: The command line.
        tag: Code of the error.
        told: Decisive pieces of the answer: where and what.
        way_out: What the answer says to do.
        wrong: Text of the campaign file, and what stands there instead.
        file: Another file and its content.
        note: What cannot be shown as text.
        before: Makes that so.
        exit_code: Exit code of the command.
        base: Name of the campaign file.
        needs: Package without which it cannot be made.
    """

    title: str
    command: str
    tag: str
    told: tuple[str, ...]
    way_out: str
    wrong: tuple[str, str] | None = None
    file: tuple[str, str] | None = None
    note: str = ""
    before: Callable[[pytest.FixtureRequest], object] | None = None
    exit_code: int = 2
    base: str = "campaign.yaml"
    needs: str = "alflow"


def _begun(_request: object = None) -> None:
    settings = load_campaign(Path("campaign.yaml"))
    with open_store(Path("water.db"), create=True) as store:
        store.create_campaign(settings.name, resolved(settings), settings.seed)


def _labelled(request: pytest.FixtureRequest) -> None:
    request.getfixturevalue("database")


def _held(request: pytest.FixtureRequest) -> None:
    _begun()
    Path("water").mkdir()
    store = open_store(Path("water.db"))
    request.addfinalizer(store.close)
    request.addfinalizer(store.acquire_lease("login3 (pid 41201)").release)


def _changed(_request: object) -> None:
    _begun()
    text = WATER.replace("6-31g*", "def2-tzvp").replace("epochs: 400", "epochs: 800")
    Path("campaign.yaml").write_text(text)


def _sql(*statements: str) -> None:
    with closing(sqlite3.connect("water.db")) as database, database:
        for statement in statements:
            database.execute(statement)


def _foreign(_request: object) -> None:
    _sql("CREATE TABLE reactions (id INTEGER)")


def _newer(_request: object) -> None:
    _begun()
    _sql(
        "UPDATE alflow_schema SET version_num = '0009'",
        "UPDATE store_meta SET value = '0009' WHERE key = 'min_reader_version'",
        "UPDATE store_meta SET value = '9.9.0' WHERE key IN ('created_by', 'migrated_by')",
    )


def _own_table(_request: object) -> None:
    _begun()
    _sql("CREATE TABLE notes (text TEXT)")


def _cut(_request: object) -> None:
    _begun()
    os.truncate("water.db", Path("water.db").stat().st_size // 2)


def _without_units(_request: object) -> None:
    import h5py

    _begun()
    with h5py.File("old.h5", "w") as file:
        group = file.create_group("water")
        group["species"] = np.array([b"O", b"H", b"H"])
        group["coordinates"] = np.zeros((2, 3, 3))
        group["energies"] = np.zeros(2)


def frames(*, energy: float = 1.0, force: float = 1.0) -> str:
    """Extended XYZ of water, vibrating in springs; energies and forces times two factors."""
    rest = np.array([[0, 0, 0.117], [0, 0.757, -0.469], [0, -0.757, -0.469]])
    springs = {(0, 1): 50.0, (0, 2): 50.0, (1, 2): 15.0}
    text = []
    for k in range(30):
        swing = [[math.sin(0.2 * k + a + 3 * c) for c in range(3)] for a in range(3)]
        x = rest + 0.04 * np.array(swing)
        energy_eV, forces = -2078.5, np.zeros((3, 3))
        for (a, b), stiffness in springs.items():
            bond, length = x[a] - x[b], np.linalg.norm(rest[a] - rest[b])
            stretch = np.linalg.norm(bond) - length
            energy_eV += stiffness / 2 * stretch**2
            pull = stiffness * stretch * bond / np.linalg.norm(bond)
            forces[a], forces[b] = forces[a] - pull, forces[b] + pull
        rows = [
            f"{symbol} " + " ".join(f"{v:9.6f}" for v in (*place, *(force * f)))
            for symbol, place, f in zip("OHH", x, forces, strict=True)
        ]
        head = f"Properties=species:S:1:pos:R:3:forces:R:3 energy={energy * energy_eV:.6f}"
        text.append("\n".join(["3", head, *rows, ""]))
    return "".join(text)


HARTREE = frames(energy=1 / 27.211386, force=0.529177 / 27.211386)
GRADIENT = frames(force=-1.0)

FILE_MISTAKES = (
    Mistake(
        "A typo in a key",
        CHECK,
        "AL102",
        ("campaign.yaml:21:3  train.epoch: unknown key 'epoch'",),
        "did you mean 'epochs'?",
        ("epochs: 400", "epoch: 400"),
    ),
    Mistake(
        "A typo in a kind",
        CHECK,
        "AL220",
        ("campaign.yaml:24:9  sample.kind: no sampler 'nmd' is installed",),
        "did you mean 'nemd'?",
        ("kind: nemd", "kind: nmd"),
    ),
    Mistake(
        "A word where a number belongs",
        CHECK,
        "AL102",
        ("campaign.yaml:25:13", "must be a whole number, not 'many'"),
        "must be a whole number",
        ("replicas: 32", "replicas: many"),
    ),
    Mistake(
        "A unit behind a number",
        CHECK,
        "AL102",
        ("campaign.yaml:26:16", "must be a number, not '0.5 fs'"),
        "write the number alone, 0.5",
        ("timestep_fs: 0.5", "timestep_fs: 0.5 fs"),
    ),
    Mistake(
        "A setting in another unit",
        CHECK,
        "AL102",
        ("campaign.yaml: 1 problem", "unknown key 'timestep_ps'"),
        "did you mean 'timestep_fs'?",
        ("timestep_fs: 0.5", "timestep_ps: 0.0005"),
    ),
    Mistake(
        "A density in kg/m³",
        "alflow check aluminum.yaml",
        "AL121",
        ("aluminum.yaml:10:27", "is 1200 g/cm³, denser than any matter on earth"),
        "did you mean 1.2?",
        ("[1.2, 4.0]", "[1200, 4000]"),
        base="aluminum.yaml",
    ),
    Mistake(
        "A bracket that is not closed",
        CHECK,
        "AL102",
        ("campaign.yaml:28:51  not YAML",),
        "a bracket is opened above and never closed, or a comma is missing",
        ("[50, 600]", "[50, 600"),
    ),
    Mistake(
        "A key that is there twice",
        CHECK,
        "AL102",
        ("campaign.yaml:19:3  model.members: 'members' is here twice; first in line 18",),
        "remove one of the two",
        ("members: 8", "members: 8\n  members: 4"),
    ),
    Mistake(
        "A tab in front of a key",
        CHECK,
        "AL102",
        ("campaign.yaml:18:1  not YAML", "found character '\\t'"),
        "indent with spaces; YAML does not allow tabs",
        ("  members: 8", "\tmembers: 8"),
    ),
    Mistake(
        "A section that is missing",
        CHECK,
        "AL102",
        ("campaign.yaml:1:1  the required key 'label' is missing",),
        "label: How structures get their reference energies and forces.",
        (f"label:\n  primary: dft\n  levels:\n    dft: {PYSCF}\n\n", ""),
        note="The section `label` is left out.",
    ),
    Mistake(
        "An element that does not exist",
        CHECK,
        "AL120",
        ("campaign.yaml:5:17  system.elements[1]: there is no element 'Ox'",),
        "did you mean 'O'?",
        ("[H, O]", "[H, Ox]"),
    ),
    Mistake(
        "A molecule with an element that the campaign does not have",
        CHECK,
        "AL121",
        ("campaign.yaml:8:16", "is CH4O; C is not in system.elements [H, O]"),
        "add C there",
        ("smiles: [O]", "smiles: [CO]"),
    ),
    Mistake(
        "A time step that hydrogen does not survive",
        CHECK,
        "AL121",
        ("campaign.yaml:26:16", "is 2 fs; with hydrogen present at most 1.0 fs is stable"),
        "to override: allow_large_timestep: true",
        ("timestep_fs: 0.5", "timestep_fs: 2.0"),
    ),
    Mistake(
        "A goal that no trajectory can reach",
        CHECK,
        "AL121",
        ("campaign.yaml:37:28", "is 5 ps, but no trajectory is longer than 2 ps"),
        "at most duration_ps of the sampler, 2",
        ("survival_ps: 2.0", "survival_ps: 5.0"),
    ),
    Mistake(
        "Cutoffs that do not go together",
        CHECK,
        "AL102",
        ("campaign.yaml:20:21", "is 5.0 Å, beyond radial_cutoff_A (4.0 Å)"),
        "beyond radial_cutoff_A",
        ("members: 8", "members: 8\n  radial_cutoff_A: 4.0\n  angular_cutoff_A: 5.0"),
    ),
    Mistake(
        "A file name with another ending",
        "alflow run campaign.yml",
        "AL103",
        ("campaign.yml  cannot be read: there is no such file",),
        "in that folder: campaign.yaml",
    ),
)
LABEL_MISTAKES = (
    Mistake(
        "A functional that PySCF does not know",
        CHECK,
        "AL102",
        ("campaign.yaml:14:32", "PySCF knows no functional 'wb97xx'"),
        "did you mean 'wb97x'?",
        ("method: wb97x", "method: wb97xx"),
    ),
    Mistake(
        "A basis set that PySCF does not know",
        CHECK,
        "AL102",
        ("campaign.yaml:14:46", "PySCF knows no basis set '6-31h*'"),
        "did you mean '6-31g*'?",
        ("6-31g*", "6-31h*"),
    ),
    Mistake(
        "A level of theory that is not defined",
        CHECK,
        "AL102",
        ("campaign.yaml:12:12  label.primary: no level 'pbe' is defined",),
        "defined: dft",
        ("primary: dft", "primary: pbe"),
    ),
    Mistake(
        "A program that is not on the PATH",
        RUN,
        "AL201",
        ("cannot run here: label.levels.dft.command", "no program 'orca_grad' is found"),
        "put it on the PATH of workers",
        (PYSCF, "{kind: command, command: [orca_grad], level: {method: hf}}"),
    ),
    Mistake(
        "A program that ASE has no command for",
        CHECK,
        "AL201",
        ("cannot run here: label.levels.dft", "has no command for orca"),
        "write a section [orca]",
        (PYSCF, "{kind: ase, calculator: orca, settings: {orcasimpleinput: HF EnGrad}}"),
    ),
    Mistake(
        "A potential file that is not there",
        "alflow check aluminum.yaml",
        "AL103",
        ("aluminum.yaml:15:30", "cannot read Al.eam.fs: No such file or directory"),
        "the path counts from the folder of the campaign file",
        EAM,
        base="aluminum.yaml",
        note="There is no file `Al.eam.fs`.",
    ),
    Mistake(
        "A potential file that is damaged",
        "alflow check aluminum.yaml",
        "AL103",
        ("aluminum.yaml:15:30", "Al.eam.fs:5: expected nrho, drho, nr, dr and the cutoff"),
        "alflow reads setfl files",
        EAM,
        base="aluminum.yaml",
        file=("Al.eam.fs", TABLE),
    ),
    Mistake(
        "A structure file that is not there",
        CHECK,
        "AL103",
        ("campaign.yaml:8:13", "there is no file 'start.xyz'"),
        "a relative path starts at the folder where alflow is called",
        FROM_FILE,
    ),
    Mistake(
        "Atoms on top of each other",
        CHECK,
        "AL121",
        ("campaign.yaml:8:13", "frame 1, H2O: O0 and H1 are 0.096 Å apart"),
        "to override: allow_close_atoms: true",
        FROM_FILE,
        ("start.xyz", FRAME.replace("0.96 ", "0.096")),
    ),
    Mistake(
        "A structure with an element that the campaign does not have",
        CHECK,
        "AL121",
        ("campaign.yaml:8:13", "frame 1, H2S: S is not in system.elements [H, O]"),
        "add S there",
        FROM_FILE,
        ("start.xyz", FRAME.replace("O ", "S ")),
    ),
    Mistake(
        "An odd number of electrons in a singlet",
        CHECK,
        "AL121",
        ("campaign.yaml:8:13", "9 electrons (charge 0) cannot have multiplicity 1"),
        "write 'multiplicity=' and 'charge=' that fit into the file",
        FROM_FILE,
        ("start.xyz", RADICAL),
    ),
)
SITE_MISTAKES = (
    Mistake(
        "A site that does not exist",
        f"{RUN} --site perlmuter",
        "AL200",
        ("there is no site 'perlmuter'",),
        "did you mean 'perlmutter'?",
    ),
    Mistake(
        "A site file with an error",
        f"{RUN} --site mine.py",
        "AL200",
        ("mine.py:5: NameError: name 'local_pol' is not defined",),
        "alflow sites show mine.py",
        file=("mine.py", SITE),
    ),
    Mistake(
        "A site file that is not Python",
        f"{CHECK} --site mine.py",
        "AL200",
        ("mine.py:4: SyntaxError: expected ':'",),
        "alflow sites show mine.py",
        file=("mine.py", SITE.replace("site():", "site()").replace("pol(", "pool(")),
    ),
    Mistake(
        "A site for tasks that do not exist",
        f"{RUN} --site mine.py",
        "AL200",
        ("mine.py: there is no task kind 'labels'",),
        "did you mean 'label'?",
        file=("mine.py", SITE.replace("*", "labels").replace("pol(", "pool(")),
    ),
    Mistake(
        "A site that has still to be filled in",
        f"{RUN} --site mine.py",
        "AL200",
        ("mine.py:6: YOUR_PARTITION: as sinfo lists it",),
        "write what is missing into the file",
        file=(
            "mine.py",
            CLUSTER.replace("main", "YOUR_PARTITION").replace(
                "node=8)", "node=8)  # as sinfo lists it"
            ),
        ),
    ),
    Mistake(
        "A cluster from a machine without Slurm",
        f"{RUN} --site cluster.py",
        "AL200",
        ("pool 'nodes' needs sbatch, squeue, scancel, not found on PATH",),
        "run alflow where jobs are submitted (a login node)",
        file=("cluster.py", CLUSTER),
    ),
)
DATABASE_MISTAKES = (
    Mistake(
        "No database in this folder",
        "alflow status",
        "AL103",
        ("there is no database (*.db) in this folder",),
        "name one, set ALFLOW_DB, or start one: alflow run campaign.yaml",
    ),
    Mistake(
        "A database whose name is spelt wrong",
        "alflow status watr.db",
        "AL300",
        ("there is no database watr.db",),
        "did you mean 'water.db'?",
        before=_begun,
        note="The database is called `water.db`.",
    ),
    Mistake(
        "The campaign file in place of the database",
        "alflow status campaign.yaml",
        "AL302",
        ("campaign.yaml is not a database", "Nothing in it was touched."),
        "name the database of the campaign",
    ),
    Mistake(
        "The database in place of the campaign file",
        "alflow run water.db",
        "AL103",
        ("water.db  is a database, not a campaign file",),
        "alflow resume water.db",
        before=_begun,
    ),
    Mistake(
        "A database of another program",
        RUN,
        "AL302",
        ("water.db is a database of something else", "Nothing in it was touched."),
        "name another file: --db FILE",
        before=_foreign,
        note="`water.db` is an SQLite file with tables of another program.",
    ),
    Mistake(
        "A table of one's own in the database",
        "alflow status",
        "AL320",
        ("there is a table 'notes'",),
        "tables of your own belong into another database",
        before=_own_table,
        note='Somebody has said `sqlite3 water.db "CREATE TABLE notes (text TEXT)"`.',
    ),
    Mistake(
        "A database that was cut off while it was copied",
        "alflow status",
        "AL300",
        ("water.db: the file is damaged",),
        "take the last backup; alflow db check says what is wrong",
        before=_cut,
        note="Half of `water.db` is missing.",
    ),
    Mistake(
        "A database of a newer alflow",
        "alflow status",
        "AL303",
        ("has store schema 0009, written by alflow 9.9.0",),
        "upgrade alflow to open it",
        before=_newer,
        note="Somebody has gone on with the campaign elsewhere.",
    ),
    Mistake(
        "A folder that does not exist",
        f"{RUN} --db runs/water.db",
        "AL103",
        ("there is no directory runs", "Nothing was created."),
        "mkdir -p runs",
    ),
    Mistake(
        "A campaign that runs already",
        RUN,
        "AL310",
        ("water.db is being run by login3 (pid 41201)", "Nothing was changed."),
        "alflow stop water.db",
        before=_held,
        note="Another manager runs it, on another node.",
        exit_code=4,
    ),
    Mistake(
        "Another level of theory in a campaign that has begun",
        RUN,
        "AL301",
        ("label.levels.dft.basis  6-31g*  →  def2-tzvp", "Nothing was started."),
        "alflow resume water.db",
        before=_changed,
        note="It was started with `basis: 6-31g*` and `epochs: 400`; the file now has "
        "`basis: def2-tzvp` and `epochs: 800`.",
    ),
    Mistake(
        "A server that does not answer",
        "alflow status postgresql://alice@127.0.0.1:1/water",
        "AL304",
        ("postgresql://alice@127.0.0.1:1/water: no server answers",),
        "check host and port of the URL, and that the server runs",
        needs="psycopg",
    ),
    Mistake(
        "A kind of server that cannot be used",
        "alflow status mysql://alice@dbhost/water",
        "AL300",
        ("alflow cannot keep a store in 'mysql'",),
        "use a file name, sqlite:///PATH or postgresql://HOST/NAME",
    ),
)
DATA_MISTAKES = (
    Mistake(
        "Labels in hartree that are read as eV",
        IMPORT,
        "AL132",
        ("have the size of total energies in hartree", "Nothing was imported."),
        "mend it with: --energy-unit hartree --force-unit hartree/bohr",
        file=("old.xyz", HARTREE),
        before=_begun,
    ),
    Mistake(
        "Gradients that are called forces",
        IMPORT,
        "AL132",
        ("what is called forces is the gradient", "Nothing was imported."),
        "mend it with: --forces-are-gradient",
        file=("old.xyz", GRADIENT),
        before=_begun,
    ),
    Mistake(
        "Structures without energies",
        IMPORT,
        "AL132",
        ("its one frame cannot be imported", "Nothing was imported."),
        "--energy-key NAME",
        file=("old.xyz", FRAME),
        before=_begun,
    ),
    Mistake(
        "A file that does not say its units",
        "alflow import old.h5 --level dft",
        "AL130",
        ("old.h5 does not say in which unit", "Nothing was imported."),
        "--energy-unit hartree --length-unit angstrom",
        before=_without_units,
        note="`old.h5` has coordinates and energies, and no attribute with their units.",
        needs="h5py",
    ),
    Mistake(
        "A unit that is spelt wrong",
        f"{IMPORT} --energy-unit hartre",
        "AL130",
        ("'hartre' is no unit of energy that alflow knows",),
        "known: eV, hartree",
        file=("old.xyz", FRAME),
        before=_begun,
    ),
    Mistake(
        "A level of theory that the campaign does not have",
        "alflow import old.xyz --level pbe",
        "AL101",
        ("the campaign has no level of theory 'pbe'", "Nothing was imported."),
        "levels: dft",
        file=("old.xyz", FRAME),
        before=_begun,
    ),
    Mistake(
        "A file in a format that is not read",
        "alflow import labels.csv --level dft",
        "AL131",
        ("the format of labels.csv cannot be told", "Nothing was imported."),
        "name it: --format extxyz|ase-db|hdf5|deepmd|parquet",
        file=("labels.csv", "structure,energy\nwater-1,-76.4\n"),
        before=_begun,
    ),
    Mistake(
        "An export to a format that is not written",
        "alflow export structures -o water.xlsx",
        "AL101",
        ("the name water.xlsx does not say in which format to write",),
        "choose one: --format extxyz|ase-db|hdf5|deepmd|parquet",
        before=_labelled,
    ),
    Mistake(
        "A generation that there is not",
        "alflow export model --generation g7",
        "AL300",
        ("there is no generation g7",),
        "alflow ls generations",
        before=_labelled,
    ),
    Mistake(
        "A generation in place of the database",
        "alflow export model g7",
        "AL300",
        ("there is no database g7",),
        "for a generation: --generation g7",
        before=_labelled,
    ),
)
QUESTION_MISTAKES = (
    Mistake(
        "A structure that there is not",
        "alflow show s-99",
        "AL101",
        ("there is no structure s-99",),
        "alflow ls structures",
        before=_labelled,
    ),
    Mistake(
        "A name that names nothing",
        "alflow show structure12",
        "AL101",
        ("'structure12' names nothing",),
        "names look like s-12 (structure), l-12 (label)",
        before=_labelled,
    ),
    Mistake(
        "SQL that writes",
        "alflow sql 'DELETE FROM label'",
        "AL104",
        ("only one query that reads is allowed", "Nothing was changed."),
        "alflow quarantine",
        before=_labelled,
    ),
    Mistake(
        "SQL about a table that there is not",
        "alflow sql 'SELECT * FROM labels'",
        "AL104",
        ("no such table: labels",),
        "names of tables: alflow sql",
        before=_labelled,
    ),
    Mistake(
        "A second try of what did not fail",
        "alflow retry t-1",
        "AL101",
        ("t-1 cannot be tried again: it is done", "Nothing was changed."),
        "what failed: alflow retry --failed --dry-run",
        before=_labelled,
    ),
    Mistake(
        "A replay with a setting that there is not",
        "alflow replay --set acquire.per_iteraton=32",
        "AL101",
        ("acquire.per_iteraton: unknown key 'per_iteraton'",),
        "did you mean 'per_iteration'?",
        before=_begun,
    ),
    Mistake(
        "A replay with a setting that it cannot change",
        "alflow replay --set model.members=4",
        "AL101",
        (
            "--set model.members: only acquire, stop, loop.max_iterations can be asked about",
        ),
        "other settings change what was computed, not what was decided",
        before=_begun,
    ),
    Mistake(
        "A plug-in that is not installed",
        "alflow plugins samplers langevin",
        "AL220",
        ("no plug-in 'langevin' among the samplers",),
        "alflow plugins samplers",
    ),
    Mistake(
        "A template that there is not",
        "alflow init new --template ethnol",
        "AL101",
        ("there is no template 'ethnol'",),
        "did you mean 'ethanol'?",
    ),
    Mistake(
        "A stage that there is not",
        "alflow try labels campaign.yaml",
        "AL101",
        ("there is no stage 'labels'",),
        "did you mean 'labeler'?",
    ),
    Mistake(
        "An error code that there is not",
        "alflow explain AL999",
        "AL101",
        ("there is no error code 'AL999'",),
        "alflow explain  lists all",
    ),
)
THEMES = {
    "The campaign file": FILE_MISTAKES,
    "Labels and structures": LABEL_MISTAKES,
    "Sites": SITE_MISTAKES,
    "Databases": DATABASE_MISTAKES,
    "Data in and out": DATA_MISTAKES,
    "Questions": QUESTION_MISTAKES,
}
