package frappeauth_test

import (
	"net/http"
	"os"
	"testing"

	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// TestMain fails the test run if a secret was logged anywhere in it.
func TestMain(m *testing.M) { os.Exit(testutil.Main(m)) }

// Short names of what most of these tests use.
var (
	freeAddress        = testutil.FreeAddress
	portOf             = testutil.PortOf
	hashed             = testutil.Hash
	adapt              = testutil.Adapt
	clientWithoutMagic = testutil.Client
	h2cClient          = testutil.H2CClient
	corpus             = testutil.Corpus
	staticSite         = testutil.StaticSite
	newRecordedSite    = testutil.NewRecordedSite
	jsonSite           = testutil.JSONSite
	always             = testutil.Always
	countingSite       = testutil.CountingSite
	credentialOf       = testutil.CredentialOf
	answerOf           = testutil.Answer
	reply              = testutil.Reply
)

const (
	aliceKey     = testutil.AliceKey
	aliceSecret  = testutil.AliceSecret
	aliceToken   = testutil.AlicePair
	aliceBasic   = testutil.AliceBasic
	aliceBearer  = testutil.AliceBearer
	bobToken     = testutil.BobPair
	bobBearer    = testutil.BobBearer
	loggedUser   = testutil.LoggedUser
	getRoles     = testutil.GetRoles
	onMariaDB    = testutil.OnMariaDB
	onPostgreSQL = testutil.OnPostgreSQL
)

// runningCaddy is the Caddy of this process.
type runningCaddy struct {
	*testutil.Caddy

	t   testing.TB
	log string // file that everything is logged to
}

func runCaddy(t testing.TB, caddyfile string) *runningCaddy {
	t.Helper()
	c := testutil.RunCaddy(t, caddyfile)
	return &runningCaddy{Caddy: c, t: t, log: c.LogFile}
}

func (c *runningCaddy) load(caddyfile string)          { c.Load(caddyfile) }
func (c *runningCaddy) tryLoad(caddyfile string) error { return c.TryLoad(caddyfile) }
func (c *runningCaddy) logs() string                   { return c.Logs() }
func (c *runningCaddy) logged(what string) string      { return c.Logged(what) }

// response is a response, read whole.
type response struct {
	status int
	header http.Header
	body   string
}

func short(r testutil.Response) response {
	return response{status: r.Status, header: r.Header, body: r.Body}
}

func get(t testing.TB, url string, headers ...string) response {
	t.Helper()
	return short(testutil.Get(t, url, headers...))
}

func requestOver(t testing.TB, client *http.Client, method, url string, headers ...string) response {
	t.Helper()
	return short(testutil.RequestOver(t, client, method, url, headers...))
}

func rawRequest(t testing.TB, address, raw string) response {
	t.Helper()
	return short(testutil.RawRequest(t, address, raw))
}
