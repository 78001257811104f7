package redis

import (
	"bytes"
	"errors"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
)

// Whoever may write to Redis must not fill this machine's memory: the library makes room for as much as an answer announces.
const (
	// maxBulk is how long a value in an answer may be, in bytes.
	maxBulk = 1 << 20

	// maxAnswers is how much all answers may take that a connection owes, in bytes.
	maxAnswers = 16 << 20

	// maxAnnounced is how long a message on a channel may be, in bytes. Redis itself cuts the connection at 32 MB of them, unless
	// its configuration says otherwise. Longer ones than maxMessage are not looked at.
	maxAnnounced = 32 << 20

	// maxElements is how many elements a list in an answer may have.
	maxElements = 1 << 16

	// perLine is what the library takes for each value or list, in bytes.
	perLine = 64

	// maxHeader is how much is kept of a line, which is enough for the type of a value and its length.
	maxHeader = 32
)

var errAnswer = errors.New("an answer is too long; give frappe_auth a prefix that no other program uses")

// limits are how much a connection may bring.
type limits struct {
	bulk    int64
	answers int64 // since the last command; 0: any number, as messages on a channel come without one
}

// limitedConn is a connection that fails before it brings a value that is too long, or too much in answer to a command. It
// reads the protocol (https://redis.io/docs/latest/develop/reference/protocol-spec/) only as far as that needs.
type limitedConn struct {
	net.Conn
	limits limits

	since  atomic.Int64 // what came since the last command
	header []byte       // of the current line
	rest   int64        // bytes of the current value that are still to come
}

// Write sends commands.
func (c *limitedConn) Write(p []byte) (int, error) {
	c.since.Store(0)
	return c.Conn.Write(p)
}

// Read returns what answers bring.
func (c *limitedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if !c.accept(p[:n]) {
		return 0, errAnswer
	}
	return n, err
}

// accept reports whether what came next is within the limits.
func (c *limitedConn) accept(p []byte) bool {
	cost := int64(len(p))
	for len(p) > 0 {
		if c.rest > 0 {
			skipped := min(c.rest, int64(len(p)))
			c.rest -= skipped
			p = p[skipped:]
			continue
		}
		line, rest, complete := bytes.Cut(p, []byte("\n"))
		c.header = append(c.header, line[:min(len(line), maxHeader-len(c.header))]...)
		p = rest
		if !complete {
			break
		}
		cost += perLine
		if !c.begin(string(c.header)) {
			return false
		}
		c.header = c.header[:0]
	}
	return c.since.Add(cost) <= c.limits.answers || c.limits.answers == 0
}

// begin takes note of what follows a line. It returns false if that is too much.
func (c *limitedConn) begin(header string) bool {
	if header == "" {
		return true
	}
	length, err := strconv.ParseInt(strings.TrimSuffix(header[1:], "\r"), 10, 64)
	if err != nil {
		return !errors.Is(err, strconv.ErrRange)
	}
	switch header[0] {
	case '$', '!', '=': // values
		if length >= 0 {
			c.rest = length + 2
		}
		return length <= c.limits.bulk
	case ';': // a part of a value
		if length > 0 {
			c.rest = length + 2
		}
		return length <= c.limits.bulk
	case '*', '%', '~', '>', '|': // lists
		return length <= maxElements
	}
	return true
}
