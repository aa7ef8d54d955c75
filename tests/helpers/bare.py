"""Code for a subprocess in which some packages cannot be found: what a packed model needs must do without."""


def without(*packages: str) -> str:
    """A program that is `cpu1`, where these are not installed."""
    return f"""
import sys
class Without:
    def __init__(self, finder):
        self.finder = finder
    def __getattr__(self, name):
        return getattr(self.finder, name)
    def find_spec(self, name, path=None, target=None):
        return None if name.partition(".")[0] in {packages} else self.finder.find_spec(name, path, target)
sys.meta_path[:] = map(Without, sys.meta_path)
from cpu1.cli import main
sys.exit(main(sys.argv[1:]))
"""


WITHOUT_LAB = without("torch", "rich", "tokenizers", "matplotlib", "zstandard", "filelock")
