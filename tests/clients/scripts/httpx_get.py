import sys
import httpx

with httpx.Client(http2=sys.argv[2] == "HTTP/2", timeout=60) as client:
    answer = client.post(sys.argv[1], json={"ask": "me"})
    assert answer.http_version == sys.argv[2], answer.http_version
    print(answer.status_code, answer.text)
