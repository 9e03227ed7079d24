"""Floor of an import: a process that reads every numa_maps of a tree and splits its lines into words and pairs."""

import sys
from pathlib import Path

lines = 0
for path in sorted(Path(sys.argv[1]).glob("proc/[0-9]*/numa_maps")):
    for line in path.read_text().splitlines():
        words = [word.partition("=") for word in line.split()]
        lines += bool(words)
print(lines)
