GRANT SELECT (sid, user, sessiondata, lastupdate) ON `tabSessions` TO 'caddy'@'127.0.0.1';
GRANT SELECT (parent, defkey, defvalue) ON `tabDefaultValue` TO 'caddy'@'127.0.0.1';
GRANT SELECT (restrict_ip) ON `tabUser` TO 'caddy'@'127.0.0.1';
