import sys
import urllib.request

request = urllib.request.Request(sys.argv[1], data=b'{"ask": "me"}', headers={"Content-Type": "application/json"})
with urllib.request.urlopen(request) as answer:
    print(answer.status, answer.read().decode())
