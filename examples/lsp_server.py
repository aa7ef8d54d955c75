"""A language server that completes words in any editor: `python examples/lsp_server.py [MODEL.cpu1]`.

It talks LSP over its standard streams, and offers completions and inline completions (LSP 3.18). What it has read of a
document is kept, so that a key costs milliseconds. It needs pygls: `pip install 'cpu1[lsp]'`. docs/typing.md has
settings for editors.
"""

import re
import sys
from importlib.metadata import version

from lsprotocol import types
from pygls.lsp.server import LanguageServer

import cpu1
from cpu1.completing import Reader
from cpu1.runtime.units import Completion

server = LanguageServer("cpu1", version("cpu1"))
reader = Reader(cpu1.load(*sys.argv[1:2]))


def before(uri: str, position: types.Position) -> str:
    """The text of a document up to a position."""
    document = server.workspace.get_text_document(uri)
    return document.source[: document.offset_at_position(position)]


@server.feature(types.TEXT_DOCUMENT_COMPLETION, types.CompletionOptions(trigger_characters=[" "]))
def complete(params: types.CompletionParams) -> types.CompletionList:
    """Whole words for a list. The list is of one place: the editor must ask again after each key."""
    text = before(params.text_document.uri, params.position)
    begun = re.search(r"[\w']*$", text)[0]
    items = [item(place, word, begun, params.position) for place, word in enumerate(reader.complete(text))]
    return types.CompletionList(is_incomplete=True, items=items)


def item(place: int, word: Completion, begun: str, position: types.Position) -> types.CompletionItem:
    """A completion that replaces the word that was begun; editors look for that in the list."""
    begun = "" if word.text.startswith(" ") else begun
    units = len(begun.encode("utf-16-le")) // 2
    start = types.Position(position.line, position.character - units)
    return types.CompletionItem(
        label=(begun + word.text).strip(),
        detail=f"{word.probability:.0%}",
        kind=types.CompletionItemKind.Text,
        sort_text=f"{place:02}",
        filter_text=begun + word.text,
        text_edit=types.TextEdit(types.Range(start, position), begun + word.text),
    )


@server.feature(types.TEXT_DOCUMENT_INLINE_COMPLETION)
def complete_inline(params: types.InlineCompletionParams) -> types.InlineCompletionList:
    """What would follow the cursor, shown in grey by editors that can."""
    words = reader.complete(before(params.text_document.uri, params.position), n=3)
    return types.InlineCompletionList([types.InlineCompletionItem(word.text) for word in words])


if __name__ == "__main__":
    server.start_io()
