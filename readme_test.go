package frappeauth_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	frappeauth "github.com/caddy-frappe/frappe-auth"
	"github.com/caddy-frappe/frappe-auth/database"
	"github.com/caddy-frappe/frappe-auth/site"
)

func readme(t *testing.T) string {
	t.Helper()
	raw, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// blocks are the fenced blocks of a language.
func blocks(t *testing.T, language string) []string {
	t.Helper()
	var found []string
	for _, match := range regexp.MustCompile("(?ms)^ *```"+language+"\n(.*?)^ *```$").FindAllStringSubmatch(readme(t), -1) {
		found = append(found, match[1])
	}
	if len(found) == 0 {
		t.Fatalf("no %s in the README", language)
	}
	return found
}

// TestReadmeCaddyfiles: every Caddyfile of the README is adapted and provisioned.
func TestReadmeCaddyfiles(t *testing.T) {
	t.Setenv("FRAPPE_WEBHOOK_SECRET", "s3cret")
	for i, block := range blocks(t, "caddyfile") {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			block = strings.NewReplacer(
				"/var/log/caddy", t.TempDir(),
				"/home/frappe/frappe-bench/sites/erp.example.com", "database/testdata/mariadb-site",
			).Replace(block)
			adapted, warnings, err := adapt(block)
			if err != nil {
				t.Fatalf("%v in:\n%s", err, block)
			}
			for _, warning := range warnings {
				if !strings.Contains(warning.Message, "not formatted") {
					t.Errorf("%s in:\n%s", warning.Message, block)
				}
			}
			var config map[string]any
			if err := json.Unmarshal(adapted, &config); err != nil {
				t.Fatal(err)
			}
			// Certificates are not what is tested here, and would be asked for.
			for _, server := range config["apps"].(map[string]any)["http"].(map[string]any)["servers"].(map[string]any) {
				server.(map[string]any)["automatic_https"] = map[string]any{"disable": true}
			}
			delete(config["apps"].(map[string]any), "tls")
			withoutTLS, err := json.Marshal(config)
			if err != nil {
				t.Fatal(err)
			}
			parsed := new(caddy.Config)
			if err := json.Unmarshal(withoutTLS, parsed); err != nil {
				t.Fatal(err)
			}
			if err := caddy.Validate(parsed); err != nil {
				t.Errorf("%v in:\n%s", err, block)
			}
		})
	}
}

func TestReadmeJSON(t *testing.T) {
	for _, block := range blocks(t, "json") {
		if !json.Valid([]byte(block)) {
			t.Errorf("no JSON:\n%s", block)
		}
	}
}

// TestReadmeWebhookBodies: what the README has Frappe send is what the webhook takes.
func TestReadmeWebhookBodies(t *testing.T) {
	address := freeAddress(t)
	runCaddy(t, fmt.Sprintf("http://%s {\nfrappe_auth_webhook s3cret\n}", address))
	deliveries := 0
	for _, block := range blocks(t, "json") {
		if !strings.Contains(block, "doctype") {
			continue
		}
		deliveries++
		body := strings.NewReplacer("{{ doc.name }}", "x", "{{ doc.api_key or '' }}", "y").Replace(strings.TrimSpace(block))
		if got := deliver(t, "http://"+address, []byte(body), sign(body)); got.status != http.StatusNoContent {
			t.Errorf("%d %s for %s", got.status, got.body, body)
		}
	}
	if deliveries != 2 {
		t.Errorf("%d deliveries in the README", deliveries)
	}
}

// TestReadmeQuickStart: the curl lines of the README do what it says, on the example as it stands but for its ports.
func TestReadmeQuickStart(t *testing.T) {
	raw, err := os.ReadFile("Caddyfile.example")
	if err != nil {
		t.Fatal(err)
	}
	example, commands := string(raw), strings.Join(blocks(t, "sh"), "\n")
	for _, port := range []string{"8080", "8081", "8082"} {
		free := portOf(freeAddress(t))
		example = strings.ReplaceAll(example, "localhost:"+port, "localhost:"+free)
		commands = strings.ReplaceAll(commands, "localhost:"+port, "localhost:"+free)
	}
	runCaddy(t, example)
	lines := regexp.MustCompile(`(?m)^curl .*/whoami$`).FindAllString(commands, -1)
	if len(lines) != 3 {
		t.Fatalf("%d curl lines", len(lines))
	}
	for i, scheme := range []string{"token", "basic", "bearer"} {
		fields := strings.Fields(strings.ReplaceAll(lines[i], `"`, ""))
		url := fields[len(fields)-1]
		header := regexp.MustCompile(`Authorization: [^"]+`).FindString(lines[i])
		if header == "" {
			header = "Authorization: " + aliceBasic
		}
		if got := get(t, url, header); got.body != "You are alice@example.com, by "+scheme+".\n" {
			t.Errorf("%s: %d %q", lines[i], got.status, got.body)
		}
	}
}

