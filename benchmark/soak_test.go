package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"database/sql"
	"encoding/base64"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/fernet/fernet-go"
	"golang.org/x/net/websocket"
	_ "modernc.org/sqlite" // registers the driver
)

var (
	soakFor     = flag.Duration("soak", 6*time.Second, "how long TestSoak goes on")
	reloadEvery = flag.Duration("reload", time.Second, "how often TestSoak reloads the configuration")
)

const (
	soakTTL      = 2 * time.Second // of granted verdicts
	soakRefresh  = 200 * time.Millisecond
	soakPatience = 2 * time.Second // beyond which a change has to be seen, on a busy machine
)

// TestSoak drives a running Caddy with credentials that are good, bad, malformed, that expire and that are revoked, over
// HTTP/1.1, HTTP/2 and WebSocket, while it is reloaded again and again. No verdict may be wrong, nothing may leak, and
// memory has to stay as it is. For real: -soak 10m -reload 20s.
func TestSoak(t *testing.T) {
	s := newSoak(t)
	before := s.measure(25)
	ctx, cancel := context.WithTimeout(t.Context(), *soakFor)
	defer cancel()

	var wg sync.WaitGroup
	for range 6 {
		wg.Go(func() { s.mixedLoad(ctx) })
	}
	for _, life := range []func(context.Context, int){s.revokedByWebhook, s.revokedUntold, s.expiring, s.revokedInDatabase} {
		for range 2 {
			wg.Go(func() {
				for n := 0; ctx.Err() == nil; n++ {
					life(ctx, int(s.serial.Add(1)))
				}
			})
		}
	}
	wg.Go(func() { s.reload(ctx) })
	resident := s.watchMemory(ctx)
	wg.Wait()

	after := s.measure(before.goroutines + 5)
	t.Logf("%d reloads, %d connections that a reload reset, %d requests:", s.reloads.Load(), s.resets.Load(), s.total())
	s.counts.Range(func(kind, n any) bool {
		t.Logf("  %-50s %9d", kind, n.(*atomic.Int64).Load())
		return true
	})
	t.Logf("goroutines %d, then %d; heap %.1f MiB, then %.1f MiB", before.goroutines, after.goroutines, before.heap, after.heap)
	if after.goroutines > before.goroutines+5 {
		t.Errorf("goroutines leak: %d, then %d", before.goroutines, after.goroutines)
	}
	if after.heap > before.heap+16 {
		t.Errorf("memory leaks: %.1f MiB, then %.1f MiB", before.heap, after.heap)
	}
	if len(resident) >= 40 {
		second, last := median(resident[len(resident)/4:len(resident)/2]), median(resident[len(resident)*3/4:])
		t.Logf("resident memory: median %.1f MiB in the second quarter, %.1f MiB in the last", second, last)
		if last > second*1.1+8 {
			t.Errorf("resident memory grows: %.1f MiB, then %.1f MiB", second, last)
		}
	}
}

// soak is a running Caddy with a Frappe site behind it and the database of another.
type soak struct {
	*testing.T
	admin, bySite, byDatabase string // addresses
	site, app                 *httptest.Server
	directory                 string // of the site with a database
	db                        *sql.DB
	clients                   []soakClient
	transports                []*http.Transport

	mu      sync.RWMutex
	granted map[string]string // what the site grants: Authorization to user

	serial, reloads, resets atomic.Int64
	counts                  sync.Map // what was asked for, to how often
}

