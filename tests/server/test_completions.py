"""What /v1/completions answers: the same texts as `generate`, and log-probabilities that agree with `score`."""

import json

import numpy as np
import pytest

import cpu1

PATH = "/v1/completions"
PROMPT = "The captain said"


@pytest.fixture(scope="module")
def model():
    return cpu1.load()


def test_a_text_is_that_of_generate(server, model):
    found = server.post(PATH, prompt=PROMPT, max_tokens=50, seed=3)
    (choice,) = found["choices"]
    assert choice["text"] == model.generate(PROMPT, 50, seed=3)
    assert choice["finish_reason"] == "length"
    assert choice["logprobs"] is None
    assert found["object"] == "text_completion"
    assert found["usage"] == {"prompt_tokens": 16, "completion_tokens": 50, "total_tokens": 66}


def test_all_settings_of_sampling_count(server, model):
    for setting in ({"temperature": 0}, {"temperature": 1.5}, {"top_k": 3}, {"top_p": 0.3}, {"min_p": 0.2}):
        found = server.post(PATH, prompt=PROMPT, max_tokens=30, seed=5, **setting)
        assert found["choices"][0]["text"] == model.generate(PROMPT, 30, seed=5, **setting), setting


def test_several_texts_have_several_seeds(server, model):
    found = server.post(PATH, prompt=[PROMPT, "The sea"], max_tokens=20, seed=8, n=2)
    assert [choice["index"] for choice in found["choices"]] == [0, 1, 2, 3]
    wanted = [model.generate(prompt, 20, seed=seed) for prompt in (PROMPT, "The sea") for seed in (8, 9)]
    assert [choice["text"] for choice in found["choices"]] == wanted


def test_without_a_seed_texts_differ(server):
    texts = {server.post(PATH, prompt=PROMPT, max_tokens=40)["choices"][0]["text"] for _ in range(3)}
    assert len(texts) == 3


def test_nothing_is_needed(server):
    assert server.post(PATH)["usage"]["prompt_tokens"] == 0


def test_null_is_the_default(server):
    nulls = dict.fromkeys(("temperature", "stop", "n", "logprobs", "stream", "suffix", "user", "best_of"))
    one = server.post(PATH, prompt=PROMPT, seed=1, max_tokens=9, **nulls)
    assert one["choices"] == server.post(PATH, prompt=PROMPT, seed=1, max_tokens=9)["choices"]


def test_a_stop_string_ends_a_text(server, model):
    whole = model.generate(PROMPT, 200, seed=1)
    stop = whole[40:44]
    found = server.post(PATH, prompt=PROMPT, max_tokens=200, seed=1, stop=stop)
    assert found["choices"][0]["text"] == whole[: whole.index(stop)]
    assert found["choices"][0]["finish_reason"] == "stop"
    assert server.post(PATH, prompt=PROMPT, max_tokens=200, seed=1, stop=[stop, "\0"])["choices"] == found["choices"]


def test_tokens_are_bytes(server, model):
    found = server.post(PATH, prompt=list("Café".encode()), max_tokens=0, echo=True)
    assert found["choices"][0]["text"] == "Café"
    assert found["usage"]["prompt_tokens"] == 5
    many = server.post(PATH, prompt=[[84, 104, 101], [65]], max_tokens=0, echo=True)
    assert [choice["text"] for choice in many["choices"]] == ["The", "A"]


@pytest.mark.parametrize("tops", [0, 2, 10])
def test_log_probabilities_of_the_prompt_are_those_of_score(server, model, tops):
    text = "Naïve café, 東京 🌊 – déjà vu"
    found = server.post(PATH, prompt=text, max_tokens=0, echo=True, logprobs=tops)
    (choice,) = found["choices"]
    shown, data = choice["logprobs"], text.encode()
    assert choice["text"] == text
    assert np.allclose(shown["token_logprobs"], -np.log(2) * model.score(text), atol=1e-4)
    assert [len(each) in (tops, tops + 1) for each in shown["top_logprobs"]] == [True] * len(data)
    characters = [index for index, character in enumerate(text) for _ in character.encode()]
    assert shown["text_offset"] == characters
    names = [chr(byte) if byte < 128 else f"bytes:\\x{byte:02x}" for byte in data]
    assert shown["tokens"] == names
    for name, logprob, top in zip(names, shown["token_logprobs"], shown["top_logprobs"], strict=True):
        assert top[name] == pytest.approx(logprob, abs=1e-9)