// TestReadmeFail2ban: the filter matches the lines of refusals that a client is to blame for, with the client's address.
func TestReadmeFail2ban(t *testing.T) {
	address := freeAddress(t)
	c := runCaddy(t, fmt.Sprintf("http://%s {\nfrappe_auth {\n%s\nfailures 1 1m\n}\n}", address, staticSite(t)))
	get(t, "http://"+address, "Authorization: token x:y")
	get(t, "http://"+address, "Authorization: Bearer y")
	get(t, "http://"+address)
	c.logged("no credential")
	failregex := regexp.MustCompile(`(?m)^failregex = (.*)$`).FindStringSubmatch(readme(t))[1]
	filter := regexp.MustCompile(strings.ReplaceAll(failregex, "<HOST>", `([0-9a-f.:]+)`))
	matches := filter.FindAllStringSubmatch(c.logs(), -1)
	if len(matches) != 2 || matches[0][1] != "127.0.0.1" {
		t.Errorf("the filter matches %q in:\n%s", matches, c.logs())
	}
}

// TestReadmeOptions: the tables list every option that the configuration has.
func TestReadmeOptions(t *testing.T) {
	text := readme(t)
	for _, config := range []any{frappeauth.Handler{}, frappeauth.CacheConfig{}, frappeauth.Webhook{}, (*site.Backend)(nil), (*database.Backend)(nil)} {
		structure := reflect.TypeOf(config)
		if structure.Kind() == reflect.Pointer {
			structure = structure.Elem()
		}
		for _, name := range jsonNames(structure) {
			switch name {
			case "backends", "urls", "secret", "site", "match":
				continue // arguments
			case "handler_name":
				name = "handler" // which in JSON names the module
			}
			if !regexp.MustCompile("(?m)^\\| `(cache \\{ )?" + name + "\\b").MatchString(text) {
				t.Errorf("the README has no row for %s of %T", name, config)
			}
		}
	}
}

// TestReadmeGrants: the statements of the README are those that the tests of the database backend run.
func TestReadmeGrants(t *testing.T) {
	for i, kind := range []string{"mariadb", "postgres"} {
		tested, err := os.ReadFile("database/testdata/grants-" + kind + ".sql")
		if err != nil {
			t.Fatal(err)
		}
		if shown := blocks(t, "sql")[i]; shown != string(tested) {
			t.Errorf("the README has for %s\n%s", kind, shown)
		}
	}
}

// TestReadmeOutage: the table of the outage is what the drill recorded.
func TestReadmeOutage(t *testing.T) {
	drill, err := os.ReadFile("testdata/outage.txt")
	if err != nil {
		t.Fatal(err)
	}
	means := map[string][]string{
		"200": {"hit", "miss"}, "200, from the cache": {"hit"}, "200, stale": {"stale"}, "401": {"401"}, "503": {"503"},
	}
	rows := regexp.MustCompile(`(?m)^\| (\d+)(?: to (\d+)| on) \|(.*)\|$`).FindAllStringSubmatch(readme(t), -1)
	if len(rows) != 5 {
		t.Fatalf("%d rows", len(rows))
	}
	for _, line := range slices.Collect(strings.Lines(string(drill)))[1:] {
		fields := strings.Fields(line)
		at, _ := strconv.Atoi(fields[0])
		found := false
		for _, row := range rows {
			from, _ := strconv.Atoi(row[1])
			to, err := strconv.Atoi(row[2])
			if at < from || (err == nil && at > to) {
				continue
			}
			found = true
			for i, cell := range strings.Split(row[3], "|") {
				if got := fields[2+i]; !slices.Contains(means[strings.TrimSpace(cell)], got) {
					t.Errorf("second %d, client %d: %s, but the README says %s", at, i, got, cell)
				}
			}
		}
		if !found {
			t.Errorf("the README says nothing of second %d", at)
		}
	}
}

func jsonNames(structure reflect.Type) []string {
	var names []string
	for field := range structure.Fields() {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		switch {
		case field.Anonymous:
			names = append(names, jsonNames(field.Type)...)
		case field.IsExported() && name != "" && name != "-":
			names = append(names, name)
		}
	}
	return names
}
