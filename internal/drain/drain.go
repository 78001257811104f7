// Package drain discards the bodies of requests that are refused before their bodies were read.
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

// The limits for discarding the body of a refused request. Some clients read the response only after they have sent the
// whole body, so it must be read, but no client may keep a goroutine busy with it.
const (
	maxDiscarded   = 16 << 20 // bytes
	maxDiscardTime = 5 * time.Second
	maxDiscardGap  = 300 * time.Millisecond // without a byte
	maxDiscarding  = 256                    // bodies at once, for each handler

	// maxPostHandlerRead is how much of an HTTP/1 body net/http discards after the response.
	maxPostHandlerRead = 256 << 10

	// lingerTime is how long net/http may take to discard it.
	lingerTime = time.Second
)

// Drain discards bodies. The zero value is ready to use.
type Drain struct {
	discarding atomic.Int64
}

// End discards the body of a request, so that the client sees the response that follows. Some clients send the whole
// body before they read (Python's requests), or treat the end of an HTTP/2 stream that they still write to as an error
// (curl before 8). If the body does not end within the limits, an HTTP/1 connection is closed after the response.
// Otherwise net/http would first wait for the body.
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

// discard reads a body, and reports whether it ended within the limits.
func (e *Drain) discard(w http.ResponseWriter, r *http.Request) bool {
	controller := http.NewResponseController(w)
	if e.discarding.Add(1) > maxDiscarding || !mayWait(r) {
		e.discarding.Add(-1)
		_ = controller.SetReadDeadline(time.Now().Add(lingerTime)) // if this fails, the server's own timeouts apply
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
			return controller.SetReadDeadline(time.Time{}) == nil // the connection can be used again
		case err != nil:
			return false
		}
	}
	return false
}

// mayWait reports whether to wait for a body before the response. Over HTTP/1, a read that times out cancels the
// request's context. Caddy's own error response does not need it, but a proxy in the error routes would give up. So if
// there are such routes, net/http discards the body after the response, unless the body is larger than net/http reads.
// A larger body must be read before the response, or a client that first sends all of it would see a reset.
func mayWait(r *http.Request) bool {
	if httpguts.HeaderValuesContainsToken(r.Header["Expect"], "100-continue") {
		return false // reading it would ask for it (RFC 9110 section 10.1.1)
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
