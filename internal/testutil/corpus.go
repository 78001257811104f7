package testutil

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path"
	"strings"
	"testing"
)

// Credentials of users of the recorded site.
const (
	AliceKey    = "2c6245becaa0961"
	AliceSecret = "61066224add85e6"
	AlicePair   = "token 2c6245becaa0961:61066224add85e6"
	AliceBasic  = "Basic MmM2MjQ1YmVjYWEwOTYxOjYxMDY2MjI0YWRkODVlNg=="
	AliceToken  = "641cc7393fbf7e529b94837c181e81"
	AliceBearer = "Bearer " + AliceToken
	BobSecret   = "091f121aa6a0031"
	BobPair     = "token 5f200e7119f1d3c:091f121aa6a0031"
	BobBearer   = "Bearer 2d6f2973a9c21c820d549cdb01d1b3"
)

// The recorded sites.
const (
	OnMariaDB    = "15.44.2 on MariaDB"
	OnPostgreSQL = "15.44.2 on PostgreSQL"
	Version14    = "14.81.4 on MariaDB"
	Version16    = "16.4.1 on MariaDB"
	Version16Dev = "16.0.0-dev on MariaDB"
	Version17    = "17.0.0-dev on MariaDB"
)

// Recording is one case of authorization-corpus.json: what real Frappe sites answered to a header.
type Recording struct {
	Name          string                    `json:"name"`
	Authorization []string                  `json:"authorization"`
	Headers       map[string]string         `json:"headers"`
	Frappe        map[string]RecordedAnswer `json:"frappe"` // by site
}

// RecordedAnswer is the answer of a recorded site.
type RecordedAnswer struct {
	Status int     `json:"status"`
	User   *string `json:"user"`
}

const corpusFile = "testdata/authorization-corpus.json"

// Corpus returns all recordings.
func Corpus(t testing.TB) []Recording {
	t.Helper()
	var cases []Recording
	if err := json.Unmarshal(ReadFile(t, corpusFile), &cases); err != nil {
		t.Fatal(err)
	}
	if len(cases) < 60 {
		t.Fatalf("the corpus has only %d cases", len(cases))
	}
	return cases
}

// Answer returns a recorded answer, byte for byte.
func Answer(t testing.TB, name string) []byte {
	t.Helper()
	return ReadFile(t, path.Join("testdata/answers", name))
}

// ParsedAnswer returns a recorded answer, parsed.
func ParsedAnswer(t testing.TB, name string) Response {
	t.Helper()
	return readResponse(t, bytes.NewReader(Answer(t, name)))
}

func readResponse(t testing.TB, from io.Reader) Response {
	t.Helper()
	resp, err := http.ReadResponse(bufio.NewReader(from), nil)
	if err != nil {
		t.Fatal(err)
	}
	return whole(t, resp)
}

// StaticSite returns a static backend that lists the credentials of the corpus that the recorded site granted.
func StaticSite(t testing.TB) string {
	t.Helper()
	var lines strings.Builder
	seen := make(map[string]bool)
	for _, c := range Corpus(t) {
		user := c.Frappe[OnPostgreSQL].User
		if user == nil || len(c.Authorization) != 1 {
			continue
		}
		scheme, value, _ := strings.Cut(c.Authorization[0], " ")
		key, secret, _ := strings.Cut(value, ":")
		switch {
		case seen[value]:
		case scheme == "token":
			fmt.Fprintf(&lines, "token %s %s %q Employee\n", key, Hash(secret), *user)
		case scheme == "Bearer":
			fmt.Fprintf(&lines, "bearer %s %q\n", Hash(value), *user)
		}
		seen[value] = true
	}
	return "backend static {\n" + lines.String() + "}\n"
}