func newSoak(t *testing.T) *soak {
	t.Helper()
	s := &soak{T: t, granted: make(map[string]string), directory: filepath.Join(t.TempDir(), "erp.example.com")}
	s.site = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.RLock()
		user, ok := s.granted[r.Header.Get("Authorization")]
		s.mu.RUnlock()
		w.Header().Set("Content-Type", "application/json")
		if !ok {
			w.WriteHeader(http.StatusUnauthorized)
			io.WriteString(w, "{}")
			return
		}
		fmt.Fprintf(w, `{"message": %q}`, user)
	}))
	t.Cleanup(s.site.Close)
	echo := websocket.Server{Handler: func(conn *websocket.Conn) {
		io.WriteString(conn, conn.Request().Header.Get("X-User"))
		io.Copy(conn, conn)
	}}
	s.app = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") == "websocket" {
			echo.ServeHTTP(w, r)
			return
		}
		io.WriteString(w, r.Header.Get("X-User"))
	}))
	t.Cleanup(s.app.Close)
	s.createDatabase()

	var free ports
	free.given = make(map[int]bool)
	for _, address := range []*string{&s.admin, &s.bySite, &s.byDatabase} {
		port, err := free.free(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		*address = "127.0.0.1:" + strconv.Itoa(port)
	}
	s.startCaddy()

	var h2c http.Protocols
	h2c.SetUnencryptedHTTP2(true)
	s.clients = []soakClient{
		{"HTTP/1.1", s.overHTTP(&http.Transport{MaxIdleConnsPerHost: 64})},
		{"HTTP/2", s.overHTTP(&http.Transport{Protocols: &h2c})},
		{"WebSocket", overWebSocket},
	}
	for n := range 10 {
		s.grant(fmt.Sprintf("Bearer good-%d", n), fmt.Sprintf("user%d@example.com", n))
		s.insertToken(fmt.Sprintf("good-%d", n), time.Now().Add(time.Hour))
	}
	return s
}

func (s *soak) createDatabase() {
	if err := os.MkdirAll(filepath.Join(s.directory, "db"), 0o700); err != nil {
		s.Fatal(err)
	}
	var key fernet.Key
	if err := key.Generate(); err != nil {
		s.Fatal(err)
	}
	conf := fmt.Sprintf(`{"db_type": "sqlite", "db_name": "_site", "encryption_key": %q}`, key.Encode())
	if err := os.WriteFile(filepath.Join(s.directory, "site_config.json"), []byte(conf), 0o600); err != nil {
		s.Fatal(err)
	}
	var err error
	s.db, err = sql.Open("sqlite", "file:"+filepath.Join(s.directory, "db", "_site.db")+"?_pragma=journal_mode(WAL)&_pragma=busy_timeout(5000)&_pragma=synchronous(0)")
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { s.db.Close() })
	for _, statement := range []string{
		`CREATE TABLE "tabUser" ("name", "api_key", "enabled" int, "full_name", "user_type", "modified")`,
		`CREATE TABLE "__Auth" ("doctype", "name", "fieldname", "password", "encrypted" int)`,
		`CREATE TABLE "tabHas Role" ("role", "parent", "parenttype")`,
		`CREATE TABLE "tabRole" ("name")`,
		`CREATE TABLE "tabOAuth Bearer Token" ("name" PRIMARY KEY, "user", "client", "scopes", "status", "expiration_time", "modified")`,
		`CREATE TABLE "tabOAuth Client" ("name", "scopes", "modified")`,
		`CREATE TABLE "tabDeleted Document" ("deleted_doctype", "deleted_name", "modified")`,
		`CREATE TABLE "tabSingles" ("doctype", "field", "value")`,
		`CREATE INDEX "users" ON "tabUser" ("name")`,
		`CREATE INDEX "tokens" ON "tabOAuth Bearer Token" ("modified")`,
		`INSERT INTO "tabUser" VALUES ('alice@example.com', NULL, 1, 'Alice', 'System User', '2026-01-01 00:00:00.000000')`,
		`INSERT INTO "tabOAuth Client" VALUES ('client', 'all', '2026-01-01 00:00:00.000000')`,
		`INSERT INTO "tabSingles" VALUES ('System Settings', 'time_zone', 'UTC')`,
	} {
		s.exec(statement)
	}
}

