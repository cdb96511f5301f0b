"""Python requests: a GET on a connection of its own."""

import requests
from common import TIMEOUT_SECONDS, fields, kinds, run


def call(url):
    try:
        answer = requests.get(url, timeout=TIMEOUT_SECONDS)
    except requests.RequestException as error:
        return {"error": kinds(error)[:1]}
    shown = fields(answer.headers.items())
    return {"status": answer.status_code, "reason": answer.reason, "fields": shown, "body": answer.content.decode("latin-1")}


run(call)
