package frappeauth_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
)

// TestMadeUpHosts: hosts that the bench does not have are 404, as Frappe answers, cost a client's failures, and neither a call
// each nor a warning.
func TestMadeUpHosts(t *testing.T) {
	var asked atomic.Int64
	bench := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if r.Host != "erp.example.com" {
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			w.WriteHeader(http.StatusNotFound)
			fmt.Fprintf(w, "<!doctype html>\n<html lang=en>\n<title>404 Not Found</title>\n<h1>Not Found</h1>\n<p>%s does not exist</p>\n", r.Host)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"message":"alice@example.com"}`)
	}))
	defer bench.Close()
	address := freeAddress(t)
	_, port, _ := strings.Cut(address, ":")
	c := runCaddy(t, fmt.Sprintf("http://:%s {\nfrappe_auth {\nbackend site %s {\nsite_name {http.request.host}\n}\n}\nrespond {http.auth.user.id}\n}", port, bench.URL))
	for i, host := range []string{"erp.example.com", "ERP.example.com", "erp.example.com."} {
		if got := get(t, "http://"+address, "Host: "+host, "Authorization: "+aliceToken); got.Status != 200 {
			t.Errorf("%s: %d", host, got.Status)
		}
		if n := asked.Load(); n != 1 {
			t.Errorf("%d spellings of one host: %d calls", i+1, n)
		}
	}
	for range 10 {
		if got := get(t, "http://"+address, "Host: made-up.example", "Authorization: "+aliceToken); got.Status != 404 {
			t.Fatalf("a host that the bench does not have: %d", got.Status)
		}
	}
	if n := asked.Load(); n != 2 {
		t.Errorf("the bench was asked %d times about one host that it does not have", n)
	}
	statuses := make(map[int]int)
	for i := range 300 {
		statuses[get(t, "http://"+address, fmt.Sprintf("Host: made-up-%d.example", i), "Authorization: "+aliceToken).Status]++
	}
	if n := asked.Load(); n != 21 || statuses[404] != 19 || statuses[429] != 281 {
		t.Errorf("300 made-up hosts: %d calls, %v", n, statuses)
	}
	if strings.Contains(c.Logs(), `"level":"warn","logger":"http.handlers.frappe_auth"`) {
		t.Errorf("warnings of made-up hosts:\n%s", c.Logs())
	}
}
