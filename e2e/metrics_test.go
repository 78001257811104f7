package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// watchedSites returns three sites whose requests move every metric: with a backend static, with a site that answers,
// and with a site that does not.
func watchedSites(t *testing.T) (sites string, addresses [3]string) {
	t.Helper()
	for i := range addresses {
		addresses[i] = testutil.FreeAddress(t)
	}
	return fmt.Sprintf(`
http://%s {
	frappe_auth_webhook /hook s3cret
	frappe_auth {
		%s
		require role "Report Manager"
		cache {
			size 2
		}
		failures 5 1h
	}
	respond ok
}
http://%s {
	frappe_auth {
		backend site %s
		anonymous
	}
	respond ok
}
http://%s {
	frappe_auth http://127.0.0.1:%s {
		name away
	}
	respond ok
}`, addresses[0], alice+"backend static {\nbearer "+testutil.Hash("of nobody")+" x\n}\n", addresses[1], siteDouble(t), addresses[2], testutil.FreePort(t)), addresses
}

// drive sends requests of every kind. Their answers are checked only the first time, as later ones differ.
func drive(t *testing.T, addresses [3]string, first bool) {
	t.Helper()
	files, site, away := "http://"+addresses[0], "http://"+addresses[1], "http://"+addresses[2]
	for _, request := range []struct {
		url, header string
		status      int
	}{
		{files, tokenHeader, 200},
		{files, tokenHeader, 200},
		{files, "Authorization: Basic MmM2MjQ1YmVjYWEwOTYxOjYxMDY2MjI0YWRkODVlNg==", 200},
		{files, bearerHeader, 200},
		{files, "X: y", 401},
		{files, "Authorization: nonsense", 401},
		{files, wrongHeader, 401},
		{files, wrongHeader, 401},
		{files, "Authorization: Bearer bad-token", 401},
		{files, "Authorization: Bearer bad-token-2", 401},
		{files, "Authorization: Bearer bad-token-3", 401},
		{files, "Authorization: Bearer bad-token-4", 401},
		{files, "Authorization: Bearer bad-token-5", 429},
		{site, "Authorization: Bearer good-token", 200},
		{site, "X: y", 200},
		{away, "Authorization: token key0:secret", 503},
		{away, "Authorization: token key1:secret", 503},
		{away, "Authorization: token key2:secret", 503},
		{away, "Authorization: token key3:secret", 503},
		{away, "Authorization: token key4:secret", 503},
		{away, "Authorization: token key5:secret", 503},
	} {
		if status, body := ask(t, "GET", request.url, "", request.header); status != request.status && first {
			t.Errorf("%s: %d %s, want %d", request.header, status, body, request.status)
		}
	}
	body := `{"doctype":"User","name":"alice@example.com"}`
	if status, _ := ask(t, "POST", files+"/hook", body,
		"X-Frappe-Webhook-Signature: ZO7Iaypk4RGe0YykB17YIQrK1s8d34F7k3bwiM4ksJA="); status != 204 {
		t.Errorf("webhook: %d", status)
	}
}

// scrape returns the metrics of frappe_auth, as `name{labels}` to value.
func (p *process) scrape() map[string]float64 {
	p.t.Helper()
	_, text := ask(p.t, "GET", "http://"+p.admin+"/metrics", "")
	samples := make(map[string]float64)
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), " "); ok && strings.HasPrefix(line, "caddy_frappe_auth_") {
			if i := strings.LastIndexByte(line, '}'); i > 0 { // label values may have spaces
				name, value = line[:i+1], strings.TrimSpace(line[i+1:])
			}
			number, err := strconv.ParseFloat(value, 64)
			if err != nil {
				p.t.Fatalf("%s: %v", line, err)
			}
			samples[name] = number
		}
	}
	return samples
}