def test_log_probabilities_of_what_was_written(server, model):
    found = server.post(PATH, prompt=PROMPT, max_tokens=24, seed=2, logprobs=3)
    (choice,) = found["choices"]
    shown = choice["logprobs"]
    assert "".join(shown["tokens"]) == choice["text"]
    bits = model.score(PROMPT + choice["text"])[len(PROMPT) :]
    assert np.allclose(shown["token_logprobs"], -np.log(2) * bits, atol=1e-4)
    assert shown["text_offset"] == list(range(len(PROMPT), len(PROMPT) + 24))
    best = [max(top, key=top.get) for top in shown["top_logprobs"]]
    greedy = server.post(PATH, prompt=PROMPT, max_tokens=1, temperature=0)["choices"][0]["text"]
    assert best[0] == greedy


def test_a_document_that_ends_shows_its_end(server):
    """A prompt after which the model ends the document; the end is a token without text."""
    prompt = "He died in 1801.\n\nReferences\n\n\n"
    for seed in range(40):
        found = server.post(PATH, prompt=prompt, max_tokens=2000, seed=seed, logprobs=2, temperature=1)
        (choice,) = found["choices"]
        if choice["finish_reason"] == "stop":
            break
    else:
        pytest.skip("the model ends no document")
    assert choice["logprobs"]["tokens"][-1] == ""
    assert len(choice["logprobs"]["tokens"]) == found["usage"]["completion_tokens"] + 1
    more = server.post(PATH, prompt=prompt, max_tokens=2000, seed=seed, temperature=1, ignore_eos=True)
    assert more["choices"][0]["finish_reason"] == "length"


def test_the_best_of_several(server, model):
    found = server.post(PATH, prompt=PROMPT, max_tokens=30, seed=1, best_of=6, n=2)
    texts = [model.generate(PROMPT, 30, seed=1 + number) for number in range(6)]
    costs = {text: model.score(PROMPT + text)[len(PROMPT) :].mean() for text in texts}
    assert [choice["text"] for choice in found["choices"]] == sorted(costs, key=costs.get)[:2]
    assert found["usage"]["completion_tokens"] == 180


# --------------------------------------------------------------------------------------- streams


def test_a_stream_has_the_same_text(server, model):
    events = server.events(PATH, prompt=PROMPT, max_tokens=900, seed=4)
    choices = [choice for event in events for choice in event["choices"]]
    assert len(choices) > 2
    assert "".join(choice["text"] for choice in choices) == model.generate(PROMPT, 900, seed=4)
    assert [choice["finish_reason"] for choice in choices[:-1]] == [None] * (len(choices) - 1)
    assert choices[-1]["finish_reason"] == "length"
    assert len({event["id"] for event in events}) == 1


def test_a_stream_of_several_texts_with_everything(server):
    asked = {"prompt": ["Où", "東"], "max_tokens": 20, "seed": 4, "n": 2, "logprobs": 2, "echo": True}
    events = server.events(PATH, **asked, stream_options={"include_usage": True})
    whole = server.post(PATH, **asked)
    assert events[-1]["choices"] == []
    assert events[-1]["usage"] == whole["usage"]
    for choice in whole["choices"]:
        parts = [c for event in events for c in event["choices"] if c["index"] == choice["index"]]
        assert "".join(part["text"] for part in parts) == choice["text"]
        for name, column in choice["logprobs"].items():
            joined = [value for part in parts if part["logprobs"] for value in part["logprobs"][name]]
            assert joined == column, name
        assert parts[-1]["finish_reason"] == choice["finish_reason"]


def test_pieces_are_whole_characters(server):
    """Whatever bytes are drawn, each event is JSON in UTF-8 and holds whole characters."""
    events = server.events(PATH, prompt="東京は日本の", max_tokens=120, seed=1, temperature=1.5)
    found = server.ask("POST", PATH, {"prompt": "東京は日本の", "max_tokens": 120, "seed": 1, "temperature": 1.5})
    text = json.loads(found.body.decode())["choices"][0]["text"]
    assert "".join(choice["text"] for event in events for choice in event["choices"]) == text
    text.encode()


def test_a_stream_of_nothing(server):
    events = server.events(PATH, prompt="The", max_tokens=0)
    assert [event["choices"][0]["finish_reason"] for event in events] == ["length"]
