"""Code for a subprocess in which nothing of the lab can be imported: what a packed model needs must do without."""

WITHOUT_LAB = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "rich", "tokenizers", "matplotlib", "zstandard", "filelock"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
from cpu1.cli import main
sys.exit(main(sys.argv[1:]))
"""
