package browser

import (
	"io"
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// PrivateWriter keeps shared caches from storing an answer that a cookie was needed for, unless the application allows
// it. RFC 9111 section 3.5 keeps them from storing answers to requests with an Authorization header only.
type PrivateWriter struct {
	*caddyhttp.ResponseWriterWrapper
	done bool // the header was written
}

// NewPrivateWriter returns a PrivateWriter for an answer. Call Finish after the next handler has returned.
func NewPrivateWriter(w http.ResponseWriter) *PrivateWriter {
	return &PrivateWriter{ResponseWriterWrapper: &caddyhttp.ResponseWriterWrapper{ResponseWriter: w}}
}

// Finish restricts an answer that has not begun: an empty one, or the page of an error.
func (w *PrivateWriter) Finish() {
	if w.done {
		return
	}
	w.done = true
	header := w.Header()
	for line := range strings.SplitSeq(strings.Join(header["Cache-Control"], ","), ",") {
		name, _, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch strings.ToLower(name) {
		case "public", "s-maxage", "private", "no-store":
			return
		}
	}
	header.Add("Cache-Control", "private")
}

// WriteHeader implements http.ResponseWriter.
func (w *PrivateWriter) WriteHeader(status int) {
	if status >= http.StatusOK || status == http.StatusSwitchingProtocols { // others are not the answer yet
		w.Finish()
	}
	w.ResponseWriterWrapper.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (w *PrivateWriter) Write(p []byte) (int, error) {
	w.Finish()
	return w.ResponseWriterWrapper.Write(p)
}

// ReadFrom implements io.ReaderFrom.
func (w *PrivateWriter) ReadFrom(r io.Reader) (int64, error) {
	w.Finish()
	return w.ResponseWriterWrapper.ReadFrom(r)
}

// FlushError lets http.ResponseController flush, which sends the header.
func (w *PrivateWriter) FlushError() error {
	w.Finish()
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// Interface guards
var (
	_ http.ResponseWriter = (*PrivateWriter)(nil)
	_ io.ReaderFrom       = (*PrivateWriter)(nil)
)
