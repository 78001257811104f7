"""Asks the address in the first argument with requests, and each of the headers behind it.

Prints one JSON list: for each header, what a program gets or is told.
"""

import json
import sys

import requests

said = []
for header in sys.argv[2:]:
    response = requests.get(
        sys.argv[1] + "/api/method/frappe.auth.get_logged_user",
        headers={"Authorization": header},
        timeout=20,
    )
    try:
        response.raise_for_status()
        said.append("%d %s" % (response.status_code, response.json()["message"]))
    except requests.HTTPError as error:
        said.append("%s: %s" % (error, error.response.json()["exception"]))
print(json.dumps(said))
