package redis

import (
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// TestLimits: an answer is refused before the library makes room for it, in whatever parts it arrives.
func TestLimits(t *testing.T) {
	store := limits{bulk: 100, answers: 1000}
	bulk := func(kind string, length int) string {
		return kind + strings.Repeat("0", length%7) + "10\r\n" + strings.Repeat("x", 10) + "\r\n"
	}
	for _, test := range []struct {
		name, answer string
		limits       limits
		want         bool
	}{
		{"a status", "+OK\r\n", store, true},
		{"nothing", "$-1\r\n*-1\r\n_\r\n", store, true},
		{"a value", "$100\r\n" + strings.Repeat("x", 100) + "\r\n+OK\r\n", store, true},
		{"an empty value", "$0\r\n\r\n$0\r\n\r\n", store, true},
		{"a value that looks like a length", "$12\r\n\r\n$99999999\r\n\r\n", store, true},
		{"padded lengths", bulk("$", 3) + bulk("=", 5), store, true},
		{"parts of a value", "$?\r\n;4\r\nabcd\r\n;0\r\n+OK\r\n", store, true},
		{"a number", ":9223372036854775807\r\n", store, true},
		{"a number that is too big", "(3492890328409238509324850943850943825024385\r\n", store, false}, // Redis sends none
		{"a long status", "+" + strings.Repeat("9", 500) + "\r\n", store, false},
		{"a long value", "$101\r\n", store, false},
		{"a long error", "!101\r\n", store, false},
		{"a long text", "=101\r\n", store, false},
		{"a long part", "$?\r\n;101\r\n", store, false},
		{"a value that no memory can hold", "$9223372036854775807\r\n", store, false},
		{"a length that is no number", "$99999999999999999999999\r\n", store, false},
		{"a long value in a list", "*2\r\n$1\r\nx\r\n$101\r\n", store, false},
		{"many elements", "*65537\r\n", store, false},
		{"many pairs", "%65537\r\n", store, false},
		{"many values", strings.Repeat("$10\r\n0123456789\r\n", 15), store, false},
		{"many numbers", strings.Repeat(":1\r\n", 20), store, false},
		{"many messages", strings.Repeat("$10\r\n0123456789\r\n", 1000), limits{bulk: 100}, true},
	} {
		for name, in := range map[string]func(io.Reader) io.Reader{"at once": func(r io.Reader) io.Reader { return r }, "byte by byte": iotest.OneByteReader} {
			t.Run(test.name+", "+name, func(t *testing.T) {
				c := &limitedConn{Conn: &readConn{reader: in(strings.NewReader(test.answer))}, limits: test.limits}
				got, err := io.ReadAll(c)
				if test.want && (err != nil || string(got) != test.answer) || !test.want && !errors.Is(err, errAnswer) {
					t.Errorf("%q, %v", got, err)
				}
			})
		}
	}
	t.Run("a command", func(t *testing.T) {
		c := &limitedConn{Conn: &readConn{reader: strings.NewReader(strings.Repeat("$10\r\n0123456789\r\n", 100))}, limits: store}
		for range 100 {
			if _, err := c.Write([]byte("GET")); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(c, make([]byte, 17)); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// readConn is a connection that brings what a reader has, and takes everything.
type readConn struct {
	net.Conn
	reader io.Reader
}

func (c *readConn) Read(p []byte) (int, error)  { return c.reader.Read(p) }
func (c *readConn) Write(p []byte) (int, error) { return len(p), nil }

// TestHostileEntries: whoever writes to the log of revocations can keep Caddys from sharing, and cannot fill their memory.
func TestHostileEntries(t *testing.T) {
	onEach(t, func(t *testing.T, program string) {
		many := []string{"XADD", "{frappe_auth}:revocations", "*"}
		for range maxElements {
			many = append(many, "f", "v")
		}
		for name, entries := range map[string][][]string{
			"a long one":           {{"XADD", "{frappe_auth}:revocations", "*", "e", "e", "s", "1", "d", strings.Repeat("x", maxBulk+1)}},
			"one with many fields": {many},
			"many that are long": func() (all [][]string) {
				for range 20 {
					all = append(all, []string{"XADD", "{frappe_auth}:revocations", "*", "e", "e", "s", "1", "d", strings.Repeat("x", maxBulk)})
				}
				return all
			}(),
		} {
			t.Run(name, func(t *testing.T) {
				server := start(t, program)
				s := fresh(t, server)
				for _, entry := range entries {
					server.Must(entry...)
				}
				if got, err := s.Read(soon(t), frappe.Position{}, time.Millisecond); !errors.Is(err, errAnswer) {
					t.Errorf("%d entries, %v", len(got), err)
				}
				server.Must("DEL", "{frappe_auth}:revocations")
				testutil.Eventually(t, "the log works again", func() bool {
					got, err := s.Read(soon(t), frappe.Position{}, time.Millisecond)
					return err == nil && len(got) == 1
				})
			})
		}
	})
}