// startCaddy builds the Caddy of this project and runs it until the test ends.
func (s *soak) startCaddy() {
	dir := s.TempDir()
	binary := filepath.Join(dir, "caddy")
	build := exec.CommandContext(s.Context(), "go", "build", "-o", binary, "../cmd/caddy")
	if out, err := build.CombinedOutput(); err != nil {
		s.Fatalf("%v\n%s", err, out)
	}
	config := filepath.Join(dir, "Caddyfile")
	if err := os.WriteFile(config, []byte(s.caddyfile(0)), 0o600); err != nil {
		s.Fatal(err)
	}
	p, err := start("Caddy", exec.Command(binary, "run", "--config", config), dir, nil, syscall.SIGINT)
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() {
		p.stop()
		if s.Failed() {
			output := regexp.MustCompile(`(?m)^.*cleanup: write tcp.*$\n`).ReplaceAllString(string(p.output())+"\n", "") // of WebSockets that a reload closes
			s.Logf("%s", output)
		}
	})
	if err := p.await(s.Context(), s.byDatabase); err != nil {
		s.Fatal(err)
	}
}

// caddyfile is the configuration after so many reloads: mostly with the same backends, whose verdicts outlive the reload,
// and every third time with others.
func (s *soak) caddyfile(n int) string {
	return fmt.Sprintf(`
{
	admin %s
	persist_config off
	metrics
	log {
		level ERROR
	}
	servers {
		protocols h1 h2c
	}
}
http://%s {
	frappe_auth_webhook /hook s3cret
	frappe_auth {
		backend site %s {
			timeout %ds
		}
		cache {
			size %d
			ttl %s
			negative_ttl 1s
		}
		failures off
	}
	reverse_proxy %s {
		header_up X-User {http.auth.user.id}
		transport http {
			keepalive off
		}
	}
}
http://%s {
	frappe_auth {
		backend database %s {
			poll_interval %s
			timeout %ds
		}
		cache {
			size 1000
		}
		failures off
	}
	reverse_proxy %[7]s {
		header_up X-User {http.auth.user.id}
		transport http {
			keepalive off
		}
	}
}`, s.admin, s.bySite, s.site.URL, 10+n/3%2, 1000+n%2, soakTTL, strings.TrimPrefix(s.app.URL, "http://"),
		s.byDatabase, s.directory, soakRefresh, 10+n/3%2)
}

// reload reloads the configuration again and again.
func (s *soak) reload(ctx context.Context) {
	ticker := time.NewTicker(*reloadEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		s.reloadOnce()
	}
}

func (s *soak) reloadOnce() {
	config := s.caddyfile(int(s.reloads.Add(1)))
	resp, err := http.Post("http://"+s.admin+"/load", "text/caddyfile", strings.NewReader(config))
	if err != nil {
		s.Errorf("reload: %v", err)
		return
	}
	defer resp.Body.Close()
	if body, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusOK {
		s.Errorf("reload: %d %s", resp.StatusCode, body)
	}
}

// soakClient sends a request with an Authorization header, and returns the status and the user that the application saw.
type soakClient struct {
	name string
	ask  func(ctx context.Context, address, authorization string) (status int, user string, err error)
}

func (s *soak) overHTTP(transport *http.Transport) func(context.Context, string, string) (int, string, error) {
	s.transports = append(s.transports, transport)
	return func(ctx context.Context, address, authorization string) (int, string, error) {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address, nil)
		if err != nil {
			return 0, "", err
		}
		if authorization != "" {
			r.Header.Set("Authorization", authorization)
		}
		resp, err := transport.RoundTrip(r)
		if err != nil {
			return 0, "", err
		}
		defer resp.Body.Close()
		user, err := io.ReadAll(resp.Body)
		return resp.StatusCode, string(user), err
	}
}

