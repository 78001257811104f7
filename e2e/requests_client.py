"""The examples of Frappe's documentation page «Token Based Authentication», against the address in the first argument.

Prints one JSON object: for each example, the status and body, and the challenges of a refusal.
"""

import base64
import json
import sys

import requests

url = sys.argv[1]
api_key, api_secret, access_token = sys.argv[2:5]
answers = {}


def ask(name, authorization):
    response = requests.get(url, headers={"Authorization": authorization}, timeout=10)
    answers[name] = {
        "status": response.status_code,
        "body": response.text,
        "challenges": response.headers.get("WWW-Authenticate", ""),
    }


ask("token", "token %s:%s" % (api_key, api_secret))
ask("Bearer", "Bearer %s" % access_token)
# As the page has it, which under Python 3 sends b'...'.
pair = ("%s:%s" % (api_key, api_secret)).encode()
ask("Basic of the page", "Basic %s" % base64.b64encode(pair))
ask("Basic", "Basic %s" % base64.b64encode(pair).decode())

response = requests.get(url, auth=(api_key, api_secret), timeout=10)
answers["requests' own auth"] = {"status": response.status_code, "body": response.text, "challenges": ""}

print(json.dumps(answers))
