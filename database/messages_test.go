package database

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestMessages: what is wrong with a path, a file or a number is said, with what to write.
func TestMessages(t *testing.T) {
	for _, test := range []struct{ name, config, want string }{
		{"broken", "{\n \"db_name\": \"n\",\n \"db_password\": \"s3cret\"\n \"db_type\": \"mariadb\"\n}", "site_config.json is not valid JSON, at line 4, column 2"},
		{"truncated", `{"db_password": "s3cret`, "site_config.json is not valid JSON, at line 1, column 23"},
		{"number", `{"db_name": 5}`, "site_config.json: db_name is not a string in quotes, at line 1, column 13"},
		{"array", `["s3cret"]`, "site_config.json is not a JSON object as Frappe writes it"},
		{"empty", ``, "site_config.json is not valid JSON, at line 1, column 1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "site_config.json"), []byte(test.config), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := readSiteConfig(dir); err == nil || !strings.HasSuffix(err.Error(), test.want) || strings.Contains(err.Error(), "s3cret") {
				t.Errorf("%v, want %s", err, test.want)
			}
		})
	}
	if _, err := readSiteConfig("/sites/erp/site_config.json"); err == nil || err.Error() != "/sites/erp/site_config.json is a file: give the site's directory, /sites/erp" {
		t.Errorf("the file in place of the directory: %v", err)
	}
	bench := t.TempDir()
	for _, dir := range []string{"sites/a.example.com", "sites/b.example.com", "sites/assets", "apps"} {
		if err := os.MkdirAll(filepath.Join(bench, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, site := range []string{"a", "b"} {
		if err := os.WriteFile(filepath.Join(bench, "sites", site+".example.com", "site_config.json"), []byte("{}"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	sites := "; these are the bench's sites: BENCH/sites/a.example.com, BENCH/sites/b.example.com"
	for dir, want := range map[string]string{
		"/sites/erp.example.com": "there is no directory BENCH/sites/erp.example.com" + sites,
		"/nowhere/erp":           "there is no directory BENCH/nowhere/erp; give the site's directory, such as " + exampleSite,
		"":                       "BENCH has no site_config.json" + sites,
		"/sites":                 "BENCH/sites has no site_config.json" + sites,
		"/sites/assets":          "BENCH/sites/assets has no site_config.json" + sites,
	} {
		_, err := readSiteConfig(bench + dir)
		if got := strings.ReplaceAll(fmt.Sprint(err), bench, "BENCH"); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
	for conf, want := range map[string]string{
		`{"site": "/s", "poll_interval": 60}`:         `poll_interval: 60ns is shorter than a millisecond; a bare number in JSON is nanoseconds, so write a text such as "60s"`,
		`{"site": "/s", "timeout": 5}`:                `timeout: 5ns is shorter than a millisecond; a bare number in JSON is nanoseconds, so write a text such as "60s"`,
		`{"site": "/s", "poll_interval": 1000000000}`: "",
		`{"site": "/s", "timeout": "-5s"}`:            "timeout: -5s is not between 10ms and 1m0s",
	} {
		b := new(Backend)
		if err := json.Unmarshal([]byte(conf), b); err != nil {
			t.Fatal(err)
		}
		if err := b.validate(); (want == "" && err != nil) || (want != "" && (err == nil || err.Error() != want)) {
			t.Errorf("%s: %v, want %s", conf, err, want)
		}
	}
}

// TestGrantsMissing: a user without grants, and with too few, is pointed to them, by verifications, by the log and by doctor.
func TestGrantsMissing(t *testing.T) {
	forEachServer(t, func(t *testing.T, kind string) {
		s := newSite(t, kind)
		s.createRoles(t)
		user := s.name + "_reader"
		at := map[string]string{"mariadb": user + "@'127.0.0.1'", "postgres": user}[kind]
		mustExec(t, s.admin, map[string]string{"mariadb": "CREATE USER " + at + " IDENTIFIED BY 'choose-a-password'", "postgres": "CREATE USER " + at + " PASSWORD 'choose-a-password'"}[kind])
		t.Cleanup(func() {
			if kind == "postgres" {
				mustExec(t, s.admin, "DROP OWNED BY "+user)
			}
			mustExec(t, s.admin, "DROP USER "+at)
		})
		b := provisioned(t, &Backend{Site: s.dir, DBUser: user, DBPassword: "choose-a-password", PollInterval: minPollInterval})
		logs := observed(b)
		advice := "run the GRANT statements of docs/database.md for user " + user
		if got := verdict(b, pair(s.creds.pairs["alice@example.com"])); !strings.Contains(got, advice) {
			t.Errorf("without grants: %s", got)
		}
		expect(t, b, "run the GRANT statements of docs/database.md for user _site_reader")

		raw, err := os.ReadFile("testdata/grants-" + kind + ".sql")
		if err != nil {
			t.Fatal(err)
		}
		var grants, ofUsers []string
		for line := range strings.SplitSeq(strings.ReplaceAll(strings.ReplaceAll(string(raw), "'caddy'@'127.0.0.1'", at), "caddy", user), "\n") {
			switch {
			case strings.HasPrefix(line, "CREATE USER"), strings.Contains(line, "tabDeleted Document"), line == "":
			case strings.Contains(line, "tabUser"):
				ofUsers = append(ofUsers, line)
			default:
				grants = append(grants, strings.Replace(line, "(name, modified, disabled)", "(name)", 1)) // of tabRole
			}
		}
		// A poll may come between two statements. Without tabUser it fails, and does not log what else is missing.
		for _, statement := range slices.Concat(grants, ofUsers) {
			mustExec(t, s.admin, statement)
		}
		b.source.waitForPoll(t)
		if got := verdict(b, pair(s.creds.pairs["alice@example.com"])); got != "alice@example.com" {
			t.Errorf("with most grants: %s", got)
		}
		for _, missing := range []string{"tabRole: no modified, disabled, or its user may not read it", "tabDeleted Document: no deleted_doctype, deleted_name, modified, or its user may not read it"} {
			expect(t, b, "warning tables: "+missing)
			if n := len(logs.FilterMessageSnippet("not all of the site's tables").All()); n != 1 || !strings.Contains(fmt.Sprint(logs.FilterMessageSnippet("not all").All()[0].ContextMap()), missing) {
				t.Errorf("%q is logged %d times", missing, n)
			}
		}
	})
}
