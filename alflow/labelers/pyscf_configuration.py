"""Read by PySCF at import, in place of a `.pyscf_conf.py` that happens to lie around.

PySCF executes such a file from the working directory or the home directory, which could change
every number without a trace. It knows no way to switch that off; it can only be given another.
"""

scf_hf_SCF_mute_chkfile = True  # noqa: N816 - a name of PySCF; no file is written in each cycle
