"""A gRPC service on a free port, which it prints. It ends with its standard input."""

import sys
from concurrent import futures
import grpc


def missing(message, context):
    context.abort(grpc.StatusCode.NOT_FOUND, "no such thing: \u00e9")


SERVICE = {
    "Echo": grpc.unary_unary_rpc_method_handler(lambda message, context: b"echo " + message),
    "Count": grpc.unary_stream_rpc_method_handler(lambda message, context: (b"%d" % n for n in range(int(message)))),
    "Missing": grpc.unary_unary_rpc_method_handler(missing),
}

certificate, key = (open(name, "rb").read() for name in sys.argv[1:3])
server = grpc.server(futures.ThreadPoolExecutor(max_workers=2))
server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("stand.In", SERVICE)])
port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(key, certificate)]))
server.start()
print(port, flush=True)
sys.stdin.read()
server.stop(None)
