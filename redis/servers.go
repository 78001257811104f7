package redis

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/redis/rueidis"
)

// The library can follow Sentinels and a Cluster, too. But it believes whatever a server says: it keeps every host that
// it hears of, and panics on an answer with a part too few, in a goroutine of its own. So it only connects to one
// server, which is chosen here.

// maxNodes is how many nodes of a Cluster are remembered, in case the one with the keys is lost.
const maxNodes = 32

// sentinelLimits are what a Sentinel may answer: a host and a port.
var sentinelLimits = limits{bulk: 4 << 10, answer: 64 << 10}

var (
	errNoPrimary   = errors.New("it watches no primary of this name")
	errNotPrimary  = errors.New("the server that the Sentinels name is not a primary yet")
	errNewPrimary  = errors.New("the Sentinels name another primary")
	errIsSentinel  = errors.New("that is a Sentinel, not a server with data")
	errNoSentinel  = errors.New("that is not a Sentinel")
	errUnreachable = errors.New("the address is only valid on the machine that names it")
)

// sentinelError is what went wrong at a Sentinel.
type sentinelError struct {
	where string
	error
}

func (e *sentinelError) Error() string { return "Sentinel " + e.where + ": " + e.error.Error() }

func (e *sentinelError) Unwrap() error { return e.error }

// sentinels asks Sentinels where the primary is, over a connection to one of them.
type sentinels struct {
	address *address
	link    *link
}

func (s *sentinels) close() {
	if s.link != nil {
		s.link.client.Close()
		s.link = nil
	}
}

// primary returns the host and port of the primary. It asks one Sentinel after the other until one knows.
func (s *sentinels) primary(ctx context.Context) (to string, err error) {
	if s.link != nil {
		if to, err = s.ask(ctx); err == nil {
			return to, nil
		}
		s.close()
	}
	for _, where := range s.address.servers {
		if s.link, err = s.address.connect(ctx, where, s.address.sentinel, sentinelLimits, true); err == nil {
			if to, err = s.ask(ctx); err == nil {
				return to, nil
			}
			s.close()
		}
		err = &sentinelError{where, err}
	}
	return "", err
}

func (s *sentinels) ask(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, silence)
	defer cancel()
	client := s.link.client
	question := client.B().SentinelGetMasterAddrByName().Master(s.address.masterSet).Build()
	named, err := client.Do(ctx, question).AsStrSlice()
	switch answer, refused := rueidis.IsRedisErr(err); {
	case rueidis.IsRedisNil(err):
		return "", errNoPrimary
	case refused && strings.HasPrefix(answer.Error(), "unknown command"):
		return "", errNoSentinel
	case err != nil:
		return "", err
	case len(named) != 2:
		return "", errProtocol
	}
	return s.link.named(named[0], named[1])
}

