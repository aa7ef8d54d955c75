"""Short messages as bare codes of a packed model: fewer bytes over narrow links. No torch; docs/messages.md.

codec = Codec("codec.cpu1")          # or Codec(), of the bundled model
code = codec.encode("Where are you?")
assert codec.decode(code) == b"Where are you?"
text = to_text(code)                 # for links that carry letters only
assert from_text(text) == code
"""

from cpu1.messages.codec import Codec
from cpu1.messages.text import from_text, to_text

__all__ = ["Codec", "from_text", "to_text"]
