package frappeauth_test

import (
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
	runCaddy           = testutil.RunCaddy
	get                = testutil.Get
	requestOver        = testutil.RequestOver
	rawRequest         = testutil.RawRequest
)

const (
	aliceKey     = testutil.AliceKey
	aliceSecret  = testutil.AliceSecret
	aliceToken   = testutil.AlicePair
	byAlice      = "Authorization: " + testutil.AlicePair
	aliceBasic   = testutil.AliceBasic
	aliceBearer  = testutil.AliceBearer
	bobToken     = testutil.BobPair
	bobBearer    = testutil.BobBearer
	loggedUser   = testutil.LoggedUser
	getRoles     = testutil.GetRoles
	onMariaDB    = testutil.OnMariaDB
	onPostgreSQL = testutil.OnPostgreSQL
)
