"""A program whose answer is a folder of recorded outputs.

`replay.py FOLDER [--printed FILE] [--exit STATUS] ...`: copies the files of the folder to where it
runs, prints one of them, and ends with a status. A shell (`cp2k_shell.txt`) is read to its end.
"""

import argparse
import shutil
import sys
from pathlib import Path

parser = argparse.ArgumentParser()
parser.add_argument("folder", type=Path)
parser.add_argument("--printed", default="")
parser.add_argument("--exit", type=int, default=0)
options, rest = parser.parse_known_args()
Path("arguments.txt").write_text(" ".join(rest))
for file in options.folder.iterdir():
    if file.name != options.printed:
        shutil.copy(file, file.name)
if options.printed:
    sys.stdout.write((options.folder / options.printed).read_text())
    sys.stdout.flush()
if options.printed == "cp2k_shell.txt":
    Path("asked.txt").write_text(sys.stdin.read())
raise SystemExit(options.exit)
