package clients

import (
	"encoding/base64"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/net/websocket"
)

// dashboard is the application that Caddy protects. It believes the header X-Frappe-User.
type dashboard struct {
	*httptest.Server

	mu   sync.Mutex
	seen []string // the requests that came through, as method, path, query and user
}

// pixel is a PNG image of one pixel.
const pixel = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="

func newDashboard(t *testing.T) *dashboard {
	t.Helper()
	d := new(dashboard)
	mux := http.NewServeMux()
	mux.HandleFunc("/bi/", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		fmt.Fprintf(w, "<!DOCTYPE html><title>Dashboard</title><h1>%s</h1>", html.EscapeString(r.Header.Get("X-Frappe-User")))
	})
	mux.HandleFunc("/bi/secret", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Cache-Control", "no-store")
		io.WriteString(w, "<!DOCTYPE html><title>Secret</title><h1>Secret</h1>")
	})
	mux.HandleFunc("/bi/data", func(w http.ResponseWriter, r *http.Request) {
		answer(w, http.StatusOK, map[string]string{"user": r.Header.Get("X-Frappe-User")})
	})
	mux.HandleFunc("/bi/image.png", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "image/png")
		io.Copy(w, base64.NewDecoder(base64.StdEncoding, strings.NewReader(pixel)))
	})
	mux.HandleFunc("/bi/script.js", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/javascript")
	})
	mux.HandleFunc("/bi/events", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprintf(w, "data: %s\n\n", r.Header.Get("X-Frappe-User"))
	})
	// Without a check of its own, so that what refuses another site's is Caddy.
	mux.Handle("/bi/socket", websocket.Server{Handler: func(conn *websocket.Conn) {
		fmt.Fprint(conn, conn.Request().Header.Get("X-Frappe-User"))
		if conn.Request().URL.RawQuery == "stay" {
			_, _ = io.Copy(io.Discard, conn)
		}
	}})
	d.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		d.mu.Lock()
		d.seen = append(d.seen, fmt.Sprintf("%s %s by %s", r.Method, r.URL, r.Header.Get("X-Frappe-User")))
		d.mu.Unlock()
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(d.Close)
	return d
}

// saw reports whether a request came through, as method, path, query and user.
func (d *dashboard) saw(request string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Contains(d.seen, request)
}