// TestMetrics: every kind of request is counted once, under labels that clients cannot choose, across reloads, and only
// while metrics are on.
func TestMetrics(t *testing.T) {
	sites, addresses := watchedSites(t)
	p := start(t, "metrics", sites)
	if n := len(p.scrape()); n < 60 {
		t.Errorf("only %d series before the first request: rates would miss it", n)
	}
	drive(t, addresses, true)
	ask(t, "DELETE", "http://"+p.admin+"/frappe_auth/cache", "")
	want := map[string]float64{
		`caddy_frappe_auth_requests_total{outcome="granted",scheme="token"}`:               2,
		`caddy_frappe_auth_requests_total{outcome="granted",scheme="basic"}`:               1,
		`caddy_frappe_auth_requests_total{outcome="granted",scheme="bearer"}`:              2,
		`caddy_frappe_auth_requests_total{outcome="anonymous",scheme="none"}`:              1,
		`caddy_frappe_auth_requests_total{outcome="no_credential",scheme="none"}`:          1,
		`caddy_frappe_auth_requests_total{outcome="malformed",scheme="none"}`:              1,
		`caddy_frappe_auth_requests_total{outcome="denied",scheme="token"}`:                2,
		`caddy_frappe_auth_requests_total{outcome="denied",scheme="bearer"}`:               4,
		`caddy_frappe_auth_requests_total{outcome="throttled",scheme="bearer"}`:            1,
		`caddy_frappe_auth_requests_total{outcome="unknown_site",scheme="token"}`:          0,
		`caddy_frappe_auth_requests_total{outcome="unavailable",scheme="token"}`:           6,
		`caddy_frappe_auth_requests_total{outcome="client_gone",scheme="token"}`:           0,
		`caddy_frappe_auth_cache_lookups_total{result="hit"}`:                              2, // token and Basic are the same pair
		`caddy_frappe_auth_cache_lookups_total{result="hit_denied"}`:                       1,
		`caddy_frappe_auth_cache_lookups_total{result="miss"}`:                             14,
		`caddy_frappe_auth_cache_lookups_total{result="stale"}`:                            0,
		`caddy_frappe_auth_cache_entries{verdict="granted"}`:                               0, // the operator dropped them
		`caddy_frappe_auth_cache_max_entries{verdict="granted"}`:                           20002,
		`caddy_frappe_auth_cache_evictions_total{verdict="denied"}`:                        3,
		`caddy_frappe_auth_backend_calls_total{backend="site",outcome="granted"}`:          1,
		`caddy_frappe_auth_backend_calls_total{backend="site",outcome="unavailable"}`:      5,
		`caddy_frappe_auth_backend_calls_total{backend="static",outcome="granted"}`:        2,
		`caddy_frappe_auth_backend_calls_total{backend="static",outcome="denied"}`:         10, // two such backends
		`caddy_frappe_auth_backend_rejections_total{backend="site",reason="circuit_open"}`: 1,
		`caddy_frappe_auth_backend_breakers_open{backend="site"}`:                          1,
		`caddy_frappe_auth_backend_rejections_total{backend="site",reason="throttled"}`:    0,
		`caddy_frappe_auth_backend_breakers_open{backend="static"}`:                        0,
		`caddy_frappe_auth_backend_calls_in_flight{backend="site"}`:                        0,
		`caddy_frappe_auth_backend_call_duration_seconds_count{backend="site"}`:            6,
		`caddy_frappe_auth_backend_up{backend="site",handler=""}`:                          1,
		`caddy_frappe_auth_backend_up{backend="site",handler="away"}`:                      0,
		`caddy_frappe_auth_backend_up{backend="static",handler=""}`:                        1,
		`caddy_frappe_auth_failing_clients`:                                                1,
		`caddy_frappe_auth_revocations_total{source="webhook"}`:                            1,
		`caddy_frappe_auth_revocations_total{source="admin"}`:                              1,
	}
	compare := func(when string) {
		t.Helper()
		got := p.scrape()
		for name, value := range want {
			if found, ok := got[name]; !ok || found != value {
				t.Errorf("%s: %s is %v (%v), want %v", when, name, found, ok, value)
			}
		}
		for name := range got {
			for _, personal := range append([]string{"alice", "2c62", "bob@"}, secrets...) {
				if strings.Contains(name, personal) {
					t.Errorf("a label holds %s: %s", personal, name)
				}
			}
		}
	}
	compare("at first")
	p.reload("metrics", sites+"\n:"+testutil.FreePort(t)+" {\nrespond ok\n}")
	compare("after a reload")
	p.reload("", sites)
	if got := p.scrape(); len(got) != 0 {
		t.Errorf("metrics are off, but there are %v", got)
	}
}