// overWebSocket opens a WebSocket, has a message echoed, and closes it.
func overWebSocket(ctx context.Context, address, authorization string) (int, string, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return 0, "", err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	header := "GET / HTTP/1.1\r\nHost: " + address + "\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nOrigin: http://" + address + "\r\n"
	if authorization != "" {
		header += "Authorization: " + authorization + "\r\n"
	}
	if _, err := io.WriteString(conn, header+"\r\n"); err != nil {
		return 0, "", err
	}
	reader := bufio.NewReader(conn)
	resp, err := http.ReadResponse(reader, nil)
	if err != nil {
		return 0, "", err
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		return resp.StatusCode, "", nil
	}
	user, err := readFrame(reader)
	if err != nil {
		return 0, "", err
	}
	// A text frame of a client is masked (RFC 6455 section 5.3); a mask of zeros leaves it as it is.
	if _, err := conn.Write(append([]byte{0x81, 0x80 | 5, 0, 0, 0, 0}, "hello"...)); err != nil {
		return 0, "", err
	}
	if echoed, err := readFrame(reader); err != nil || echoed != "hello" {
		return 0, "", fmt.Errorf("echoed %q: %w", echoed, errors.Join(err, io.ErrUnexpectedEOF))
	}
	return http.StatusOK, user, nil
}

// readFrame reads a short frame of a server.
func readFrame(r *bufio.Reader) (string, error) {
	head := make([]byte, 2)
	if _, err := io.ReadFull(r, head); err != nil {
		return "", err
	}
	payload := make([]byte, head[1]&0x7f)
	_, err := io.ReadFull(r, payload)
	return string(payload), err
}

// ask sends a request over one of the protocols, again where a reload reset the connection.
func (s *soak) ask(ctx context.Context, kind, address, authorization string) (status int, user string) {
	client := s.clients[rand.IntN(len(s.clients))]
	counter, _ := s.counts.LoadOrStore(kind+" over "+client.name, new(atomic.Int64))
	counter.(*atomic.Int64).Add(1)
	var err error
	for range 20 {
		if status, user, err = client.ask(s.Context(), address, authorization); err == nil {
			return status, user
		}
		s.resets.Add(1)
		if ctx.Err() != nil {
			return 0, ""
		}
	}
	s.Errorf("%s over %s: %v", kind, client.name, err)
	return 0, ""
}

// expect reports an answer that is not what it has to be.
func (s *soak) expect(ctx context.Context, kind, address, authorization string, wantStatus int, wantUser string) {
	if status, user := s.ask(ctx, kind, address, authorization); status != 0 && (status != wantStatus || status == 200 && user != wantUser) {
		s.Errorf("%s: %d %q, want %d %q", kind, status, user, wantStatus, wantUser)
	}
}

func (s *soak) total() (n int64) {
	s.counts.Range(func(_, count any) bool {
		n += count.(*atomic.Int64).Load()
		return true
	})
	return n
}

// mixedLoad asks with credentials of which nothing changes.
func (s *soak) mixedLoad(ctx context.Context) {
	malformed := []string{"nonsense", "token a", "token a:b:c", "token  a:b", "Basic ====", "Basic b'YTpi'", "Digest a:b", "Bearer"}
	for ctx.Err() == nil {
		n := rand.IntN(10)
		good, user := fmt.Sprintf("Bearer good-%d", n), fmt.Sprintf("user%d@example.com", n)
		address := s.bySite
		if rand.IntN(2) == 0 {
			address, user = s.byDatabase, "alice@example.com"
		}
		switch rand.IntN(5) {
		case 0:
			s.expect(ctx, "bad", address, fmt.Sprintf("Bearer bad-%d", s.serial.Add(1)), 401, "")
		case 1:
			s.expect(ctx, "malformed", address, malformed[rand.IntN(len(malformed))], 401, "")
		case 2:
			s.expect(ctx, "none", address, "", 401, "")
		default:
			s.expect(ctx, "good", address, good, 200, user)
		}
	}
}

