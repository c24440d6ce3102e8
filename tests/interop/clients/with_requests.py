import os
import sys

import requests

file = os.environ.get("BODY_FILE")
with requests.Session() as session:
    for url in sys.argv[1:]:
        answer = session.post(url, data=open(file, "rb"), timeout=30) if file else session.get(url, timeout=30)
        print(answer.text, answer.status_code, sep="\t")