// TestBackendUp: a dead site is seen without any traffic, and with one credential; one that lives is up.
func TestBackendUp(t *testing.T) {
	address, site := testutil.FreeAddress(t), testutil.NewRecordedSite(t, testutil.OnMariaDB)
	sites := fmt.Sprintf(`
http://%s {
	frappe_auth http://127.0.0.1:%s {
		name dead
	}
}
http://%s {
	frappe_auth %s {
		name well
	}
}`, address, testutil.FreePort(t), testutil.FreeAddress(t), site.URL)
	p := start(t, "metrics", sites)
	up := func(handler string) float64 {
		return p.scrape()[`caddy_frappe_auth_backend_up{backend="site",handler="`+handler+`"}`]
	}
	testutil.Eventually(t, "the dead site is seen", func() bool { return up("dead") == 0 })
	if up("well") != 1 {
		t.Error("a site that answers is not up")
	}
	p.reload("metrics", sites+"\n:"+testutil.FreePort(t)+" {\nrespond ok\n}")
	if status, _ := ask(t, "GET", "http://"+address, "", tokenHeader); status != 503 || up("dead") != 0 {
		t.Errorf("after a reload and one request: status %d, up: %v", status, up("dead"))
	}
	for name := range p.scrape() {
		if strings.Contains(name, "last_verdict") {
			t.Errorf("%s without a verdict", name)
		}
	}
	var shown struct {
		Caches []struct{ Backends []struct{ Up bool } }
	}
	_, overview := ask(t, "GET", "http://"+p.admin+"/frappe_auth/", "")
	if err := json.Unmarshal([]byte(overview), &shown); err != nil || shown.Caches[0].Backends[0].Up ||
		!shown.Caches[1].Backends[0].Up {
		t.Errorf("%v in %s", err, overview)
	}
}

