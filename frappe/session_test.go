package frappe_test

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/caddy-frappe/frappe-auth/frappe"
)

func TestParseSession(t *testing.T) {
	const recorded = "9ad565354bb223aa3823716186757d7be4fe776277ba2f174c156852"
	for _, test := range []struct {
		name    string
		cookies []string
		want    string // empty: none
	}{
		{"alone", []string{"sid=" + recorded}, recorded},
		{"among others", []string{"system_user=yes; sid=" + recorded + "; user_id=Administrator"}, recorded},
		{"without spaces", []string{"a=b;sid=abc;c=d"}, "abc"},
		{"with more spaces", []string{" a = b ;  sid\t=  abc  ; c"}, "abc"},
		{"in quotes", []string{`sid="abc"; a=b`}, "abc"},
		{"the first of two", []string{"sid=abc; sid=def"}, "abc"},
		{"the first of two, which is empty", []string{"sid=; sid=def"}, ""},
		{"the first of two, which is Guest", []string{"sid=Guest; sid=def"}, ""},
		{"the second header", []string{"a=b; c=d", "x=y; sid=abc"}, "abc"},
		{"two headers, which gunicorn joins with a comma", []string{"sid=abc", "sid=def"}, ""},
		{"first of a header that gunicorn joins to another cookie", []string{"a=b", "sid=abc"}, ""},
		{"within another value's quotes", []string{`a="b; sid=abc"; c=d`}, ""},
		{"after another value's quotes", []string{`a="b; \"sid=abc"; sid=def`}, "def"},
		{"after quotes that do not end", []string{`a="b; sid=abc`}, "abc"},
		{"after quotes with more behind them", []string{`a="b; sid=abc"d; sid=def`}, ""},
		{"none", nil, ""},
		{"an empty header", []string{""}, ""},
		{"no sid", []string{"a=b; asid=abc; sidx=abc; SID=abc"}, ""},
		{"sid without a value", []string{"sid"}, ""},
		{"sid without a value, before others", []string{"sid; a=b"}, ""},
		{"Guest", []string{"sid=Guest"}, ""},
		{"guest in lower case", []string{"sid=guest"}, ""},
		{"in capitals, which a logout does not end", []string{"sid=" + strings.ToUpper(recorded)}, ""},
		{"one capital", []string{"sid=abC"}, ""},
		{"Guest in quotes", []string{`sid="Guest"`}, ""},
		{"empty quotes", []string{`sid=""`}, ""},
		{"one quote", []string{`sid="abc`}, ""},
		{"escaped", []string{`sid="\141bc"`}, ""},
		{"percent-encoded", []string{"sid=%61bc"}, ""},
		{"not ASCII", []string{"sid=ab\xe9"}, ""},
		{"white space within", []string{"sid=a b"}, ""},
		{"as long as the column", []string{"sid=" + strings.Repeat("a", 255)}, strings.Repeat("a", 255)},
		{"too long", []string{"sid=" + strings.Repeat("a", 256)}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, ok := frappe.ParseSession(test.cookies)
			want := frappe.Credential{Scheme: frappe.SchemeSession, Session: test.want}
			if test.want == "" {
				want = frappe.Credential{}
			}
			if got != want || ok != (test.want != "") {
				t.Errorf("got %q, %t", got.Session, ok)
			}
		})
	}
}

// TestParseSessionLikeFrappe compares with the recorded answers of Frappe 15.44.2 behind gunicorn. In the recorded
// Cookie headers, {sid} stands for a valid session id, and other names stand for other spellings of it. Each character
// is one byte. A cookie that Frappe refused must not be read as that session.
func TestParseSessionLikeFrappe(t *testing.T) {
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
			accepted := ok && got.Session == sid
			if accepted && test.Status != 200 {
				t.Error("Frappe refuses this cookie")
			}
			if !accepted && test.Status == 200 {
				stricter++
			}
		})
	}
	// Escapes, capitals, and white space that is not ASCII, none of which a browser sends for Frappe's cookie.
	if stricter > 13 || len(cases) < 90 {
		t.Errorf("of %d headers, %d are refused that Frappe accepts", len(cases), stricter)
	}
}

// FuzzParseSession: no input makes the parser panic, and a returned session id can be sent in a Cookie header unquoted.
func FuzzParseSession(f *testing.F) {
	f.Add(`a="b; sid=x"; sid="y`)
	f.Add("sid=abc;sid=def")
	f.Fuzz(func(t *testing.T, header string) {
		got, ok := frappe.ParseSession([]string{header})
		again, sameOK := frappe.ParseSession([]string{"sid=" + got.Session})
		if ok != sameOK || got != again {
			t.Errorf("%q is parsed as %q, and that as %q", header, got.Session, again.Session)
		}
	})
}
