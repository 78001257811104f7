package redis

import (
	"bytes"
	"errors"
	"net"
	"strconv"
	"sync"
)

// The library trusts the server: it makes room for whatever an answer announces, calls itself for each list in a list,
// and panics in a goroutine of its own when an answer comes that it did not ask for. So the guard reads the protocol
// first (https://redis.io/docs/latest/develop/reference/protocol-spec/), and lets pass only what Redis sends.
const (
	// maxBulk is how long a value in an answer may be, in bytes.
	maxBulk = 1 << 20

	// maxAnswer is how much memory an answer may take, in bytes.
	maxAnswer = 2 << 20

	// maxAnnounced is how long a message on a channel may be, in bytes. Redis itself cuts the connection at 32 MB of
	// them, unless its configuration says otherwise. Messages longer than maxMessage are not looked at.
	maxAnnounced = 32 << 20

	// maxElements is how many elements a list in an answer may have.
	maxElements = 1 << 16

	// maxDepth is how many lists may be in each other. XREAD answers with five.
	maxDepth = 8

	// perElement is what the library takes for each element of a list, in bytes.
	perElement = 64

	// maxLine is how long a status, an error or a number may be, in bytes.
	maxLine = 16 << 10

	// maxHeader is how many bytes of a line are kept: enough for a type and a length, and to recognize an error.
	maxHeader = 32

	// maxOwed is how many commands may wait for their answer. The library sends at most 1024, and some to log in.
	maxOwed = 2048
)

var (
	errAnswer   = errors.New("an answer is too long; give frappe_auth a prefix that no other program uses")
	errProtocol = errors.New("what answers there does not speak Redis's protocol")
	errHTTP     = errors.New("that is an HTTP server, not Redis")
	errTLS      = errors.New("that server speaks TLS")
)

// limits are what a connection may bring.
type limits struct {
	bulk     int64 // bytes of a value
	answer   int64 // bytes of memory for an answer or a message
	messages bool  // whether messages on a channel may come
}

var (
	shareLimits = limits{bulk: maxBulk, answer: maxAnswer}
	feedLimits  = limits{bulk: maxAnnounced, answer: maxAnnounced + maxLine, messages: true}
)

// guardedConn is a connection that fails before it brings what the library cannot bear: answers that are too long, that
// are malformed, or that no command asked for.
type guardedConn struct {
	net.Conn
	commands commands
	answers  answers
	owed     owed
}

func guard(conn net.Conn, l limits) *guardedConn {
	c := &guardedConn{Conn: conn}
	c.answers.limits, c.answers.owed, c.commands.owed = l, &c.owed, &c.owed
	return c
}

// Write sends commands.
func (c *guardedConn) Write(p []byte) (int, error) {
	if err := c.commands.take(p); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}

// Read returns what answers bring.
func (c *guardedConn) Read(p []byte) (int, error) {
	n, readErr := c.Conn.Read(p)
	if err := c.answers.take(p[:n]); err != nil {
		return 0, err
	}
	return n, readErr
}

// owed lists the commands that have no answer yet, the oldest first: whether each is a SUBSCRIBE.
type owed struct {
	mu        sync.Mutex
	subscribe []bool
}

func (o *owed) add(subscribe bool) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.subscribe) == maxOwed {
		return errBusy
	}
	o.subscribe = append(o.subscribe, subscribe)
	return nil
}

// next removes the oldest command. It returns false if there is none.
func (o *owed) next() (subscribe, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.subscribe) == 0 {
		return false, false
	}
	subscribe, o.subscribe = o.subscribe[0], o.subscribe[1:]
	return subscribe, true
}

// commands reads the commands that the library sends, which are lists of values.
type commands struct {
	owed      *owed
	header    []byte // of the current line
	arguments int64  // still to come
	rest      int64  // bytes of the current argument that are still to come, with the end of its line
	name      []byte // of the current command
	named     bool   // name is complete
}

func (c *commands) take(p []byte) error {
	for len(p) > 0 {
		if c.rest > 0 {
			part := p[:min(c.rest, int64(len(p)))]
			if !c.named {
				c.name = append(c.name, part[:min(len(part), maxHeader-len(c.name))]...)
			}
			p = p[len(part):]
			if c.rest -= int64(len(part)); c.rest > 0 {
				continue
			}
			c.named = true
			if c.arguments--; c.arguments > 0 {
				continue
			}
			if err := c.owed.add(string(c.name) == "SUBSCRIBE\r\n"); err != nil {
				return err
			}
			c.name, c.named = c.name[:0], false
			continue
		}
		line, rest, complete := bytes.Cut(p, []byte("\n"))
		p = rest
		if c.header = append(c.header, line...); len(c.header) > maxHeader {
			return errProtocol
		}
		if !complete {
			continue
		}
		length, ok := numberIn(c.header)
		switch {
		case ok && c.header[0] == '*' && c.arguments == 0 && length > 0:
			c.arguments = length
		case ok && c.header[0] == '$' && c.arguments > 0 && length >= 0:
			c.rest = length + 2
		default:
			return errProtocol
		}
		c.header = c.header[:0]
	}
	return nil
}

