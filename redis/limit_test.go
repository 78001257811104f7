package redis

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/redis/rueidis"
)

// TestGuard: an answer is refused before the library makes room for it or fails on it, in whatever parts it arrives.
func TestGuard(t *testing.T) {
	share, feed := limits{bulk: 100, answer: 1000}, limits{bulk: 100, answer: 1000, messages: true}
	nested := func(depth int) string { return strings.Repeat("*1\r\n", depth) + "$-1\r\n" }
	const hear, heard = "subscribe", ">3\r\n$9\r\nsubscribe\r\n$6\r\nevents\r\n:1\r\n"
	const message = ">3\r\n$7\r\nmessage\r\n$6\r\nevents\r\n$2\r\n{}\r\n"
	for _, test := range []struct {
		name     string
		limits   limits
		commands string // that wait for an answer
		answer   string
		want     error
	}{
		{"a status", share, "get", "+OK\r\n", nil},
		{"an empty status", share, "get", "+\r\n", nil},
		{"an error", share, "get", "-ERR unknown command\r\n", nil},
		{"no value", share, "get", "$-1\r\n", nil},
		{"no list", share, "get", "*-1\r\n", nil},
		{"null, truth, numbers", share, "get get get get get get", "_\r\n#t\r\n#f\r\n:-12\r\n,1.5\r\n(123456789012345678901234567890\r\n", nil},
		{"a value", share, "get get", "$100\r\n" + strings.Repeat("x", 100) + "\r\n+OK\r\n", nil},
		{"an empty value", share, "get get", "$0\r\n\r\n$0\r\n\r\n", nil},
		{"a value that looks like a length", share, "get", "$13\r\n\r\n$99999999\r\n\r\n", nil},
		{"a blob error, a text", share, "get get", "!3\r\nERR\r\n=5\r\ntxt:x\r\n", nil},
		{"lists", share, "get get get", "*2\r\n*0\r\n*1\r\n$1\r\nx\r\n%1\r\n+a\r\n~1\r\n:1\r\n+OK\r\n", nil},
		{"the deepest list", share, "get get", nested(maxDepth) + "+OK\r\n", nil},
		{"the largest number", share, "get", ":9223372036854775807\r\n", nil},
		{"answers that are large together", share, strings.Repeat("get ", 20), strings.Repeat("$90\r\n"+strings.Repeat("x", 90)+"\r\n", 20), nil},
		{"messages", feed, hear, heard + strings.Repeat(message, 1000), nil},
		{"a message before an answer", feed, hear + " ping", heard + message + "+PONG\r\n", nil},
		{"a subscription that is refused", feed, hear, "-NOPERM\r\n", nil},

		{"a long status", share, "get", "+" + strings.Repeat("9", maxLine+1) + "\r\n", errAnswer},
		{"a status without an end", share, "get", "+" + strings.Repeat("A", maxLine+1), errAnswer},
		{"an error without an end", share, "get", "-" + strings.Repeat("A", maxLine+1), errAnswer},
		{"a number without an end", share, "get", "(" + strings.Repeat("1", maxLine+1), errAnswer},
		{"a long value", share, "get", "$101\r\n", errAnswer},
		{"a long error", share, "get", "!101\r\n", errAnswer},
		{"a long text", share, "get", "=101\r\n", errAnswer},
		{"a value that no memory can hold", share, "get", "$9223372036854775807\r\n", errAnswer},
		{"a long value in a list", share, "get", "*2\r\n$1\r\nx\r\n$101\r\n", errAnswer},
		{"many elements", limits{answer: 1 << 40}, "get", "*65537\r\n", errAnswer},
		{"many pairs", limits{answer: 1 << 40}, "get", "%65537\r\n", errAnswer},
		{"many values", share, "get", "*10\r\n" + strings.Repeat("$90\r\n"+strings.Repeat("x", 90)+"\r\n", 10), errAnswer},
		{"more elements than memory", share, "get", "*16\r\n", errAnswer},
		{"more pairs than memory", share, "get", "%8\r\n", errAnswer},
		{"lists in lists", share, "get", nested(maxDepth + 1), errAnswer},
		{"a message that is long", feed, hear, heard + ">3\r\n$7\r\nmessage\r\n$6\r\nevents\r\n$101\r\n", errAnswer},

		{"no length", share, "get", "$\r\n", errProtocol},
		{"an empty line", share, "get", "\r\n", errProtocol},
		{"no type", share, "get", "\n", errProtocol},
		{"no return", share, "get", "+OK\n", errProtocol},
		{"a negative value", share, "get", "$-5\r\n", errProtocol},
		{"a negative list", share, "get", "*-5\r\n", errProtocol},
		{"a negative text", share, "get", "=-7\r\n", errProtocol},
		{"no text", share, "get", "=-1\r\n", errProtocol},
		{"no pairs", share, "get", "%-1\r\n", errProtocol},
		{"a negative message", feed, hear, ">-3\r\n", errProtocol},
		{"zeros before a length", share, "get", "$" + strings.Repeat("0", 40) + "9223372036854775807\r\n", errProtocol},
		{"zeros before a number of elements", share, "get", "*" + strings.Repeat("0", 40) + "9223372036854775807\r\n", errProtocol},
		{"a zero before a length", share, "get", "$05\r\n", errProtocol},
		{"a sign", share, "get", "$+5\r\n", errProtocol},
		{"a negative zero", share, "get", "$-0\r\n", errProtocol},
		{"a length that is no number", share, "get", "$5x\r\n", errProtocol},
		{"a length beyond 64 bits", share, "get", "$18446744073709551621\r\n", errProtocol},
		{"a number that is none", share, "get", ":1x\r\n", errProtocol},
		{"neither true nor false", share, "get", "#x\r\n", errProtocol},
		{"a null with a text", share, "get", "_x\r\n", errProtocol},
		{"a value in parts", share, "get", "$?\r\n", errProtocol},
		{"a list without a length", share, "get", "*?\r\n", errProtocol},
		{"a part", share, "get", ";4\r\n", errProtocol},
		{"the end of a list", share, "get", ".\r\n", errProtocol},
		{"an attribute", share, "get", "|1\r\n", errProtocol},
		{"an unknown type", share, "get", "@1\r\n", errProtocol},
		{"an answer that nobody asked for", share, "", "+OK\r\n", errProtocol},
		{"one answer too many", share, "get", "+OK\r\n+OK\r\n", errProtocol},
		{"a message for a store", share, "get", message, errProtocol},
		{"a message in an answer", feed, "get", "*1\r\n" + message, errProtocol},
		{"another kind of message", feed, hear, ">3\r\n$10\r\ninvalidate\r\n", errProtocol},
		{"a message without a kind", feed, hear, ">3\r\n:1\r\n", errProtocol},
		{"a short message", feed, hear, ">2\r\n", errProtocol},
		{"an unasked subscription", feed, "", heard, errProtocol},
		{"a subscription for an answer", feed, "ping", heard, errProtocol},
		{"an answer for a subscription", feed, hear, "+OK\r\n", errProtocol},
		{"a transaction for a subscription", feed, hear, "-QUEUED\r\n", errProtocol},
		{"HTTP", share, "get", "HTTP/1.1 400 Bad Request\r\n", errHTTP},
		{"HTTP, too late", share, "get get", "+OK\r\nHTTP/1.1 400 Bad Request\r\n", errProtocol},
		{"TLS", share, "get", "\x15\x03\x01\x00\x02\x02\x46", errTLS},
		{"a greeting of MariaDB", share, "get", "\x05\x00\x00\x00\x0a8.0\x00", errProtocol},
	} {
		for name, in := range map[string]func(io.Reader) io.Reader{
			"at once":      func(r io.Reader) io.Reader { return r },
			"byte by byte": iotest.OneByteReader,
		} {
			t.Run(test.name+", "+name, func(t *testing.T) {
				c := guard(&readConn{reader: in(strings.NewReader(test.answer))}, test.limits)
				for command := range strings.FieldsSeq(strings.ToUpper(test.commands)) {
					send(t, c, command, "an argument\r\n*1\r\n")
				}
				got, err := io.ReadAll(c)
				if !errors.Is(err, test.want) || err == nil && string(got) != test.answer {
					t.Errorf("%q, %v", got, err)
				}
			})
		}
	}
}

