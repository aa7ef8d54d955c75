"""Chats, scores, judgements, models, the description of the API."""

import numpy as np
import pytest

import cpu1
from cpu1.judging.judge import judge
from cpu1.server import routes
from cpu1.server.settings import Settings

CHAT = "/v1/chat/completions"
MESSAGES = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Où est la mer ?"}]
RENDERED = "System: Be kind.\n\nUser: Où est la mer ?\n\nAssistant: "


@pytest.fixture(scope="module")
def model():
    return cpu1.load()


def test_a_chat_is_a_text_by_a_plain_template(server, model):
    found = server.post(CHAT, messages=MESSAGES, max_tokens=40, seed=1)
    (choice,) = found["choices"]
    wanted = model.generate(RENDERED, 40, stop=["\nSystem:", "\nUser:", "\nAssistant:"], seed=1)
    assert choice["message"]["content"] == wanted
    assert choice["message"]["role"] == "assistant"
    assert found["object"] == "chat.completion"
    assert found["usage"]["prompt_tokens"] == len(RENDERED.encode())


def test_the_other_spellings_of_a_chat(server):
    one = server.post(CHAT, messages=MESSAGES, max_tokens=20, seed=1)
    parts = [{"role": each["role"], "content": [{"type": "text", "text": each["content"]}]} for each in MESSAGES]
    parts[0]["role"] = "developer"
    other = server.post(CHAT, messages=parts, max_completion_tokens=20, seed=1, response_format={"type": "text"})
    assert one["choices"] == other["choices"]


def test_a_chat_in_pieces(server):
    asked = {"messages": MESSAGES, "max_tokens": 40, "seed": 1, "logprobs": True, "top_logprobs": 2, "n": 2}
    events = server.events(CHAT, **asked, stream_options={"include_usage": True})
    whole = server.post(CHAT, **asked)
    assert {event["object"] for event in events} == {"chat.completion.chunk"}
    for choice in whole["choices"]:
        parts = [c for event in events for c in event["choices"] if c["index"] == choice["index"]]
        assert parts[0]["delta"] == {"role": "assistant", "content": ""}
        assert "".join(part["delta"].get("content", "") for part in parts) == choice["message"]["content"]
        entries = [entry for part in parts if part["logprobs"] for entry in part["logprobs"]["content"]]
        assert entries == choice["logprobs"]["content"]
        data = bytes(byte for entry in entries for byte in entry["bytes"])
        assert data.decode(errors="replace") == choice["message"]["content"]
        assert all(len(entry["top_logprobs"]) == 2 for entry in entries)
    assert events[-1]["usage"] == whole["usage"]


def test_scores_are_those_of_the_model(server, model):
    found = server.post("/v1/score", input=["The cat sat.", "", "é" * 400])["data"]
    for row, text in zip(found, ["The cat sat.", "", "é" * 400], strict=True):
        assert np.allclose(row["bits"], model.score(text), atol=1e-5)
        assert row["bytes"] == len(text.encode())
    assert found[0]["bits_per_byte"] == pytest.approx(model.score("The cat sat.").mean(), abs=1e-6)
    assert found[1]["bits_per_byte"] is None
    assert server.post("/v1/score", input="The cat sat.")["data"] == found[:1]


def test_judgements_are_those_of_judge(server):
    texts = ["The old man sat down by the fire. " * 4, "Tbe o1d rnan sat dovvn bv thc firc. " * 4]
    found = server.post("/v1/judge", input=texts, worst=2)["data"]
    assert found == [{"index": n, **each.to_json()} for n, each in enumerate(judge(texts, most=2))]
    assert server.post("/v1/judge", input=texts, better=True)["better"] == 0
    assert server.post("/v1/judge", input=texts[::-1], better=True)["better"] == 1


def test_the_model_has_a_name(server):
    (only,) = server.ask("GET", "/v1/models").json["data"]
    assert server.ask("GET", f"/v1/models/{only['id']}").json == only
    assert server.post("/v1/completions", model=only["id"], max_tokens=1)["model"] == only["id"]


def test_the_description_names_every_address(server):
    page = server.ask("GET", "/openapi.json").json
    table = {(each.method.lower(), each.path) for each in (*routes.ADDRESSES, routes.METRICS)}
    assert {(method, path) for path, methods in page["paths"].items() for method in methods} == table
    assert len(table) == 10
    for path, methods in page["paths"].items():
        for method, about in methods.items():
            assert about["summary"]
            assert server.ask(method.upper(), path.replace("{model}", "cpu1")).status != 404


def test_the_description_has_every_field(server):
    page = server.ask("GET", "/openapi.json").json
    for each in routes.ADDRESSES:
        if each.fields is None:
            continue
        about = page["paths"][each.path]["post"]["requestBody"]["content"]["application/json"]["schema"]
        assert set(about["properties"]) == set(each.fields(Settings()))
        assert all(field["description"] for field in about["properties"].values())
