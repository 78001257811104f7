package frappeauth

import (
	"errors"
	"io"
	"net/http"
	"sync/atomic"
	"time"

	"golang.org/x/net/http/httpguts"
)

// The bounds on the body of a refused request. Clients that send all of a body before they read the response need it to be
// taken; nobody may keep a goroutine busy with it.
const (
	maxDiscarded   = 16 << 20 // bytes
	maxDiscardTime = 5 * time.Second
	maxDiscardGap  = 300 * time.Millisecond // without a byte of it
	maxDiscarding  = 256                    // bodies at once, for each handler

	// lingerTime is how long net/http may take to discard the rest of an HTTP/1 body after the response: 256 KiB at most.
	lingerTime = time.Second
)

// bodyEnder ends the bodies of refused requests, of which nobody will read more. Its zero value is ready to use.
type bodyEnder struct {
	discarding atomic.Int64
}

// end discards the body of a request, so that the client sees the response that follows. A client may send all of its body
// before it reads (Python's requests), or take the end of an HTTP/2 stream that it still writes to for an error (curl before
// 8). Where the body does not end within the bounds, HTTP/1 closes the connection after the response: otherwise net/http
// would first wait for the body.
//
// Later handlers, such as those of handle_errors, see a request without a body.
func (e *bodyEnder) end(w http.ResponseWriter, r *http.Request) {
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
func (e *bodyEnder) discard(w http.ResponseWriter, r *http.Request) bool {
	controller := http.NewResponseController(w)
	if e.discarding.Add(1) > maxDiscarding || expectsContinue(r) {
		e.discarding.Add(-1)
		_ = controller.SetReadDeadline(time.Now().Add(lingerTime)) // where there are none, the server's own timeouts hold
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

// expectsContinue reports whether the client waits for 100 Continue before it sends the body, which to read it would send
// (RFC 9110 section 10.1.1).
func expectsContinue(r *http.Request) bool {
	return httpguts.HeaderValuesContainsToken(r.Header["Expect"], "100-continue")
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
