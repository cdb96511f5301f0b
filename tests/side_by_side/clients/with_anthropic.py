"""Anthropic's SDK: a question whose answer is read whole, and one whose answer is read as a stream."""

import anthropic
from common import TIMEOUT_SECONDS, TRUST, fields, kinds, run

ASK = {"model": "stand-in", "max_tokens": 9, "messages": [{"role": "user", "content": "Good evening?"}]}


def whole(client):
    try:
        answer = client.messages.with_raw_response.create(**ASK)
        shown = fields(answer.headers.multi_items())
        return {"status": answer.status_code, "fields": shown, "body": answer.http_response.content.decode("latin-1")}
    except anthropic.APIStatusError as error:
        return {"status": error.status_code, "message": error.message, "error": type(error).__name__}
    except anthropic.APIError as error:
        return {"error": kinds(error)[:2]}


def streamed(client):
    pieces = []
    try:
        for event in client.messages.create(**ASK, stream=True):
            pieces.append(event.type)
        return {"pieces": pieces}
    except Exception as error:
        return {"pieces": pieces, "error": kinds(error)[:2]}


def fresh(url):
    http_client = anthropic.DefaultHttpxClient(verify=TRUST)
    return anthropic.Anthropic(base_url=url, api_key="sk-stand-in", max_retries=0, timeout=TIMEOUT_SECONDS, http_client=http_client)


def call(url):
    # A connection and cookies of its own for each.
    with fresh(url) as first, fresh(url) as second:
        return {"whole": whole(first), "streamed": streamed(second)}


run(call)
