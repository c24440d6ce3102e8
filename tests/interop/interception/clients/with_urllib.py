import os
import sys
from urllib.request import Request, urlopen

file = os.environ.get("BODY_FILE")
body = open(file, "rb").read() if file else None
for url in sys.argv[1:]:
    with urlopen(Request(url, body), timeout=30) as answer:
        print(answer.read().decode(), answer.status, sep="\t")