// TestStaleIsSeen: a site that dies while a single credential is in use, with stale_if_error, is down in the metrics
// and in the admin API, and the share of stale results is seen. Its breaker never opens.
func TestStaleIsSeen(t *testing.T) {
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"message": "alice@example.com"}`)
	}))
	defer site.Close()
	address := testutil.FreeAddress(t)
	p := start(t, "metrics", "http://"+address+" {\nfrappe_auth {\nbackend site "+site.URL+
		"\ncache {\nttl 100ms\nstale_if_error 1h\n}\n}\nrespond {http.auth.frappe.cache}\n}")
	const labels = `{backend="site",handler=""}`
	began := float64(time.Now().Unix())
	if status, cache := ask(t, "GET", "http://"+address, "", tokenHeader); status != 200 || cache != "miss" {
		t.Fatalf("%d %s", status, cache)
	}
	last := p.scrape()["caddy_frappe_auth_backend_last_verdict_timestamp_seconds"+labels]
	if last < began || last > began+60 {
		t.Errorf("the last verdict was at %v, not at %v", last, began)
	}
	site.Close()
	testutil.Eventually(t, "a stale result passes", func() bool {
		status, cache := ask(t, "GET", "http://"+address, "", tokenHeader)
		return status == 200 && cache == "stale"
	})
	now := p.scrape()
	for name, want := range map[string]float64{
		"caddy_frappe_auth_backend_up" + labels:                             0,
		"caddy_frappe_auth_backend_last_verdict_timestamp_seconds" + labels: last,
		`caddy_frappe_auth_cache_lookups_total{result="stale"}`:             1,
		`caddy_frappe_auth_backend_breakers_open{backend="site"}`:           0,
	} {
		if got, ok := now[name]; !ok || got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	var shown struct {
		Caches []struct {
			StaleRatio float64 `json:"stale_ratio"`
			Backends   []struct {
				Up         bool
				VerdictAge float64 `json:"verdict_age_seconds"`
			}
		}
	}
	_, overview := ask(t, "GET", "http://"+p.admin+"/frappe_auth/", "")
	if err := json.Unmarshal([]byte(overview), &shown); err != nil {
		t.Fatal(err)
	}
	c := shown.Caches[0]
	if c.StaleRatio <= 0 || c.StaleRatio >= 1 || c.Backends[0].Up || c.Backends[0].VerdictAge <= 0 {
		t.Errorf("the admin API shows %s", overview)
	}
}

// TestPromtool: promtool accepts the metrics and the alert rules, and the tests of the rules pass.
func TestPromtool(t *testing.T) {
	testutil.RequireCommand(t, "prometheus", "promtool", "--version")
	sites, addresses := watchedSites(t)
	shared, _ := sharingSite(t)
	p := start(t, "metrics", sites+shared)
	p.sharing()
	drive(t, addresses, true)
	_, text := ask(t, "GET", "http://"+p.admin+"/metrics", "")
	var ours strings.Builder // without Caddy's own metrics
	for line := range strings.Lines(text) {
		if strings.Contains(line, "caddy_frappe_auth_") {
			ours.WriteString(line)
		}
	}
	lint := exec.CommandContext(t.Context(), "promtool", "check", "metrics", "--extended")
	lint.Stdin = strings.NewReader(ours.String())
	if out, err := lint.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	for _, args := range [][]string{{"check", "rules", "alerts.yml"}, {"test", "rules", "alerts_test.yml"}} {
		check := exec.CommandContext(t.Context(), "promtool", args...)
		check.Dir = "../monitoring"
		if out, err := check.CombinedOutput(); err != nil {
			t.Errorf("%v: %v\n%s", args, err, out)
		}
	}
}

// TestMonitoring: with a real Prometheus, every query of the dashboard and of the alerts has an answer.
func TestMonitoring(t *testing.T) {
	testutil.RequireCommand(t, "prometheus", "prometheus", "--version")
	sites, addresses := watchedSites(t)
	// The database backend and the shared store have further metrics.
	database := testutil.FreeAddress(t)
	shared, _ := sharingSite(t)
	p := start(t, "metrics", sites+shared+"\nhttp://"+database+" {\nfrappe_auth {\nbackend database "+sqliteSite(t)+
		"\n}\nrespond ok\n}")
	if status, body := ask(t, "GET", "http://"+database, "", tokenHeader); status != 200 {
		t.Errorf("database: %d %s", status, body)
	}
	prometheus := startPrometheus(t, p.admin)

	panels := dashboard(t)
	drive(t, addresses, true)
	prometheus.scrapedTwice(t)
	drive(t, addresses, false)
	prometheus.fills(t, panels)
	for _, row := range panels {
		prometheus.fills(t, row.Panels)
	}
	rules, err := os.ReadFile("../monitoring/alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	names := regexp.MustCompile(`caddy_frappe_auth_\w+`).FindAllString(string(rules), -1)
	if alerts := strings.Count(string(rules), "- alert:"); alerts != 11 || len(names) < alerts {
		t.Errorf("%d alerts, %d metrics", alerts, len(names))
	}
	for _, name := range names {
		if len(prometheus.query(t, name)) == 0 {
			t.Errorf("no %s, of which an alert speaks", name)
		}
	}
}

// TestDashboardOfPlainSite: no panel is empty if there is only a site, besides those in rows that are closed.
func TestDashboardOfPlainSite(t *testing.T) {
	testutil.RequireCommand(t, "prometheus", "prometheus", "--version")
	address := testutil.FreeAddress(t)
	p := start(t, "metrics", "http://"+address+" {\nfrappe_auth "+siteDouble(t)+"\nrespond ok\n}")
	prometheus := startPrometheus(t, p.admin)
	drive := func() {
		for _, header := range []string{"Authorization: Bearer good-token", "Authorization: Bearer bad-token", "X: y"} {
			ask(t, "GET", "http://"+address, "", header)
		}
	}
	drive()
	prometheus.scrapedTwice(t)
	drive()
	prometheus.fills(t, dashboard(t))
}

// panel is a panel of the dashboard, or a row of panels that is closed.
type panel struct {
	Title   string
	Targets []struct{ Expr string }
	Panels  []panel
}

// dashboard returns the panels of the dashboard.
func dashboard(t *testing.T) []panel {
	t.Helper()
	raw, err := os.ReadFile("../monitoring/dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	var all panel
	if err := json.Unmarshal(raw, &all); err != nil {
		t.Fatal(err)
	}
	if len(all.Panels) < 10 {
		t.Errorf("only %d panels", len(all.Panels))
	}
	return all.Panels
}

// fills waits until every query of the panels has an answer.
func (s prometheusServer) fills(t *testing.T, panels []panel) {
	t.Helper()
	for _, panel := range panels {
		for _, target := range panel.Targets {
			query := strings.NewReplacer("$__rate_interval", "1m", "$instance", ".*").Replace(target.Expr)
			testutil.Eventually(t, fmt.Sprintf("%s: %s has an answer", panel.Title, query), func() bool {
				return slices.ContainsFunc(s.query(t, query), func(v float64) bool { return !math.IsNaN(v) })
			})
		}
	}
}

// scrapedTwice waits for two scrapes. Rates need them, with requests in between.
func (s prometheusServer) scrapedTwice(t *testing.T) {
	t.Helper()
	testutil.Eventually(t, "Prometheus has scraped twice", func() bool {
		return len(s.query(t, `count_over_time(caddy_frappe_auth_failing_clients[1m]) > 1`)) > 0
	})
}

// prometheusServer is a real Prometheus.
type prometheusServer struct{ address string }

func startPrometheus(t *testing.T, target string) prometheusServer {
	t.Helper()
	dir := t.TempDir()
	config := filepath.Join(dir, "prometheus.yml")
	rules, err := filepath.Abs("../monitoring/alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf("global:\n  scrape_interval: 1s\nrule_files: [%q]\nscrape_configs:\n- job_name: caddy\n"+
		"  static_configs:\n  - targets: [%q]\n", rules, target)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s := prometheusServer{address: testutil.FreeAddress(t)}
	var log bytes.Buffer
	ctx, cancel := context.WithCancel(context.Background())
	command := exec.CommandContext(ctx, "prometheus", "--config.file="+config,
		"--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+s.address)
	command.Stdout, command.Stderr = &log, &log
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		command.Wait() //nolint:errcheck // it was killed
		if t.Failed() {
			t.Log(log.String())
		}
	})
	testutil.Eventually(t, "Prometheus is ready", func() bool {
		resp, err := http.Get("http://" + s.address + "/-/ready")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
	return s
}

// query returns the values of an instant query.
func (s prometheusServer) query(t *testing.T, expr string) []float64 {
	t.Helper()
	_, body := ask(t, "GET", "http://"+s.address+"/api/v1/query?query="+url.QueryEscape(expr), "")
	var answer struct {
		Status string
		Error  string
		Data   struct{ Result []struct{ Value [2]any } }
	}
	if err := json.Unmarshal([]byte(body), &answer); err != nil || answer.Status != "success" {
		t.Fatalf("%s: %v %s", expr, err, body)
	}
	var values []float64
	for _, result := range answer.Data.Result {
		value, err := strconv.ParseFloat(fmt.Sprint(result.Value[1]), 64)
		if err != nil {
			t.Fatal(err)
		}
		values = append(values, value)
	}
	return values
}
