CREATE USER 'caddy'@'127.0.0.1' IDENTIFIED BY 'choose-a-password';
GRANT SELECT (name, api_key, enabled, full_name, user_type, modified) ON `tabUser` TO 'caddy'@'127.0.0.1';
GRANT SELECT (doctype, name, fieldname, password, encrypted) ON `__Auth` TO 'caddy'@'127.0.0.1';
GRANT SELECT (role, parent, parenttype) ON `tabHas Role` TO 'caddy'@'127.0.0.1';
GRANT SELECT (name, modified, disabled) ON `tabRole` TO 'caddy'@'127.0.0.1';
GRANT SELECT (name, access_token, user, client, scopes, status, expiration_time, modified) ON `tabOAuth Bearer Token` TO 'caddy'@'127.0.0.1';
GRANT SELECT (name, scopes, modified) ON `tabOAuth Client` TO 'caddy'@'127.0.0.1';
GRANT SELECT (deleted_doctype, deleted_name, creation, modified) ON `tabDeleted Document` TO 'caddy'@'127.0.0.1';
GRANT SELECT (doctype, field, value) ON `tabSingles` TO 'caddy'@'127.0.0.1';
