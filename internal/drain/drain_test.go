package drain

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
	"time"

	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// slowBody returns a piece after each pause, until the read deadline.
type slowBody struct {
	http.ResponseWriter
	pause    time.Duration
	piece    int // the most that a read returns
	left     int // bytes until the end
	deadline time.Time
	read     int
}

func (b *slowBody) SetReadDeadline(t time.Time) error {
	b.deadline = t
	return nil
}

func (b *slowBody) Read(p []byte) (int, error) {
	if time.Until(b.deadline) < b.pause {
		time.Sleep(time.Until(b.deadline))
		return 0, os.ErrDeadlineExceeded
	}
	time.Sleep(b.pause)
	n := min(len(p), b.piece, b.left)
	b.left -= n
	b.read += n
	if b.left == 0 {
		return n, io.EOF
	}
	return n, nil
}

func (*slowBody) Close() error { return nil }

// TestBodyLimits: no body keeps a goroutine busy for longer than the limits allow.
func TestBodyLimits(t *testing.T) {
	for _, test := range []struct {
		name     string
		body     slowBody
		others   int64 // bodies that are already being discarded
		expect   string
		took     time.Duration
		read     int
		finished bool
	}{
		{name: "at once", body: slowBody{piece: 1000, left: 10_000}, read: 10_000, finished: true},
		{
			name: "slowly", body: slowBody{pause: 200 * time.Millisecond, piece: 1000, left: 10_000}, took: 2 * time.Second,
			read: 10_000, finished: true,
		},
		{
			name: "a trickle", body: slowBody{pause: 200 * time.Millisecond, piece: 1, left: 10_000}, took: maxDiscardTime,
			read: 25,
		},
		{name: "never", body: slowBody{pause: time.Hour, piece: 1, left: 10_000}, took: maxDiscardGap},
		{name: "too much", body: slowBody{piece: 1 << 20, left: maxDiscarded + 1}, read: maxDiscarded},
		{name: "next to too many others", body: slowBody{piece: 1000, left: 10_000}, others: maxDiscarding},
		{name: "not asked for", body: slowBody{piece: 1000, left: 10_000}, expect: "100-continue"},
		{name: "not asked for, in capitals", body: slowBody{piece: 1000, left: 10_000}, expect: "100-CONTINUE"},
	} {
		t.Run(test.name, func(t *testing.T) {
			testutil.Bubble(t, func(t *testing.T) {
				body := test.body
				body.ResponseWriter = httptest.NewRecorder()
				r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", &body)
				if test.expect != "" {
					r.Header.Set("Expect", test.expect)
				}
				var drain Drain
				drain.discarding.Store(test.others)
				began := time.Now()
				drain.End(&body, r)
				if took := time.Since(began).Round(10 * time.Millisecond); took != test.took || body.read != test.read {
					t.Errorf("%d bytes in %s, want %d in %s", body.read, took, test.read, test.took)
				}
				if closed := body.Header().Get("Connection") == "close"; closed == test.finished {
					t.Errorf("the connection closes: %v", closed)
				}
				if test.finished != body.deadline.IsZero() {
					t.Errorf("the deadline is %v", body.deadline)
				}
				if got := drain.discarding.Load(); got != test.others {
					t.Errorf("%d bodies are being discarded", got)
				}
				if r.Body != http.NoBody || r.ContentLength != 0 {
					t.Error("later handlers see a body")
				}
			})
		})
	}
}

// TestBodyWithoutDeadlines: a body is not read if there can be no read deadline.
func TestBodyWithoutDeadlines(t *testing.T) {
	w := httptest.NewRecorder()
	body := slowBody{pause: time.Hour, piece: 1, left: 1}
	new(Drain).End(w, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", &body))
	if body.read != 0 || w.Header().Get("Connection") != "close" {
		t.Errorf("%d bytes, headers %q", body.read, w.Header())
	}
}
