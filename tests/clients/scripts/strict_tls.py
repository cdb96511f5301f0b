"""Checks certificates as Python 3.13 does by default: `asked`, so that older Pythons do it as well, or by `default`."""

import http.client
import os
import ssl
import sys

context = ssl.create_default_context(cafile=os.environ["OTAS_PROXY_CA"])
if sys.argv[2] == "asked":
    context.verify_flags |= ssl.VERIFY_X509_STRICT
assert context.verify_flags & ssl.VERIFY_X509_STRICT
proxy_port = int(os.environ["HTTPS_PROXY"].rsplit(":", 1)[1])
for host in ("localhost", "127.0.0.1"):
    connection = http.client.HTTPSConnection("127.0.0.1", proxy_port, context=context)
    connection.set_tunnel(host, int(sys.argv[1]))
    connection.request("GET", "/")
    print(connection.getresponse().status)
