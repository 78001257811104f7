package fleet

import (
	"encoding/binary"
	"encoding/hex"
	"maps"
	"math/rand/v2"
	"slices"
)

const (
	// maxTags is how many tags a state holds. Beyond that, verdicts from before the older half count as revoked.
	maxTags = 2048

	// stateHead is the length of an encoded state without tags.
	stateHead = 20 + 4*8

	// maxState is the longest sealed state.
	maxState = sealSize + stateHead + maxTags*16
)

// Revocation says which verdicts are revoked: everything, or those with one of the tags.
type Revocation struct {
	Everything bool
	Tags       []uint64
}

// add adds another revocation.
func (r *Revocation) add(other Revocation) {
	r.Everything = r.Everything || other.Everything
	r.Tags = append(r.Tags, other.Tags...)
}

// size returns how many revocations of tags, and of everything, it is.
func (r Revocation) size() int {
	if r.Everything {
		return len(r.Tags) + 1
	}
	return len(r.Tags)
}

// state is what all Caddys of a fleet know about revocations: the stamp of the last one of each tag. A verdict carries
// the stamp that its Caddy knew before it asked the backend, so that anybody can tell what was revoked since.
type state struct {
	replication string // the server's replication ID, in hexadecimal, when the generation began
	began       int64  // when that was, by the store's clock in microseconds
	generation  uint64 // random; verdicts of another one count as revoked
	floor       uint64 // verdicts with a lower stamp count as revoked
	last        uint64 // the newest stamp
	tags        map[uint64]uint64
}

// nextStamp returns a stamp above another one, and not before the store's time. It is random, so that two Caddys that
// continue from the same state, as after a failover, do not give out the same stamp.
func nextStamp(storeTime int64, above uint64) uint64 {
	//nolint:gosec // it is not negative, and nobody gains from guessing it
	return max(uint64(max(0, storeTime))<<12, above) + 1 + rand.Uint64N(1<<20)
}

// freshState begins a new generation: everything from before is revoked.
func freshState(replication string, storeTime int64, above uint64) *state {
	s := &state{replication: replication, began: storeTime, tags: make(map[uint64]uint64)}
	s.generation = rand.Uint64() //nolint:gosec // it only has to differ
	s.last = nextStamp(storeTime, above)
	s.floor = s.last
	return s
}

// with returns the state after a revocation, with a stamp above another one.
func (s *state) with(r Revocation, storeTime int64, above uint64) *state {
	next := *s
	next.last = nextStamp(storeTime, max(s.last, above))
	next.tags = make(map[uint64]uint64)
	if r.Everything {
		next.floor = next.last
		return &next
	}
	maps.Copy(next.tags, s.tags)
	for _, tag := range r.Tags {
		next.tags[tag] = next.last
	}
	if len(next.tags) > maxTags {
		stamps := slices.Sorted(maps.Values(next.tags))
		next.floor = stamps[len(stamps)/2]
		maps.DeleteFunc(next.tags, func(_, stamp uint64) bool { return stamp <= next.floor })
	}
	return &next
}

// current reports whether a verdict of that stamp was not revoked.
func (s *state) current(generation, stamp uint64, tags []uint64) bool {
	if generation != s.generation || stamp < s.floor || stamp > s.last {
		return false
	}
	for _, tag := range tags {
		if s.tags[tag] > stamp {
			return false
		}
	}
	return true
}

// currentAt is like current, for a verdict of another ring: its stamp says nothing here, but stamps are times.
// confirmed is when its backend was asked, by the store's clock in microseconds, at the earliest.
func (s *state) currentAt(confirmed int64, tags []uint64) bool {
	stamp := uint64(max(0, confirmed-slack.Microseconds())) << 12 //nolint:gosec // not negative
	if s.floor >= stamp {
		return false
	}
	for _, tag := range tags {
		if s.tags[tag] >= stamp {
			return false
		}
	}
	return true
}

// lacks reports whether a newer state has lost something that this one knows.
func (s *state) lacks(newer *state) bool {
	if newer.last < s.last || newer.floor < s.floor {
		return true
	}
	for tag, stamp := range s.tags {
		if stamp > newer.floor && newer.tags[tag] < stamp {
			return true
		}
	}
	return false
}

// since returns what a newer state revokes that this one does not.
func (s *state) since(newer *state) (r Revocation) {
	if newer.generation != s.generation {
		return Revocation{Everything: true}
	}
	if newer.floor != s.floor && newer.floor != s.last {
		known := false
		for _, stamp := range s.tags {
			known = known || stamp == newer.floor
		}
		if !known { // stamps below it may be of revocations that were never seen
			return Revocation{Everything: true}
		}
	}
	for tag, stamp := range newer.tags {
		if s.tags[tag] != stamp {
			r.Tags = append(r.Tags, tag)
		}
	}
	return r
}

// missing returns what the state of a newer secret lacks of this one.
func (s *state) missing(newer *state) (r Revocation) {
	if s.floor > newer.floor {
		return Revocation{Everything: true}
	}
	for tag, stamp := range s.tags {
		if stamp > newer.floor && stamp > newer.tags[tag] {
			r.Tags = append(r.Tags, tag)
		}
	}
	return r
}

// joined returns all that two states know. It only serves to tell what a later one lacks.
func (s *state) joined(other *state) *state {
	if s == nil {
		return other
	}
	both := *s
	both.floor, both.last = max(s.floor, other.floor), max(s.last, other.last)
	both.tags = maps.Clone(s.tags)
	for tag, stamp := range other.tags {
		both.tags[tag] = max(both.tags[tag], stamp)
	}
	return &both
}

func (s *state) encode() []byte {
	data := make([]byte, 20, stateHead+16*len(s.tags))
	_, _ = hex.Decode(data, []byte(s.replication[:min(len(s.replication), 40)]))      // a server that has none: zeros
	for _, number := range []uint64{uint64(s.began), s.generation, s.floor, s.last} { //nolint:gosec // the same bits
		data = binary.BigEndian.AppendUint64(data, number)
	}
	for tag, stamp := range s.tags {
		data = binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(data, tag), stamp)
	}
	return data
}

func decodeState(data []byte) (*state, bool) {
	if len(data) < stateHead || (len(data)-stateHead)%16 != 0 {
		return nil, false
	}
	number := func(at int) uint64 { return binary.BigEndian.Uint64(data[at:]) }
	s := &state{
		replication: hex.EncodeToString(data[:20]),
		began:       int64(number(20)), //nolint:gosec // the same bits
		generation:  number(28), floor: number(36), last: number(44),
		tags: make(map[uint64]uint64, (len(data)-stateHead)/16),
	}
	for at := stateHead; at < len(data); at += 16 {
		s.tags[number(at)] = number(at + 8)
	}
	return s, true
}
