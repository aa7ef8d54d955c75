"""Completion in real shells and editors: bash and zsh in a pseudo-terminal, a client of LSP, Neovim."""

import asyncio
import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers.pages import ROOT

import cpu1
from cpu1.runtime import engine

EXAMPLES = ROOT / "examples"
PATIENCE = 60  # seconds, on a busy machine
KEY = "\x18\x17"  # Ctrl-X Ctrl-W
pytestmark = pytest.mark.skipif(not engine.available(), reason="installed without the native engine")


class Terminal:
    """A program in a pseudo-terminal."""

    def __init__(self, *words: str) -> None:
        here = str(Path(sys.executable).parent)
        self.pid, self.terminal = pty.fork()
        if self.pid == 0:
            os.chdir(ROOT)
            paths = os.pathsep.join([here, os.environ["PATH"]])
            os.execvpe(words[0], words, {"PATH": paths, "TERM": "dumb", "PS1": "> ", "LC_ALL": "C.UTF-8"})
        self.seen = ""

    def type(self, keys: str) -> None:
        """Waits for the prompt: before it, the terminal itself would take Ctrl-W."""
        self.wait_for(r"> (?:\x1b\[\?2004h)?$")
        os.write(self.terminal, keys.encode())

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Reads until the pattern was printed after what was waited for before."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            if found := re.search(pattern, self.seen):
                self.seen = self.seen[found.end() :]
                return found
            if select.select([self.terminal], [], [], 0.1)[0]:
                self.seen += os.read(self.terminal, 4096).decode(errors="replace")
        raise AssertionError(f"{pattern!r} is not in {self.seen!r}")

    def close(self) -> None:
        self.type("exit\n")
        os.waitpid(self.pid, 0)
        os.close(self.terminal)


def wait_for_end(pid: int) -> None:
    end = time.monotonic() + PATIENCE
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < end
        time.sleep(0.1)


@pytest.mark.parametrize(
    ("words", "process"),
    [(("bash", "--norc", "--noprofile", "-i"), "${CPU1_PID}"), (("zsh", "-f", "-i"), "${_cpu1_pid}")],
    ids=["bash", "zsh"],
)
def test_a_key_completes_in_a_shell(words, process):
    if not shutil.which(words[0]):
        pytest.skip(f"no {words[0]}")
    model = cpu1.load()
    first = model.complete("echo Once upon a ti", 1)[0].text
    second = model.complete(f"echo Once upon a ti{first}", 1)[0].text
    quoted = model.complete('echo "häu\\ ti', 1)[0].text
    shell = Terminal(*words)
    shell.type(f"source examples/complete.{words[0]}; echo ready-$((1+1)) {process}\n")
    pid = int(shell.wait_for(r"ready-2 (\d+)")[1])
    shell.type(f"echo Once upon a ti{KEY}{KEY}\n")
    shell.wait_for(rf"\n(?:\x1b\S*)?Once upon a ti{first}{second}\r")
    shell.type(f'echo "häu\\ ti{KEY}"\n')
    shell.wait_for(rf"\nhäu\\ ti{quoted}\r")
    os.kill(pid, 9)  # it comes back
    wait_for_end(pid)
    shell.type(f"echo Once upon a ti{KEY}\n")
    shell.wait_for(rf"\n(?:\x1b\S*)?Once upon a ti{first}\r")
    shell.type(f"echo now-$((1+1)) {process}\n")
    again = int(shell.wait_for(r"now-2 (\d+)")[1])
    assert again != pid
    shell.close()
    wait_for_end(again)  # with the shell


