-- Neovim: completions in text files, by Ctrl-X Ctrl-O. In init.lua:
--
--     dofile("examples/complete.lua")
--
-- `examples/lsp_server.py` must lie next to this file, and python3 must have cpu1 and pygls.

local folder = debug.getinfo(1, "S").source:match("^@(.*/)") or "./"

vim.api.nvim_create_autocmd("FileType", {
  pattern = { "text", "markdown", "gitcommit", "mail" },
  callback = function(event)
    local client = vim.lsp.start_client({
      name = "cpu1",
      cmd = { vim.env.CPU1_PYTHON or "python3", folder .. "lsp_server.py" },
    })
    vim.lsp.buf_attach_client(event.buf, client)
    vim.bo[event.buf].omnifunc = "v:lua.vim.lsp.omnifunc"
  end,
})
