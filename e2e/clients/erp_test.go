package clients

import (
	"net/http"
	"testing"

	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

const (
	alice    = testutil.ERPUser
	password = testutil.ERPPassword
)

// erp is a double of a Frappe site that may be an OAuth provider.
type erp struct {
	*testutil.ERP
	oauth *oauth // nil where a test needs no access tokens
}

func newERP(t *testing.T) *erp {
	t.Helper()
	return newERPWith(t, nil)
}

func newERPWith(t *testing.T, o *oauth) *erp {
	t.Helper()
	e := &erp{oauth: o}
	e.ERP = testutil.NewERP(t, func(site *testutil.ERP, mux *http.ServeMux) {
		if o != nil {
			o.erp, site.Token = e, o.user
			o.register(mux)
		}
	})
	return e
}

// random returns a random session, code or token.
func random() string { return testutil.RandomID() }

// answer sends JSON as Frappe does.
func answer(w http.ResponseWriter, status int, body any) { testutil.AnswerJSON(w, status, body) }
