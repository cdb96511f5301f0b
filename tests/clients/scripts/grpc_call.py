import hashlib
import sys
import grpc

with grpc.secure_channel(sys.argv[1], grpc.ssl_channel_credentials()) as channel:
    print(channel.unary_unary("/stand.In/Echo")(b"hello").decode())
    print(b" ".join(channel.unary_stream("/stand.In/Count")(b"5")).decode())
    many = list(channel.unary_stream("/stand.In/Count")(b"10000"))
    print(len(many), hashlib.sha256(b" ".join(many)).hexdigest())
    try:
        channel.unary_unary("/stand.In/Missing")(b"")
    except grpc.RpcError as error:
        print(error.code().name, error.details())
