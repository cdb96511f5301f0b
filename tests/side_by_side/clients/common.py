"""What the Python clients share: the calls to make are read from standard input, the outcomes are written as JSON."""

import json
import os
import ssl
import sys

# What belongs to one connection, not to the answer (RFC 9110 7.6.1).
HOP_BY_HOP = {"connection", "keep-alive", "proxy-connection", "transfer-encoding", "te", "upgrade"}
TIMEOUT_SECONDS = 20
# Made once: reading the certificates for each call would take most of the time.
TRUST = ssl.create_default_context(cafile=os.environ["SSL_CERT_FILE"])


def fields(pairs):
    """Header fields without those of one connection, as pairs of text."""
    return sorted([name.lower(), value] for name, value in pairs if name.lower() not in HOP_BY_HOP)


def kinds(error):
    """The names of an error's classes, from the outside in."""
    names = []
    while error is not None and len(names) < 5:
        names.append(type(error).__name__)
        error = error.__cause__ or error.__context__
    return names


def run(call):
    """Makes each call with `call(url)`, which gives the outcome."""
    outcomes = {}
    for name, url in json.load(sys.stdin):
        outcomes[name] = call(url)
    json.dump(outcomes, sys.stdout)
