"""What Python 3.13 checks of certificates by default, asked for by name so that older Pythons check it as well."""

import http.client
import os
import ssl
import sys

context = ssl.create_default_context(cafile=os.environ["OTAS_PROXY_CA"])
context.verify_flags |= ssl.VERIFY_X509_STRICT
proxy_port = int(os.environ["HTTPS_PROXY"].rsplit(":", 1)[1])
for host in ("localhost", "127.0.0.1"):
    connection = http.client.HTTPSConnection("127.0.0.1", proxy_port, context=context)
    connection.set_tunnel(host, int(sys.argv[1]))
    connection.request("GET", "/")
    print(connection.getresponse().status)
