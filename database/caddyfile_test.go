package database

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// TestCaddyfile: what each subdirective becomes, and what each mistake is told.
func TestCaddyfile(t *testing.T) {
	for _, test := range []struct{ name, backend, want string }{
		{"site", "database /sites/erp", `{"backend":"database","site":"/sites/erp"}`},
		{"all", `database /sites/erp {
	poll_interval 500ms
	max_open_conns 8
	timeout 2s
	db_type postgres
	db_host db.internal
	db_port 5433
	db_socket /run/postgresql
	db_name n
	db_user caddy
	db_password {env.DB_PASSWORD}
	db_ssl_ca /ca.pem
	db_ssl_cert /cert.pem
	db_ssl_key /key.pem
	encryption_key {file./run/secrets/key}
}`, `{"backend":"database","db_host":"db.internal","db_name":"n","db_password":"{env.DB_PASSWORD}","db_port":"5433","db_socket":"/run/postgresql","db_ssl_ca":"/ca.pem","db_ssl_cert":"/cert.pem","db_ssl_key":"/key.pem","db_type":"postgres","db_user":"caddy","encryption_key":"{file./run/secrets/key}","max_open_conns":8,"poll_interval":500000000,"site":"/sites/erp","timeout":2000000000}`},
		{"without a site", "database {\ndb_name n\n}", `{"backend":"database","db_name":"n"}`},
		{"nothing", "database", "give the site's directory, such as /home/frappe/frappe-bench/sites/erp.example.com, or " +
			"db_name, db_password and encryption_key, at Caddyfile:3"},
		{"two sites", "database /sites/a /sites/b", "backend database: unexpected argument /sites/b; options go into a " +
			"block, at Caddyfile:3"},
		{"unknown", "database /sites/erp {\nhost x\n}", "backend database has no option host; did you mean db_host?, at " +
			"Caddyfile:4"},
		{"a slip", "database /sites/erp {\npoll_intervall 1s\n}", "backend database has no option poll_intervall; did " +
			"you mean poll_interval?, at Caddyfile:4"},
		{"twice", "database /sites/erp {\npoll_interval 1s\npoll_interval 2s\n}", "poll_interval is given twice, at " +
			"Caddyfile:5"},
		{"no value", "database /sites/erp {\npoll_interval\n}", "poll_interval needs a value, at Caddyfile:4"},
		{"two values", "database /sites/erp {\npoll_interval 1s 2s\n}", "poll_interval takes one value; quote it if it " +
			"contains spaces, at Caddyfile:4"},
		{"a block", "database /sites/erp {\npoll_interval 1s {\nx\n}\n}", "poll_interval takes no block, at Caddyfile:5"},
		{"no duration", "database /sites/erp {\npoll_interval soon\n}", "poll_interval: soon is not a duration; write " +
			"it as 30s, 5m or 1h, at Caddyfile:4"},
		{"a duration of 0", "database /sites/erp {\npoll_interval 0\n}", "poll_interval must not be 0; remove the line " +
			"to use the default, at Caddyfile:4"},
		{"too often", "database /sites/erp {\npoll_interval 1ms\n}", "poll_interval: 1ms is not between 100ms and 1m0s, " +
			"at Caddyfile:4"},
		{"old name of poll_interval", "database /sites/erp {\nrefresh 2s\n}", "backend database has no option refresh; " +
			"write poll_interval <duration>, at Caddyfile:4"},
		{"old name of max_open_conns", "database /sites/erp {\nmax_open 8\n}", "backend database has no option " +
			"max_open; write max_open_conns <n>, at Caddyfile:4"},
		{"no number", "database /sites/erp {\nmax_open_conns many\n}", "max_open_conns: many is not a positive whole " +
			"number, at Caddyfile:4"},
		{"too many", "database /sites/erp {\nmax_open_conns 1000\n}", "max_open_conns: 1000 is not between 1 and 100, " +
			"at Caddyfile:4"},
		{"too long", "database /sites/erp {\ntimeout 1h\n}", "timeout: 1h0m0s is not between 10ms and 1m0s, at Caddyfile:4"},
		{"unknown type", "database /sites/erp {\ndb_type postgresql\nroles\n}", `db_type "postgresql" is none of ` +
			`mariadb, postgres and sqlite, at Caddyfile:4`},
		{"no port", "database /sites/erp {\ndb_host a\ndb_port mysql\n}", "db_port is not a port number; write one from " +
			"1 to 65535, at Caddyfile:5"},
		{
			"placeholders", "database /sites/erp {\ndb_type {env.T}\ndb_port {env.P}\n}",
			`"db_port":"{env.P}","db_type":"{env.T}"`,
		},
		{"SQLite without a site", "database {\ndb_type sqlite\ndb_name n\n}", "give the site's directory, because it " +
			"contains SQLite's file, at Caddyfile:6"},
	} {
		t.Run(test.name, func(t *testing.T) {
			adapted, _, err := testutil.Adapt("http://localhost {\nfrappe_auth {\nbackend " + test.backend + "\n}\n}")
			if err != nil {
				if !strings.HasSuffix(err.Error(), test.want) {
					t.Errorf("%v, want %s", err, test.want)
				}
				return
			}
			if !json.Valid(adapted) || !strings.Contains(string(adapted), test.want) {
				t.Errorf("%s, want %s", adapted, test.want)
			}
		})
	}
}
