"""Makes a user of a real Frappe site for a test of logins, and removes the user at the end.

Runs in the directory sites of a bench, with the bench's Python. The arguments are the site, and the user's name,
password and role. Each line of the input is a command, a JSON list, and is answered with one line of JSON.
"""

import json
import os
import signal
import sys

answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # Frappe prints

import frappe
import pyotp
from frappe import twofactor
from frappe.utils.password import update_password

site, user, password, role = sys.argv[1:]
signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # the user is removed all the same
SECOND_FACTOR = ("enable_two_factor_auth", "two_factor_method")


def create():
    frappe.get_doc({"doctype": "Role", "role_name": role, "desk_access": 1}).insert()
    roles = [{"role": role}, {"role": "Report Manager"}]  # who loses the role is still a user of Desk
    frappe.get_doc({
        "doctype": "User", "email": user, "first_name": "Alice", "enabled": 1, "send_welcome_email": 0, "roles": roles,
    }).insert()
    update_password(user, password)
    twofactor.set_default(user + "_otplogin", 1)  # the app is set up


def remove():
    frappe.delete_doc("User", user, force=True, delete_permanently=True)
    frappe.delete_doc("Role", role, force=True, delete_permanently=True)
    twofactor.clear_default(user + "_otplogin")
    twofactor.clear_default(user + "_otpsecret")


def version():
    return frappe.__version__


def sessions():
    return frappe.db.sql("select count(*) from `tabSessions` where `user` = %s", user)[0][0]


def set_role(has):
    doc = frappe.get_doc("User", user)
    doc.add_roles(role) if has else doc.remove_roles(role)


def set_enabled(enabled):
    doc = frappe.get_doc("User", user)
    doc.enabled = int(enabled)
    doc.save()


def set_settings(values):
    for field, value in values.items():
        frappe.db.set_single_value("System Settings", field, value)
    frappe.db.set_value("Role", role, "two_factor_auth", 1)
    frappe.clear_cache()


def require_code():
    """Requires a second factor of everybody with the role."""
    set_settings(dict(zip(SECOND_FACTOR, (1, "OTP App"))))


def code():
    return pyotp.TOTP(twofactor.get_otpsecret_for_(user)).now()


def run(command, *args):
    frappe.init(site=site)
    frappe.connect()
    frappe.set_user("Administrator")
    frappe.flags.in_import = frappe.flags.mute_emails = True
    try:
        answer = command(*args)
        frappe.db.commit()
        return answer
    finally:
        frappe.destroy()


commands = {f.__name__: f for f in (version, sessions, set_role, set_enabled, require_code, code)}
before = run(lambda: {field: frappe.db.get_single_value("System Settings", field) for field in SECOND_FACTOR})
run(create)
try:
    for line in sys.stdin:
        name, *args = json.loads(line)
        print(json.dumps(run(commands[name], *args)), file=answers, flush=True)
finally:
    run(set_settings, before)
    run(remove)