func (s *soak) grant(authorization, user string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.granted[authorization] = user
}

func (s *soak) revoke(authorization string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.granted, authorization)
}

// revokedByWebhook: after the delivery was taken, no request gets in.
func (s *soak) revokedByWebhook(ctx context.Context, n int) {
	token := fmt.Sprintf("webhook-%d", n)
	s.grant("Bearer "+token, "alice@example.com")
	for range 20 {
		s.expect(ctx, "good, to be revoked by a webhook", s.bySite, "Bearer "+token, 200, "alice@example.com")
	}
	s.revoke("Bearer " + token)
	if err := s.deliver(ctx, token); err != nil {
		if ctx.Err() == nil {
			s.Errorf("webhook: %v", err)
		}
		return
	}
	for range 10 {
		s.expect(ctx, "revoked by a webhook", s.bySite, "Bearer "+token, 401, "")
	}
}

// deliver delivers Frappe's webhook of a token.
func (s *soak) deliver(ctx context.Context, token string) error {
	body := fmt.Appendf(nil, `{"doctype": "OAuth Bearer Token", "name": %q}`, token)
	mac := hmac.New(sha256.New, []byte("s3cret"))
	mac.Write(body)
	var err error
	for range 20 { // Frappe repeats what was not taken
		var r *http.Request
		if r, err = http.NewRequestWithContext(ctx, http.MethodPost, "http://"+s.bySite+"/hook", bytes.NewReader(body)); err != nil {
			return err
		}
		r.Header.Set("X-Frappe-Webhook-Signature", base64.StdEncoding.EncodeToString(mac.Sum(nil)))
		var resp *http.Response
		if resp, err = http.DefaultClient.Do(r); err != nil {
			s.resets.Add(1)
			continue
		}
		resp.Body.Close()
		if resp.StatusCode == http.StatusNoContent {
			return nil
		}
		err = fmt.Errorf("status %d", resp.StatusCode)
	}
	return err
}

// revokedUntold: what nobody tells Caddy, it finds out when the ttl is over.
func (s *soak) revokedUntold(ctx context.Context, n int) {
	authorization := "Basic " + base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "key%d:secret", n))
	s.grant(authorization, "bob@example.com")
	for range 20 {
		s.expect(ctx, "good, to be revoked untold", s.bySite, fmt.Sprintf("token key%d:secret", n), 200, "bob@example.com")
	}
	s.revoke(authorization)
	over := time.Now().Add(soakTTL + soakPatience)
	s.useUntil(ctx, over, "revoked untold, within the ttl", s.bySite, authorization, "bob@example.com")
	for range 5 {
		if ctx.Err() != nil {
			return // before the time was over
		}
		s.expect(ctx, "revoked untold, after the ttl", s.bySite, authorization, 401, "")
	}
}

// useUntil uses a credential that may get in or not until then.
func (s *soak) useUntil(ctx context.Context, until time.Time, kind, address, authorization, wantUser string) {
	for time.Now().Before(until) && ctx.Err() == nil {
		if status, user := s.ask(ctx, kind, address, authorization); status != 0 && status != 401 && (status != 200 || user != wantUser) {
			s.Errorf("%s: %d %q", kind, status, user)
		}
	}
}

const soakTime = "2006-01-02 15:04:05.000000"

func (s *soak) exec(statement string, args ...any) {
	if _, err := s.db.ExecContext(s.Context(), statement, args...); err != nil {
		s.Errorf("%s: %v", statement, err)
	}
}

func (s *soak) insertToken(name string, expires time.Time) {
	s.exec(`INSERT INTO "tabOAuth Bearer Token" VALUES (?, 'alice@example.com', 'client', 'all', 'Active', ?, ?)`,
		name, expires.UTC().Format(soakTime), time.Now().UTC().Format(soakTime))
}

