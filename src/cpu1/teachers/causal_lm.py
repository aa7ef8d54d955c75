"""A causal language model of `transformers`, read over many sequences at once, with branches off them.

A branch is a token with which the sequence does not continue. It sees only its own ancestors: every token read so far
stays in the cache of keys and values, and a mask hides the others from a new token, as in speculative decoding by trees
(Miao et al., arXiv 2305.09781).

Shapes: n contexts, D width of the hidden states, V tokens in the trie's order.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cpu1 import device as devices
from cpu1.errors import UserError
from cpu1.teachers import attention
from cpu1.teachers.byte_level import ByteLevelTokenizer
from cpu1.teachers.trie import Indices, Trie

TOLERANCE = 0.02  # of the largest logit, between two ways to read the same text in fp32


class CausalLM:
    """A model with its tokenizer, in bf16 where the device multiplies it natively, else in fp32."""

    def __init__(self, model: Any, tokenizer: ByteLevelTokenizer, identity: dict[str, Any], source: str) -> None:
        """UserError for a model that needs more than its trunk and head, or that reads branches another way."""
        self._trunk: nn.Module = model.base_model
        self.token_bytes, self.start, self.encode = tokenizer.token_bytes, tokenizer.start, tokenizer.encode
        self.trie = Trie(self.token_bytes)
        self.width = int(model.config.hidden_size)
        self.window = int(model.config.max_position_embeddings)
        model.eval().to(device := devices.choose())
        if device.type == "cpu":
            attention.use(model)
        self._head = _rows(model.get_output_embeddings(), self.trie.order)
        self._check(model, source)
        precision = devices.fast_precision(device)
        for part in (model, self._head):
            part.to({"bf16": torch.bfloat16, "fp32": torch.float32}[precision])
        self.identity = {**identity, "precision": precision}

    def read(self, sequences: Sequence[Sequence[int]]) -> "ReadSequences":
        """The model's contexts after each token of `sequences`, see `token_teacher.ReadTokens`."""
        return ReadSequences(self._trunk, self._head, sequences)

    @torch.inference_mode()
    def _check(self, model: Any, source: str) -> None:
        """UserError unless trunk and head give the model's own logits, and a branch is read like a sequence."""
        ids = [self.start, *self.encode(b"Two of a kind")]
        device = next(model.parameters()).device
        whole = model(input_ids=torch.tensor([ids], device=device)).logits[0, -1, self.trie.order].float()
        read = self.read([ids[:-1], ids[:2]])
        branch = read.extend(np.array([len(ids) - 2]), np.array(ids[-1:]))
        error = (read.logits(branch)[0].float() - whole).abs().max() / whole.abs().max()
        if not error < TOLERANCE:
            raise UserError(
                f"{source}: {type(model).__name__} is not read as it should be; teachers are models like Qwen"
            )


class ReadSequences:
    """Sequences that a model has read, and branches off them: a `token_teacher.ReadTokens`."""

    def __init__(self, trunk: nn.Module, head: nn.Module, sequences: Sequence[Sequence[int]]) -> None:
        self._trunk, self._head = trunk, head
        self._device = next(trunk.parameters()).device
        lengths = np.array([len(ids) for ids in sequences])
        self._longest = int(lengths.max())
        padded = np.zeros((len(sequences), self._longest), np.int64)
        for row, ids in enumerate(sequences):
            padded[row, : len(ids)] = ids
        real = np.arange(self._longest) < lengths[:, None]
        self._row, self._position = np.nonzero(real)  # of each context
        self._above: NDArray[np.bool_] = np.zeros((len(self._row), 0), bool)  # branches that a context sees
        output = trunk(input_ids=torch.from_numpy(padded).to(self._device), use_cache=True)
        self._cache = output.past_key_values
        self._hidden = output.last_hidden_state[torch.from_numpy(real).to(self._device)]
        self._rows = len(sequences)
        self._limit = self._position.copy()  # the last token of the sequence itself that a context sees

    def hidden(self, contexts: Indices) -> Tensor:
        """The hidden states (n, D) of contexts."""
        return self._hidden[torch.from_numpy(contexts).to(self._device)]

    def logits(self, contexts: Indices) -> Tensor:
        """The logits (n, V) of the token after each context."""
        return self._head(self.hidden(contexts))

    def extend(self, parents: Indices, tokens: Indices) -> Indices:
        """Reads one token after each of `parents` (n,); returns the numbers of the new contexts (n,).

        Branches of a sequence get columns side by side, after those that were read before.
        """
        order = np.argsort(self._row[parents], kind="stable")
        rows = self._row[parents[order]]
        counts = np.bincount(rows, minlength=self._rows)
        width, before = int(counts.max()), self._above.shape[1]
        column = np.arange(len(rows)) - (np.cumsum(counts) - counts)[rows]
        above = np.zeros((len(parents), before + width), bool)
        above[:, :before] = self._above[parents[order]]
        above[np.arange(len(rows)), before + column] = True

        ids = np.zeros((self._rows, width), np.int64)
        positions = np.zeros((self._rows, width), np.int64)
        seen = np.zeros((self._rows, width, self._longest + before + width), bool)
        seen[:, :, 0] = True  # padding must see something, too
        ids[rows, column] = tokens[order]
        positions[rows, column] = self._position[parents[order]] + 1
        seen[rows, column, : self._longest] = np.arange(self._longest) <= self._limit[parents[order], None]
        seen[rows, column, self._longest :] = above
        hidden = torch.from_numpy(~seen[:, None]).to(self._device)
        output = self._trunk(
            input_ids=torch.from_numpy(ids).to(self._device),
            position_ids=torch.from_numpy(positions).to(self._device),
            attention_mask=torch.zeros_like(hidden, dtype=self._hidden.dtype).masked_fill_(hidden, -torch.inf),
            past_key_values=self._cache,
            use_cache=True,
        )
        self._cache = output.past_key_values
        self._hidden = torch.cat((self._hidden, output.last_hidden_state[rows, column]))
        first = len(self._row)
        self._row = np.concatenate((self._row, rows))
        self._position = np.concatenate((self._position, positions[rows, column]))
        self._limit = np.concatenate((self._limit, self._limit[parents[order]]))
        widened = np.pad(self._above, ((0, 0), (0, width)))
        self._above = np.concatenate((widened, above))
        numbers = np.empty(len(parents), np.int64)
        numbers[order] = np.arange(first, first + len(parents))
        return numbers


def _rows(head: nn.Linear, order: Indices) -> nn.Linear:
    """A head of the tokens `order` only, in this order, so that its logits need not be sorted."""
    some = nn.Linear(head.in_features, len(order), bias=head.bias is not None, device="meta")
    some.weight = nn.Parameter(head.weight[order], requires_grad=False)
    if head.bias is not None:
        some.bias = nn.Parameter(head.bias[order], requires_grad=False)
    return some
