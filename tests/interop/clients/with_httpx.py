import os
import sys

import httpx

file = os.environ.get("BODY_FILE")
with httpx.Client(http2=True, timeout=30) as client:
    for url in sys.argv[1:]:
        answer = client.post(url, content=open(file, "rb")) if file else client.get(url)
        print(answer.text, answer.status_code, answer.http_version, sep="\t")
