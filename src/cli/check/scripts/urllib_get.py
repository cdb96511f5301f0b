import sys
import urllib.request

print("Python", sys.version.split()[0], flush=True)
try:
    urllib.request.urlopen(sys.argv[1], timeout=9).read()
except Exception as error:
    sys.exit(f"{type(error).__name__}: {error}")
