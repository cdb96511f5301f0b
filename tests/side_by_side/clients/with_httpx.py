"""httpx: a GET, whose head is looked at before its body is read."""

import httpx
from common import TIMEOUT_SECONDS, TRUST, fields, kinds, run


def call(url):
    outcome = {}
    try:
        with httpx.Client(timeout=TIMEOUT_SECONDS, verify=TRUST) as client, client.stream("GET", url) as answer:
            outcome["status"], outcome["reason"] = answer.status_code, answer.reason_phrase
            outcome["fields"] = fields(answer.headers.multi_items())
            body = b""
            for piece in answer.iter_bytes():
                body += piece
                outcome["body"] = body.decode("latin-1")
    except httpx.HTTPError as error:
        outcome["error"] = kinds(error)[:1]
    return outcome


run(call)
