package relay

import (
	"html/template"
	"net/http"
	"strconv"
)

// Page is a page of a few words.
type Page struct {
	// Status is the status of the response.
	Status int

	// Title and Text say what happened and what to do.
	Title, Text string

	// Link leads on, and LinkText says where. Empty: there is no link.
	Link, LinkText string

	// Button is the text of a button that sends an empty form to the page's own address. Empty: there is none.
	Button string
}

var page = template.Must(template.New("").Parse(`<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{{.Title}}</title>
<style>body{font-family:system-ui,sans-serif;max-width:36rem;margin:4rem auto;padding:0 1rem;line-height:1.5}</style>
<h1>{{.Title}}</h1>
<p>{{.Text}}</p>
{{if .Button}}<form method="post"><button>{{.Button}}</button></form>
{{end}}{{if .Link}}<p><a href="{{.Link}}">{{.LinkText}}</a></p>
{{end}}</html>
`))

// SetHeaders sets what every answer of a login has: nothing stores it, and no other site learns its address.
func SetHeaders(header http.Header) {
	header.Set("Cache-Control", "no-store")
	header.Set("Referrer-Policy", "strict-origin")
}

// Serve writes the page.
func (p Page) Serve(w http.ResponseWriter) error {
	SetHeaders(w.Header())
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Content-Security-Policy",
		"default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'")
	if p.Status == http.StatusServiceUnavailable && w.Header().Get("Retry-After") == "" {
		w.Header().Set("Retry-After", strconv.Itoa(5))
	}
	w.WriteHeader(p.Status)
	return page.Execute(w, p)
}
