"""Token models as teachers, on small random ones in the files that real ones come in."""

import numpy as np
import pytest
import torch
from helpers.text import write_text
from helpers.token_models import SIZES, byte_level_tokenizer, open_in_fp32, write_qwen

from cpu1.data.corpus import prepare
from cpu1.errors import UserError
from cpu1.teachers.byte_level import ByteLevelTokenizer
from cpu1.teachers.cache import Cache
from cpu1.teachers.gguf_file import LAYER, open_gguf
from cpu1.teachers.hugging_face import open_model
from cpu1.teachers.marginal import TokenPath, byte_probabilities
from cpu1.teachers.open import open_teacher
from cpu1.teachers.teach import teach
from cpu1.teachers.teacher import Piece
from cpu1.teachers.token_teacher import TokenTeacher

transformers = pytest.importorskip("transformers")
gguf = pytest.importorskip("gguf")

TEXT = b"The cats sat on 1,234 mats.\n\n\tNa\xc3\xafve cats\0Another text, of caf\xc3\xa9s"


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return byte_level_tokenizer(tmp_path_factory.mktemp("text"))


@pytest.fixture(scope="module")
def qwen(tokenizer, tmp_path_factory):
    return write_qwen(tmp_path_factory.mktemp("qwen"), tokenizer)


@pytest.fixture(scope="module")
def model(qwen):
    return open_in_fp32(qwen)


def test_tokens_spell_any_text_and_special_ones_in_it_are_but_text(model):
    for text in (TEXT, b"<|endoftext|> <|im_start|>", bytes(range(256)), b"", "e\u0301 stays decomposed".encode()):
        ids = model.encode(text)
        assert b"".join(model.token_bytes[i] for i in ids) == text
    assert model.start not in model.encode(b"<|endoftext|>")
    assert model.start in model.encode(b"a\0b")


class Alone:
    """Contexts, each read by itself and from its start by transformers."""

    def __init__(self, folder, order, sequences):
        self.model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        self.order, self.sequences = order, sequences

    def logits(self, contexts):
        return torch.stack([self.model(torch.tensor([self.sequences[i]])).logits[0, -1, self.order] for i in contexts])

    def extend(self, parents, tokens):
        first = len(self.sequences)
        self.sequences += [[*self.sequences[i], int(token)] for i, token in zip(parents, tokens, strict=True)]
        return np.arange(first, len(self.sequences))


@torch.inference_mode()
def test_texts_read_together_with_branches_are_read_as_transformers_reads_each_alone(model, qwen):
    texts, share, depth = [b"cats sat on", TEXT, b"no"], 0.02, 3
    teacher = TokenTeacher(model, share, depth)
    pieces = [Piece(np.frombuffer(text, np.uint8), 0, len(text)) for text in texts]
    found = dict(teacher.read(pieces))
    for i, text in enumerate(texts):
        ids = [model.start, *model.encode(text)]
        alone = Alone(qwen, model.trie.order, [ids[:end] for end in range(1, len(ids))])
        starts = np.cumsum([0, *(len(model.token_bytes[token]) for token in ids[1:-1])])
        path = TokenPath(pieces[i].text, np.arange(len(starts)), starts, np.full(len(starts), len(text)))
        expected = byte_probabilities(alone, model.trie, path, share, depth)
        assert len(alone.sequences) > len(starts) or len(text) < 5  # some branches
        np.testing.assert_allclose(found[i].probabilities, expected, atol=1e-4)
        hidden = alone.model.model(torch.tensor([ids])).last_hidden_state[0, 1:]
        assert found[i].ends.tolist() == (np.append(starts[1:], len(text)) - 1).tolist()
        np.testing.assert_allclose(found[i].hidden, hidden.numpy(), rtol=1e-3, atol=1e-3)


def test_a_folder_teaches_through_the_verb_s_function(qwen, tmp_path):
    corpus = prepare(str(write_text(tmp_path, documents=10)), cache=tmp_path / "data")
    found = teach(open_teacher(str(qwen), 1.0), corpus, tmp_path / "cache", top_k=4, window=4096)
    cache = Cache(tmp_path / "cache")
    cache.check(corpus)
    assert found.bytes == cache.manifest.units
    assert cache.manifest.window == 512 - 2 * 64  # what the model can read
    _, shares = cache.window(100, 50)
    np.testing.assert_allclose(shares.sum(1), 1, atol=1e-5)
    assert cache.hidden(100, 48)[1].any()


