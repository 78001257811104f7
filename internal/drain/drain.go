// Package drain ends the bodies of requests that are refused before anyone has read them.
package drain

import (
	"errors"
	"io"
	"net/http"
	"sync/atomic"
	"time"

	"golang.org/x/net/http/httpguts"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// The bounds on the body of a refused request. Clients that send all of a body before they read the response need it to be
// taken; nobody may keep a goroutine busy with it.
const (
	maxDiscarded   = 16 << 20 // bytes
	maxDiscardTime = 5 * time.Second
	maxDiscardGap  = 300 * time.Millisecond // without a byte of it
	maxDiscarding  = 256                    // bodies at once, for each handler

	// maxPostHandlerRead is how much of an HTTP/1 body net/http discards by itself after the response.
	maxPostHandlerRead = 256 << 10

	// lingerTime is how long net/http may take for it.
	lingerTime = time.Second
)

// Drain ends bodies. Its zero value is ready to use.
type Drain struct {
	discarding atomic.Int64
}

// End discards the body of a request, so that the client sees the response that follows. A client may send all of its body
// before it reads (Python's requests), or take the end of an HTTP/2 stream that it still writes to for an error (curl before
// 8). Where the body does not end within the bounds, HTTP/1 closes the connection after the response: otherwise net/http
// would first wait for the body.
//
// Later handlers, such as those of handle_errors, see a request without a body.
func (e *Drain) End(w http.ResponseWriter, r *http.Request) {
	if r.ContentLength == 0 || r.Method == http.MethodConnect { // a tunnel has no body
		return
	}
	if !e.discard(w, r) && r.ProtoMajor == 1 {
		w.Header().Set("Connection", "close")
	}
	r.Body, r.ContentLength, r.TransferEncoding, r.Trailer = http.NoBody, 0, nil, nil
	for _, name := range []string{"Content-Length", "Expect", "Trailer"} {
		r.Header.Del(name)
	}
}

// discard reads a body, and reports whether it came to its end within the bounds.
func (e *Drain) discard(w http.ResponseWriter, r *http.Request) bool {
	controller := http.NewResponseController(w)
	if e.discarding.Add(1) > maxDiscarding || !mayWait(r) {
		e.discarding.Add(-1)
		_ = controller.SetReadDeadline(time.Now().Add(lingerTime)) // without one, the server's own timeouts hold
		return false
	}
	defer e.discarding.Add(-1)

	buffer := make([]byte, 32<<10)
	end := time.Now().Add(maxDiscardTime)
	for left := maxDiscarded; left > 0; {
		now := time.Now()
		if !now.Before(end) || controller.SetReadDeadline(earlier(now.Add(maxDiscardGap), end)) != nil {
			return false
		}
		n, err := r.Body.Read(buffer)
		left -= n
		switch {
		case errors.Is(err, io.EOF):
			return controller.SetReadDeadline(time.Time{}) == nil // the connection goes on
		case err != nil:
			return false
		}
	}
	return false
}

// mayWait reports whether a body may be waited for before the response. Over HTTP/1 a wait in vain cancels the request's
// context. That is of no consequence to Caddy's own error response, but a proxy in the error routes would give up. So where
// there are such routes, net/http discards the body after the response, if it is no larger than net/http takes. A larger one
// has to be taken before, or a client that sends all of it first would see a reset.
func mayWait(r *http.Request) bool {
	if httpguts.HeaderValuesContainsToken(r.Header["Expect"], "100-continue") {
		return false // to read it would be to ask for it (RFC 9110 section 10.1.1)
	}
	if r.ProtoMajor != 1 || r.ContentLength > maxPostHandlerRead {
		return true
	}
	server, _ := r.Context().Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	return server == nil || server.Errors == nil || len(server.Errors.Routes) == 0
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
