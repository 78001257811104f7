package frappe_test

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/caddy-frappe/frappe-auth/frappe"
)

// TestCookiesAsFrappe: what Frappe 15.44.2 behind gunicorn answered to the Cookie headers of a file, in which {sid} stands for
// a session that is good, and other names for other spellings of it. Each character of the file is a byte. Whatever Frappe
// refuses is no session here, or another one.
func TestCookiesAsFrappe(t *testing.T) {
	const sid = "26720c89db3396755a8701ea70701a9160351dd163058b44bcb47497"
	raw, err := os.ReadFile("testdata/session-cookies.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []struct {
		Cookies []string
		Status  int
	}
	if err := json.Unmarshal(raw, &cases); err != nil {
		t.Fatal(err)
	}
	var escaped strings.Builder
	for i := range len(sid) {
		fmt.Fprintf(&escaped, `\%03o`, sid[i])
	}
	spell := strings.NewReplacer("{sid}", sid, "{capitals}", strings.ToUpper(sid), "{escaped}", escaped.String(),
		"{octal}", fmt.Sprintf(`\%03o`, sid[0])+sid[1:], "{percent}", fmt.Sprintf("%%%02x", sid[0])+sid[1:])
	stricter := 0
	for _, test := range cases {
		t.Run(strings.Join(test.Cookies, "|"), func(t *testing.T) {
			var headers []string
			for _, cookie := range test.Cookies {
				var header []byte
				for _, char := range cookie {
					header = append(header, byte(char))
				}
				headers = append(headers, spell.Replace(string(header)))
			}
			got, ok := frappe.ParseSession(headers)
			good := ok && got.Session == sid
			if good && test.Status != 200 {
				t.Error("Frappe refuses it")
			}
			if !good && test.Status == 200 {
				stricter++
			}
		})
	}
	// Escapes, capitals, and white space that is not ASCII, none of which a browser sends for Frappe's cookie.
	if stricter > 13 || len(cases) < 90 {
		t.Errorf("of %d headers, %d are refused that Frappe accepts", len(cases), stricter)
	}
}