def test_an_lsp_client_gets_completions():
    pytest.importorskip("pygls")
    from lsprotocol import types
    from pygls.lsp.client import LanguageClient

    text = 'He said: "Größe 😀"\nOnce upon a ti\n'
    place = types.TextDocumentPositionParams(types.TextDocumentIdentifier("file:///a.txt"), types.Position(1, 14))

    async def talk():
        client = LanguageClient("test", "1")
        await client.start_io(sys.executable, str(EXAMPLES / "lsp_server.py"))
        await client.initialize_async(types.InitializeParams(capabilities=types.ClientCapabilities()))
        client.text_document_did_open(
            types.DidOpenTextDocumentParams(types.TextDocumentItem("file:///a.txt", "plaintext", 1, text))
        )
        listed = await client.text_document_completion_async(
            types.CompletionParams(place.text_document, place.position)
        )
        how = types.InlineCompletionContext(types.InlineCompletionTriggerKind.Automatic)
        inline = await client.text_document_inline_completion_async(
            types.InlineCompletionParams(how, place.text_document, place.position)
        )
        client.text_document_did_change(
            types.DidChangeTextDocumentParams(
                types.VersionedTextDocumentIdentifier(2, "file:///a.txt"),
                [types.TextDocumentContentChangePartial(types.Range(place.position, place.position), "me ")],
            )
        )
        after = await client.text_document_completion_async(
            types.CompletionParams(place.text_document, types.Position(1, 16))
        )
        astral = await client.text_document_completion_async(
            types.CompletionParams(place.text_document, types.Position(0, 18))
        )
        await client.shutdown_async(None)
        client.exit(None)
        await client.stop()
        return listed, inline, after, astral

    listed, inline, after, astral = asyncio.run(asyncio.wait_for(talk(), PATIENCE))
    model = cpu1.load()
    before = text.partition("\nOnce")[0] + "\nOnce upon a ti"
    wanted = [word.text for word in model.complete(before)]
    assert [item.text_edit.new_text for item in listed.items] == [f"ti{word}" for word in wanted]
    assert listed.items[0].label == "time"
    assert listed.items[0].text_edit.range.start == types.Position(1, 12)
    assert listed.is_incomplete
    assert [item.insert_text for item in inline.items] == [word.text for word in model.complete(before, 3)]
    assert {word.data.decode().strip() for word in model.complete(before + "me")} == {
        item.label for item in after.items
    }
    assert len(astral.items) == 5


def test_neovim_lists_completions(tmp_path):
    """By the settings of examples/complete.lua: what the omnifunc of a buffer offers."""
    pytest.importorskip("pygls")
    if not shutil.which("nvim"):
        pytest.skip("no nvim")
    (tmp_path / "a.txt").write_text("Once upon a ti\n")
    (tmp_path / "try.lua").write_text(
        f"""
        dofile({str(EXAMPLES / "complete.lua")!r})
        vim.cmd("edit a.txt | set filetype=text")
        vim.wait({PATIENCE}000, function()
          local client = vim.lsp.get_active_clients()[1]
          return client and client.initialized
        end)
        vim.api.nvim_win_set_cursor(0, {{1, 14}})
        local place = vim.lsp.util.make_position_params()
        place.position.character = 14
        local found = vim.lsp.buf_request_sync(0, "textDocument/completion", place, {PATIENCE}000)
        local words = {{}}
        for _, answer in pairs(found) do
          for _, item in ipairs(answer.result.items) do table.insert(words, item.label) end
        end
        vim.fn.writefile({{vim.bo.omnifunc, unpack(words)}}, "found.txt")
        """
    )
    environment = {**os.environ, "CPU1_PYTHON": sys.executable, "XDG_STATE_HOME": str(tmp_path)}
    words = ["nvim", "--headless", "-u", "NONE", "-i", "NONE", "-c", "luafile try.lua", "-c", "qall!"]
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=3 * PATIENCE)
    assert (tmp_path / "found.txt").exists(), done.stderr
    omnifunc, *labels = (tmp_path / "found.txt").read_text().splitlines()
    assert omnifunc == "v:lua.vim.lsp.omnifunc"
    assert labels == [f"ti{word.text}" for word in cpu1.load().complete("Once upon a ti")]
