GRANT SELECT (sid, "user", sessiondata, lastupdate) ON "tabSessions" TO caddy;
GRANT SELECT (parent, defkey, defvalue) ON "tabDefaultValue" TO caddy;
GRANT SELECT (restrict_ip) ON "tabUser" TO caddy;
