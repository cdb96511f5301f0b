import sys
import requests

answer = requests.post(sys.argv[1], json={"ask": "me"})
print(answer.status_code, answer.text)
