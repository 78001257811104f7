package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// pathLoggedUser is what backend site asks of Frappe.
const pathLoggedUser = "/api/method/frappe.auth.get_logged_user"

// runDouble is a process that stands for a Frappe site, which grants every credential, and everywhere else for an
// application, which answers ok. It counts what it is asked, so that the harness can tell that a credential was looked
// up each time, or never.
func runDouble(args []string) error {
	flags := flag.NewFlagSet("double", flag.ContinueOnError)
	delay := flags.Duration("delay", 0, "how long an answer takes")
	workers := flags.Int("workers", 0, "how many requests are answered at once, as by gunicorn; 0: all")
	if err := flags.Parse(args); err != nil {
		return err
	}
	var asked atomic.Int64
	busy := make(chan struct{}, max(1, *workers))
	mux := http.NewServeMux()
	mux.HandleFunc("/asked", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, strconv.FormatInt(asked.Load(), 10))
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if *workers > 0 {
			busy <- struct{}{}
			defer func() { <-busy }()
		}
		if *delay > 0 {
			time.Sleep(*delay)
		}
		respond(w, r)
	})
	listener, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(listener.Addr())
	server := &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}
	return server.Serve(listener)
}

func respond(w http.ResponseWriter, r *http.Request) {
	if !strings.HasPrefix(r.URL.Path, pathLoggedUser) {
		_, _ = io.WriteString(w, "ok") // who does not listen any more has no use for it
		return
	}
	w.Header().Set("Content-Type", "application/json")
	if r.Header.Get("Authorization") == "" {
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = io.WriteString(w, `{}`)
		return
	}
	_, _ = io.WriteString(w, `{"message":"alice@example.com"}`)
}