var validHost = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,253}$`)

// named returns the address of another server, which this one named. An empty host is that of this one.
func (l *link) named(host, port string) (string, error) {
	if number, err := strconv.ParseUint(port, 10, 16); err != nil || number == 0 {
		return "", errProtocol
	}
	if host == "" || host == "?" {
		host, _, _ = net.SplitHostPort(l.where)
	}
	to := net.JoinHostPort(host, port)
	ip, err := netip.ParseAddr(host)
	switch {
	case err != nil && !validHost.MatchString(host):
		return "", errProtocol
	case l.local.Load() || err != nil && !strings.EqualFold(host, "localhost"):
	case err != nil || ip.Unmap().IsLoopback() || ip.IsUnspecified() || ip.IsMulticast():
		return "", fmt.Errorf("%s is named as another server: %w", to, errUnreachable)
	}
	return to, nil
}

// nodeOf returns the server that an error MOVED names.
func (l *link) nodeOf(moved string) (string, error) {
	words := strings.Fields(moved)
	if len(words) != 3 {
		return "", errProtocol
	}
	colon := strings.LastIndexByte(words[2], ':') // an IPv6 address has no brackets here
	if colon < 0 {
		return "", errProtocol
	}
	return l.named(strings.Trim(words[2][:colon], "[]"), words[2][colon+1:])
}

// finder finds the server that has the keys of a store: the one in the URL, the primary that the Sentinels name, or a
// node of the Cluster.
type finder struct {
	address   *address
	sentinels sentinels
	moved     string   // where the keys are, as a node said
	nodes     []string // of the Cluster, as a node said
	turn      int      // which server of the URL comes first
}

// connect connects to the server. It tries one after the other. A replica comes last.
func (f *finder) connect(ctx context.Context) (*link, error) {
	if f.address.masterSet != "" {
		return f.followSentinels(ctx)
	}
	moved := f.moved
	f.moved = ""
	servers := slices.Concat(f.address.servers[f.turn:], f.address.servers[:f.turn], f.nodes)
	f.turn = (f.turn + 1) % len(f.address.servers)
	if moved != "" {
		servers = slices.Insert(servers, 0, moved)
	}
	var replica *link
	var first error
	for _, to := range servers {
		l, about, err := f.open(ctx, to)
		switch {
		case err != nil:
			first = cmp.Or(first, err)
			continue
		case about["mode"] == "cluster":
			l = f.followCluster(ctx, l)
		case about["role"] == "replica" && replica == nil:
			replica = l
			continue
		case about["role"] == "replica":
			l.client.Close()
			continue
		}
		if replica != nil {
			replica.client.Close()
		}
		return l, nil
	}
	if replica != nil {
		return replica, nil
	}
	return nil, first
}

// open connects to a server, and returns what it says about itself. One that only speaks the protocol from before Redis
// 6 says nothing.
func (f *finder) open(ctx context.Context, to string) (*link, map[string]string, error) {
	l, err := f.address.connect(ctx, to, f.address.login(), shareLimits, false)
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, silence)
	defer cancel()
	about, err := l.client.Do(ctx, l.client.B().Arbitrary("HELLO").Build()).AsStrMap()
	if _, refused := rueidis.IsRedisErr(err); err != nil && !refused {
		l.client.Close()
		return nil, nil, err
	}
	if about["mode"] == "sentinel" {
		l.client.Close()
		return nil, nil, errIsSentinel
	}
	return l, about, nil
}

func (f *finder) followSentinels(ctx context.Context) (*link, error) {
	to, err := f.sentinels.primary(ctx)
	if err != nil {
		return nil, err
	}
	l, about, err := f.open(ctx, to)
	if err == nil && about["role"] == "replica" {
		l.client.Close()
		return nil, errNotPrimary
	}
	return l, err
}

// followCluster connects to the node with the keys, and remembers the others. It returns the link that it got if that
// is the node, or if the node is not known or not reached: an error MOVED will tell.
func (f *finder) followCluster(ctx context.Context, l *link) *link {
	asking, cancel := context.WithTimeout(ctx, silence)
	defer cancel()
	ranges, err := l.client.Do(asking, l.client.B().ClusterSlots().Build()).ToArray()
	if err != nil {
		return l
	}
	f.nodes = nil
	var holder string
	slot := int64(f.address.slot)
	for _, one := range ranges {
		parts, err := one.ToArray()
		if err != nil || len(parts) < 3 {
			continue
		}
		from, err := parts[0].ToInt64()
		last, err2 := parts[1].ToInt64()
		for i, part := range parts[2:] {
			node, ok := nodeIn(l, part)
			if ok && i == 0 && err == nil && err2 == nil && from <= slot && slot <= last {
				holder = node
			}
			if ok && len(f.nodes) < maxNodes && !slices.Contains(f.nodes, node) {
				f.nodes = append(f.nodes, node)
			}
		}
	}
	if holder == "" || holder == l.where || holder == l.remote.Load() {
		return l
	}
	other, _, err := f.open(ctx, holder)
	if err != nil {
		return l
	}
	l.client.Close()
	return other
}

// nodeIn returns the address of a node in an answer to CLUSTER SLOTS.
func nodeIn(l *link, part rueidis.RedisMessage) (string, bool) {
	fields, err := part.ToArray()
	if err != nil || len(fields) < 2 {
		return "", false
	}
	host, err := fields[0].ToString()
	if err != nil && !rueidis.IsRedisNil(err) {
		return "", false
	}
	port, err := fields[1].ToInt64()
	if err != nil {
		return "", false
	}
	node, err := l.named(host, strconv.FormatInt(port, 10))
	return node, err == nil
}

// slotOf returns the slot of a Cluster for keys that begin with a text in braces: CRC-16/XMODEM of the text, modulo
// 16384 (https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#hash-tag).
func slotOf(prefix string) uint16 {
	tag, _, _ := strings.Cut(strings.TrimPrefix(prefix, "{"), "}")
	var crc uint16
	for _, b := range []byte(tag) {
		crc ^= uint16(b) << 8
		for range 8 {
			carry := crc&0x8000 != 0
			if crc <<= 1; carry {
				crc ^= 0x1021
			}
		}
	}
	return crc % 16384
}