// numberIn returns the number that follows the type in a line. It must be written as Redis writes it, without leading
// zeros and the like, which the library reads in its own way.
func numberIn(line []byte) (n int64, ok bool) {
	if len(line) < 3 || len(line) == maxHeader {
		return 0, false
	}
	text := string(line[1 : len(line)-1])
	n, err := strconv.ParseInt(text, 10, 64)
	return n, err == nil && strconv.FormatInt(n, 10) == text
}

// answers reads the answers of the server, and the messages on a channel.
type answers struct {
	limits limits
	owed   *owed

	spoke  bool    // a line was one of Redis
	header []byte  // the first bytes of the current line
	length int     // of the current line
	last   byte    // of the current line
	rest   int64   // bytes of the current value that are still to come, with the end of its line
	lists  []int64 // how many elements are still to come in each list around the current value
	cost   int64   // memory that the current answer takes
	word   []byte  // the first element of a message; nil outside
}

// take returns an error if what came next must not reach the library.
func (a *answers) take(p []byte) error {
	for len(p) > 0 {
		if a.rest > 0 {
			part := p[:min(a.rest, int64(len(p)))]
			p = p[len(part):]
			if a.word != nil {
				a.word = append(a.word, part...)
			}
			if a.rest -= int64(len(part)); a.rest > 0 {
				continue
			}
			if err := a.end(); err != nil {
				return err
			}
			continue
		}
		line, rest, complete := bytes.Cut(p, []byte("\n"))
		p = rest
		a.header = append(a.header, line[:min(len(line), maxHeader-len(a.header))]...)
		if len(line) > 0 {
			a.last = line[len(line)-1]
		}
		if a.length += len(line); a.length > maxLine {
			return errAnswer
		}
		if err := a.recognize(); err != nil {
			return err
		}
		if !complete {
			continue
		}
		if a.last != '\r' || a.length < 2 {
			return errProtocol
		}
		if err := a.begin(); err != nil {
			return err
		}
		a.header, a.length, a.last = a.header[:0], 0, 0
	}
	return nil
}

// recognize returns an error if a line, whose end may still be to come, cannot be one of Redis.
func (a *answers) recognize() error {
	if len(a.header) == 0 {
		return nil
	}
	switch {
	case bytes.IndexByte([]byte("$*+-:_%~,#(!=>"), a.header[0]) >= 0:
		a.spoke = true
		return nil
	case !a.spoke && a.header[0] == 'H' && len(a.header) < 5:
		return nil // more must come
	case !a.spoke && bytes.HasPrefix(a.header, []byte("HTTP/")):
		return errHTTP
	case !a.spoke && a.header[0] == 0x15: // an alert
		return errTLS
	}
	return errProtocol
}

// begin takes note of what a line begins: a value, a list, or an answer.
func (a *answers) begin() error {
	kind := a.header[0]
	if len(a.lists) == 0 {
		a.cost = 0
		if err := a.ask(kind); err != nil {
			return err
		}
	}
	if kind == '>' && len(a.lists) > 0 || a.word != nil && len(a.lists) > 0 && kind != '$' {
		return errProtocol
	}
	a.cost += int64(a.length)
	n, numeric := numberIn(a.header)
	switch kind {
	case '+', '-', ',', '(': // the library keeps numbers that are not whole as texts
		return a.end()
	case '_', '#':
		if line := string(a.header); line != "_\r" && line != "#t\r" && line != "#f\r" {
			return errProtocol
		}
		return a.end()
	case ':':
		if !numeric {
			return errProtocol
		}
		return a.end()
	}
	if !numeric || n < -1 || n == -1 && kind != '$' && kind != '*' {
		return errProtocol
	}
	if n == -1 {
		return a.end()
	}
	if kind == '$' || kind == '!' || kind == '=' {
		a.rest = n + 2
		if a.cost += n; n > a.limits.bulk || a.cost > a.limits.answer {
			return errAnswer
		}
		if a.word != nil && n > maxHeader {
			return errProtocol
		}
		return nil
	}
	if n > maxElements || len(a.lists) == maxDepth {
		return errAnswer
	}
	if kind == '%' {
		n *= 2
	}
	if a.cost += n * perElement; a.cost > a.limits.answer {
		return errAnswer
	}
	if n == 0 {
		return a.end()
	}
	a.lists = append(a.lists, n)
	return nil
}

// ask returns an error if no command asked for an answer of this kind.
func (a *answers) ask(kind byte) error {
	if kind == '>' {
		if !a.limits.messages || string(a.header) != ">3\r" {
			return errProtocol
		}
		a.word = make([]byte, 0, maxHeader)
		return nil
	}
	subscribe, ok := a.owed.next()
	if !ok || subscribe && (kind != '-' || string(a.header) == "-QUEUED\r") {
		return errProtocol
	}
	return nil
}

// end takes note that a value is complete, and with it the lists that it is the last element of.
func (a *answers) end() error {
	if a.word != nil {
		word := string(a.word)
		a.word = nil
		if word == "subscribe\r\n" {
			if subscribe, ok := a.owed.next(); !ok || !subscribe {
				return errProtocol
			}
		} else if word != "message\r\n" {
			return errProtocol
		}
	}
	for len(a.lists) > 0 {
		last := len(a.lists) - 1
		if a.lists[last]--; a.lists[last] > 0 {
			return nil
		}
		a.lists = a.lists[:last]
	}
	return nil
}