// send writes a command as the library does, with the parts of it as they come out of its buffer.
func send(t testing.TB, c net.Conn, words ...string) {
	t.Helper()
	command := fmt.Sprintf("*%d\r\n", len(words))
	for _, word := range words {
		command += fmt.Sprintf("$%d\r\n%s\r\n", len(word), word)
	}
	for part := range slices.Chunk([]byte(command), 7) {
		if _, err := c.Write(part); err != nil {
			t.Fatal(err)
		}
	}
}

// readConn is a connection that brings what a reader has, and takes everything.
type readConn struct {
	net.Conn
	reader io.Reader
}

func (c *readConn) Read(p []byte) (int, error)  { return c.reader.Read(p) }
func (c *readConn) Write(p []byte) (int, error) { return len(p), nil }

// TestTooManyCommands: commands without an answer take a bounded amount of memory.
func TestTooManyCommands(t *testing.T) {
	c := guard(&readConn{reader: strings.NewReader("")}, shareLimits)
	for range maxOwed {
		send(t, c, "GET", "k")
	}
	if _, err := c.Write([]byte("*1\r\n$4\r\nPING\r\n")); !errors.Is(err, errBusy) {
		t.Error(err)
	}
}

// FuzzGuard: whatever passes the guard, the library survives. The input is what a server answers, a part of it for each
// command; the parts are between zero bytes.
func FuzzGuard(f *testing.F) {
	const hello = "%2\r\n$5\r\nproto\r\n:3\r\n$7\r\nversion\r\n$5\r\n7.0.0\r\n"
	const heard = ">3\r\n$9\r\nsubscribe\r\n$6\r\nevents\r\n:1\r\n"
	for _, seed := range []string{
		"+OK\r\n", "$-1\r\n", "$-5\r\n", "*-5\r\n", "=-7\r\n", ">-3\r\n", "%-1\r\n", "$3\r\nabc\r\n", "$?\r\n;-1\r\n", "*?\r\n.\r\n", "|1\r\n+a\r\n+b\r\n+OK\r\n",
		"$" + strings.Repeat("0", 40) + "99999999999\r\n", "*" + strings.Repeat("0", 40) + "99999999999\r\n", strings.Repeat("*1\r\n", 3000),
		"+" + strings.Repeat("A", 3000), "+OK\r\n+OK\r\n", heard, heard + heard, heard + ">3\r\n$7\r\nmessage\r\n$6\r\nevents\r\n$2\r\n{}\r\n",
		">2\r\n$10\r\ninvalidate\r\n*-1\r\n", ">3\r\n$11\r\nunsubscribe\r\n$6\r\nevents\r\n:0\r\n", "-QUEUED\r\n", "-MOVED\r\n", "-ASK 1\r\n", "-REDIRECT\r\n",
		"*2\r\n+a\r\n>2\r\n+x\r\n+y\r\n", "_\r\n", "#t\r\n", ",1.5\r\n", "(12\r\n", "!3\r\nERR\r\n", "~1\r\n:1\r\n", "%1\r\n+a\r\n+b\r\n", "HTTP/1.1 400 Bad Request\r\n",
	} {
		for _, feed := range []bool{false, true} {
			f.Add(feed, []byte(seed))
			f.Add(feed, []byte(hello+"\x00"+seed))
			f.Add(feed, []byte(hello+"\x00"+heard+"\x00"+seed))
			f.Add(feed, []byte(hello+"\x00+OK\r\n\x00"+seed+"\x00+OK\r\n"))
			f.Add(feed, []byte("-ERR unknown command 'HELLO'\r\n\x00"+seed+"\x00+OK\r\n\x00"+seed))
		}
	}
	f.Fuzz(func(t *testing.T, feed bool, script []byte) {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		a, err := newAddress((&Store{URL: "redis://h"}).access(), "")
		if err != nil {
			t.Fatal(err)
		}
		l := shareLimits
		if feed {
			l = feedLimits
		}
		var servers sync.WaitGroup
		defer servers.Wait()
		option := a.option
		option.InitAddress, option.Dialer.KeepAlive = a.servers, time.Hour
		option.DialCtxFn = func(context.Context, string, *net.Dialer, *tls.Config) (net.Conn, error) {
			ours, theirs := net.Pipe()
			servers.Go(func() { answer(theirs, bytes.Split(script, []byte{0})) })
			return guard(ours, l), nil
		}
		client, err := rueidis.NewClient(option)
		if client == nil {
			return
		}
		defer client.Close()
		if err != nil {
			return
		}
		if feed {
			_ = client.Receive(ctx, client.B().Subscribe().Channel(channel).Build(), func(rueidis.PubSubMessage) {})
		}
		var calls sync.WaitGroup
		for range 3 {
			calls.Go(func() { _, _ = client.Do(ctx, client.B().Ping().Build()).ToString() })
		}
		calls.Wait()
		_, _ = client.Do(ctx, client.B().Xread().Block(1).Streams().Key("k").Id("$").Build()).AsXRead()
		_, _ = client.Do(ctx, client.B().Arbitrary("HELLO").Build()).AsMap()
	})
}

// answer takes whatever comes, and answers it with the parts of a script, one after the other. It hangs up after the
// last one, and when nothing comes because an answer is not complete.
func answer(conn net.Conn, script [][]byte) {
	defer conn.Close()
	buffer := make([]byte, 4096)
	for _, part := range script {
		_ = conn.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
		if _, err := conn.Read(buffer); err != nil {
			return
		}
		if _, err := conn.Write(part); err != nil {
			return
		}
	}
}