def write_gguf(path, tokenizer, **changes):
    """A Llama of the same sizes as llama.cpp's converter writes it; returns its weights."""
    config = transformers.LlamaConfig(vocab_size=512, rms_norm_eps=1e-5, tie_word_embeddings=True, **SIZES)
    torch.manual_seed(1)
    llama = transformers.LlamaForCausalLM(config)
    writer = gguf.GGUFWriter(path, changes.get("architecture", "llama"))
    sizes = {"context_length": 512, "embedding_length": 32, "feed_forward_length": 48, "block_count": 2}
    heads = {"head_count": 4, "head_count_kv": 2, "layer_norm_rms_eps": 1e-5, "rope_freq_base": 1e4}
    for name, value in (sizes | heads).items():
        getattr(writer, f"add_{name}")(value)
    tokens = sorted(tokenizer["model"]["vocab"], key=tokenizer["model"]["vocab"].get)
    added = [token["content"] for token in tokenizer["added_tokens"]]
    tokens += added + [f"<unused{i}>" for i in range(512 - len(tokens) - len(added))]
    writer.add_tokenizer_model(changes.get("kind", "gpt2"))
    writer.add_tokenizer_pre(changes.get("pre", "gpt-2"))
    writer.add_token_list(tokens)
    writer.add_token_types([gguf.TokenType.NORMAL if i < 500 else gguf.TokenType.CONTROL for i in range(512)])
    writer.add_token_merges([" ".join(merge) for merge in tokenizer["model"]["merges"]])
    writer.add_eos_token_id(500)
    names = {"model.embed_tokens": "token_embd", "model.norm": "output_norm"}
    for i in range(2):
        names |= {f"model.layers.{i}.{ours}": f"blk.{i}.{theirs}" for theirs, ours in LAYER.items()}
    for name, weight in llama.state_dict().items():
        if (stem := name.removesuffix(".weight")) == "lm_head":
            continue
        values = weight.numpy()
        if stem.endswith(("q_proj", "k_proj")):  # llama.cpp rotates neighbours
            heads = 4 if stem.endswith("q_proj") else 2
            values = values.reshape(heads, 2, -1, 32).swapaxes(1, 2).reshape(values.shape)
        writer.add_tensor(f"{names[stem]}.weight", np.ascontiguousarray(values))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return llama


def test_a_gguf_file_is_the_model_that_it_was_made_of(tokenizer, tmp_path):
    llama = write_gguf(tmp_path / "x.gguf", tokenizer)
    found = open_gguf(tmp_path / "x.gguf")
    ids = [found.start, *found.encode(TEXT)]
    assert b"".join(found.token_bytes[i] for i in ids[1:]) == TEXT
    with torch.inference_mode():
        expected = llama(torch.tensor([ids])).logits[0, :, found.trie.order]
        logits = found.read([ids]).logits(np.arange(len(ids))).float()
    assert (logits - expected).abs().max() < 0.03 * expected.abs().max()


def test_a_gguf_file_that_cannot_teach_is_named(tokenizer, tmp_path):
    path = tmp_path / "x.gguf"
    for changes, message in (
        ({"architecture": "qwen3"}, "of architecture qwen3"),
        ({"kind": "llama"}, r"its tokenizer is llama \("),
        ({"pre": "other"}, r"gpt2 \(other\)"),
    ):
        write_gguf(path, tokenizer, **changes)
        with pytest.raises(UserError, match=message):
            open_gguf(path)
    write_gguf(path, tokenizer)
    for size in (0, 3, 5000, path.stat().st_size - 100):
        (tmp_path / "short.gguf").write_bytes(path.read_bytes()[:size])
        with pytest.raises(UserError, match=r"short\.gguf: .*(not a GGUF file|damaged)"):
            open_gguf(tmp_path / "short.gguf")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t | {"pre_tokenizer": {"type": "Metaspace"}}, "not byte-level BPE"),
        (lambda t: t | {"model": t["model"] | {"type": "WordPiece"}}, "not byte-level BPE"),
        (lambda t: t | {"model": {"type": "BPE"}}, "not a tokenizer"),
        (lambda t: without(t, "q"), "no token for byte 0x71"),
        (lambda t: t | {"added_tokens": []}, "no token that ends a document"),
        (lambda t: t | {"added_tokens": [{"content": "<|endoftext|>", "id": 600}]}, "ids up to 600"),
        (lambda t: [], "not a tokenizer"),
    ],
)
def test_a_tokenizer_that_cannot_write_every_text_is_refused(tokenizer, change, message):
    with pytest.raises(UserError, match=message):
        ByteLevelTokenizer(change(tokenizer), 512, None, "tokenizer.json")


def without(tokenizer, letter):
    """No token and no merge has the letter: a tokenizer without byte fallback for it."""
    model = tokenizer["model"]
    vocabulary = {token: i for token, i in model["vocab"].items() if letter not in token}
    merges = [merge for merge in model["merges"] if letter not in "".join(merge)]
    return tokenizer | {"model": model | {"vocab": vocabulary, "merges": merges}}


def test_a_folder_that_cannot_teach_is_named(qwen, tmp_path):
    with pytest.raises(UserError, match=r"no config\.json"):
        open_model(str(tmp_path))
    for name, content, message in (
        ("config.json", b"{}", "no causal language model"),
        ("tokenizer.json", b"{", r"tokenizer\.json"),
        ("model.safetensors", b"short", "no causal language model"),
    ):
        for path in qwen.iterdir():
            (tmp_path / path.name).write_bytes(content if path.name == name else path.read_bytes())
        with pytest.raises(UserError, match=message):
            open_model(str(tmp_path))


def test_a_share_out_of_range_is_refused(model):
    for share in (-0.1, 1.5, float("nan")):
        with pytest.raises(UserError, match="must lie in 0 to 1"):
            TokenTeacher(model, share)
