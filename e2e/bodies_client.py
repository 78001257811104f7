"""Sends a body of as many bytes as the second argument says to the address in the first, with a bad credential.

The third argument is the file of the root certificate.

Sends all of the body before it reads the response, as requests does, three times over one session. Prints the statuses.
"""

import sys

import requests

url, size, root = sys.argv[1], int(sys.argv[2]), sys.argv[3]
session = requests.Session()
statuses = []
for _ in range(3):
    response = session.post(url, data=b"x" * size, headers={"Authorization": "token guess:guess"}, timeout=20, verify=root)
    statuses.append(str(response.status_code))
print(" ".join(statuses))
