import sys

try:
    import requests
except ImportError:
    sys.exit(86)

print(requests.__version__ + ", Python", sys.version.split()[0], flush=True)
try:
    requests.get(sys.argv[1], timeout=9).raise_for_status()
except Exception as error:
    sys.exit(f"{type(error).__name__}: {error}")