// expiring: an access token gets in until the moment it expires, and not after it.
func (s *soak) expiring(ctx context.Context, n int) {
	token := fmt.Sprintf("expiring-%d", n)
	expires := time.Now().Add(time.Second + rand.N(2*time.Second)).Truncate(time.Microsecond)
	s.insertToken(token, expires)
	for ctx.Err() == nil {
		began := time.Now()
		status, user := s.ask(ctx, "expiring", s.byDatabase, "Bearer "+token)
		switch {
		case status == 0:
			return
		case status == 200 && user == "alice@example.com" && began.Before(expires):
		case status == 401 && !time.Now().Before(expires):
			if !began.Before(expires) {
				return // it was expired for the whole of the request, so it has ended
			}
		default:
			s.Errorf("expiring: %d %q, %s after its end", status, user, began.Sub(expires))
			return
		}
	}
}

// revokedInDatabase: what changes in the database is seen within poll_interval.
func (s *soak) revokedInDatabase(ctx context.Context, n int) {
	token := fmt.Sprintf("revoked-%d", n)
	s.insertToken(token, time.Now().Add(time.Hour))
	for range 20 {
		s.expect(ctx, "good, to be revoked in the database", s.byDatabase, "Bearer "+token, 200, "alice@example.com")
	}
	s.exec(`UPDATE "tabOAuth Bearer Token" SET "status" = 'Revoked', "modified" = ? WHERE "name" = ?`, time.Now().UTC().Format(soakTime), token)
	s.useUntil(ctx, time.Now().Add(soakRefresh+soakPatience), "revoked in the database, within poll_interval", s.byDatabase, "Bearer "+token, "alice@example.com")
	for range 5 {
		if ctx.Err() != nil {
			return // before the time was over
		}
		s.expect(ctx, "revoked in the database", s.byDatabase, "Bearer "+token, 401, "")
	}
}

// usage is what Caddy uses while nobody asks anything.
type usage struct {
	goroutines int
	heap       float64 // MiB, after a garbage collection
}

// measure reloads, and waits until what a load used is gone: connections need a while to end.
func (s *soak) measure(goroutines int) usage {
	s.reloadOnce()
	for _, address := range []string{s.bySite, s.byDatabase} {
		s.expect(s.Context(), "good", address, "Bearer good-1", 200, map[string]string{s.bySite: "user1@example.com", s.byDatabase: "alice@example.com"}[address])
	}
	for _, transport := range s.transports {
		transport.CloseIdleConnections()
	}
	for deadline := time.Now().Add(20 * time.Second); ; {
		s.get("/debug/pprof/heap?gc=1")
		metrics := s.get("/metrics")
		now := usage{goroutines: int(sample(metrics, "go_goroutines")), heap: sample(metrics, "go_memstats_heap_inuse_bytes") / (1 << 20)}
		if now.goroutines <= goroutines {
			return now
		}
		if time.Now().After(deadline) {
			s.Log(s.get("/debug/pprof/goroutine?debug=1"))
			return now
		}
	}
}

func (s *soak) get(path string) string {
	resp, err := http.Get("http://" + s.admin + path)
	if err != nil {
		return ""
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	return string(body)
}

// sample is the value of a metric without labels.
func sample(metrics, name string) float64 {
	match := regexp.MustCompile(`(?m)^` + name + ` (\S+)$`).FindStringSubmatch(metrics)
	if match == nil {
		return 0
	}
	value, _ := strconv.ParseFloat(match[1], 64)
	return value
}

// watchMemory samples the resident memory, in MiB, until ctx is done.
func (s *soak) watchMemory(ctx context.Context) []float64 {
	var resident []float64
	ticker := time.NewTicker(max(*soakFor/100, 100*time.Millisecond))
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return slices.DeleteFunc(resident, func(v float64) bool { return v == 0 })
		case <-ticker.C:
			resident = append(resident, sample(s.get("/metrics"), "process_resident_memory_bytes")/(1<<20))
		}
	}
}
