"""OpenAI's SDK: a question whose answer is read whole, and one whose answer is read as a stream."""

import openai
from common import TIMEOUT_SECONDS, TRUST, fields, kinds, run

ASK = {"model": "stand-in", "messages": [{"role": "user", "content": "Good evening?"}]}


def whole(client):
    try:
        answer = client.chat.completions.with_raw_response.create(**ASK)
        shown = fields(answer.headers.multi_items())
        return {"status": answer.status_code, "fields": shown, "body": answer.http_response.content.decode("latin-1")}
    except openai.APIStatusError as error:
        return {"status": error.status_code, "message": error.message, "error": type(error).__name__}
    except openai.APIError as error:
        return {"error": kinds(error)[:2]}


def streamed(client):
    pieces = []
    try:
        for chunk in client.chat.completions.create(**ASK, stream=True):
            pieces.append(chunk.choices[0].delta.content)
        return {"pieces": pieces}
    except Exception as error:
        return {"pieces": pieces, "error": kinds(error)[:2]}


def fresh(url):
    http_client = openai.DefaultHttpxClient(verify=TRUST)
    return openai.OpenAI(base_url=url, api_key="sk-stand-in", max_retries=0, timeout=TIMEOUT_SECONDS, http_client=http_client)


def call(url):
    # A connection and cookies of its own for each.
    with fresh(url) as first, fresh(url) as second:
        return {"whole": whole(first), "streamed": streamed(second)}


run(call)
