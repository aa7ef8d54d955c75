"""The `openai` client, as programs use it."""

import asyncio

import pytest
from helpers.serving import served

import cpu1

openai = pytest.importorskip("openai", reason="needs the openai client")


@pytest.fixture
def client(server):
    with openai.OpenAI(base_url=f"http://127.0.0.1:{server.port}/v1", api_key="none", max_retries=0) as found:
        yield found


def test_models(client):
    assert [model.id for model in client.models.list()] == ["cpu1"]
    assert client.models.retrieve("cpu1").owned_by == "cpu1"


def test_a_completion(client):
    found = client.completions.create(model="cpu1", prompt="The sea", max_tokens=40, seed=2, temperature=0.8)
    assert found.choices[0].text == cpu1.load().generate("The sea", 40, seed=2)
    assert found.choices[0].finish_reason == "length"
    assert found.usage.completion_tokens == 40


def test_a_completion_in_pieces_with_its_usage(client):
    pieces = list(
        client.completions.create(
            model="cpu1", prompt="Où", max_tokens=40, seed=2, stream=True, stream_options={"include_usage": True}
        )
    )
    text = "".join(choice.text for piece in pieces for choice in piece.choices)
    assert text == cpu1.load().generate("Où", 40, seed=2)
    assert pieces[-1].usage.prompt_tokens == 3


def test_log_probabilities(client):
    shown = client.completions.create(model="cpu1", prompt="é", max_tokens=0, echo=True, logprobs=3).choices[0].logprobs
    assert shown.tokens == ["bytes:\\xc3", "bytes:\\xa9"]
    assert shown.text_offset == [0, 0]
    assert all(len(top) >= 3 for top in shown.top_logprobs)


def test_settings_of_our_own(client):
    found = client.completions.create(
        model="cpu1", prompt="The", max_tokens=20, seed=1, extra_body={"top_k": 2, "min_p": 0.1}
    )
    assert found.choices[0].text == cpu1.load().generate("The", 20, seed=1, top_k=2, min_p=0.1)


def test_a_chat(client):
    messages = [{"role": "user", "content": "Good morning."}]
    asked = {"model": "cpu1", "messages": messages, "max_tokens": 30, "seed": 1, "logprobs": True, "top_logprobs": 2}
    whole = client.chat.completions.create(**asked)
    pieces = list(client.chat.completions.create(**asked, stream=True))
    text = "".join(piece.choices[0].delta.content or "" for piece in pieces)
    assert text == whole.choices[0].message.content
    assert pieces[0].choices[0].delta.role == "assistant"
    assert len(whole.choices[0].logprobs.content[0].top_logprobs) == 2


def test_a_stream_that_is_left_frees_its_text(client, server):
    with client.completions.create(model="cpu1", prompt="The", max_tokens=60_000, stream=True) as stream:
        next(iter(stream))
    server.until("cpu1_streams", 0)


def test_errors_are_those_that_the_client_knows(client, server):
    with pytest.raises(openai.BadRequestError) as wrong:
        client.completions.create(model="cpu1", prompt="The", temperature=9)
    assert wrong.value.param == "temperature"
    with pytest.raises(openai.NotFoundError) as unknown:
        client.completions.create(model="gpt", prompt="The")
    assert unknown.value.code == "model_not_found"
    with pytest.raises(openai.RateLimitError):
        client.completions.create(model="cpu1", prompt="The", n=100)


def test_a_wrong_key():
    with served(CPU1_API_KEY="right") as server:
        for key, fails in (("right", False), ("wrong", True)):
            client = openai.OpenAI(base_url=f"http://127.0.0.1:{server.port}/v1", api_key=key, max_retries=0)
            if fails:
                with pytest.raises(openai.AuthenticationError):
                    client.models.list()
            else:
                client.models.list()


def test_many_at_once(server):
    async def all_of_them() -> list[str]:
        address = f"http://127.0.0.1:{server.port}/v1"
        async with openai.AsyncOpenAI(base_url=address, api_key="none", max_retries=0) as client:
            made = [client.completions.create(model="cpu1", prompt="The", max_tokens=30, seed=n) for n in range(12)]
            return [found.choices[0].text for found in await asyncio.gather(*made)]

    model = cpu1.load()
    assert asyncio.run(all_of_them()) == [model.generate("The", 30, seed=n) for n in range(12)]
