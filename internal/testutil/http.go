package testutil

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// Response is a response with its whole body.
type Response struct {
	Status int
	Header http.Header
	Body   string
}

// Client neither follows redirects nor keeps cookies. Its requests survive a reload of Caddy.
var Client = &http.Client{
	Transport:     &AcrossReloads{Transport: new(http.Transport)},
	Timeout:       20 * time.Second,
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// H2CClient returns a client that speaks HTTP/2 without TLS.
func H2CClient() *http.Client {
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	return &http.Client{Transport: &AcrossReloads{Transport: &http.Transport{Protocols: protocols}}}
}

// AcrossReloads sends a request again if its connection was closed before a response began. At a reload, Caddy closes
// the listener of the old configuration, and the kernel resets the connections in its queue. Any other error is
// returned, as is this one after five attempts.
type AcrossReloads struct {
	*http.Transport
	// Again counts the requests that were sent again.
	Again atomic.Int64
}

func (a *AcrossReloads) RoundTrip(r *http.Request) (*http.Response, error) {
	for tries := 1; ; tries++ {
		var answered atomic.Bool
		try := r.Clone(httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{
			GotFirstResponseByte: func() { answered.Store(true) },
		}))
		if r.GetBody != nil {
			var err error
			if try.Body, err = r.GetBody(); err != nil {
				return nil, err
			}
		}
		resp, err := a.Transport.RoundTrip(try)
		closed := errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
		repeatable := r.Body == nil || r.Body == http.NoBody || r.GetBody != nil
		if !closed || answered.Load() || !repeatable || tries == 5 {
			return resp, err
		}
		a.Again.Add(1)
	}
}

// Get sends a GET request with headers, each as `Name: value`, spelled as given.
func Get(t testing.TB, url string, headers ...string) Response {
	t.Helper()
	return RequestOver(t, Client, http.MethodGet, url, headers...)
}

// RequestOver is Get with another client and method.
func RequestOver(t testing.TB, client *http.Client, method, url string, headers ...string) Response {
	t.Helper()
	return send(t, client, method, url, http.NoBody, headers)
}

// Send is Get with another method and a body.
func Send(t testing.TB, method, url, body string, headers ...string) Response {
	t.Helper()
	return send(t, Client, method, url, strings.NewReader(body), headers)
}

func send(t testing.TB, client *http.Client, method, url string, body io.Reader, headers []string) Response {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	for _, header := range headers {
		name, value, _ := strings.Cut(header, ": ")
		if name == "Host" {
			r.Host = value
			continue
		}
		r.Header[name] = append(r.Header[name], value)
	}
	resp, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	return whole(t, resp)
}

// RawRequest sends bytes unchanged over a new connection, and reads one response.
func RawRequest(t testing.TB, address, raw string) Response {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, raw); err != nil {
		t.Fatal(err)
	}
	return readResponse(t, conn)
}

func whole(t testing.TB, resp *http.Response) Response {
	t.Helper()
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return Response{Status: resp.StatusCode, Header: resp.Header, Body: string(body)}
}
