package fleet

import "github.com/caddy-frappe/frappe-auth/frappe"

// maxTags is how many revoked tags are remembered, and how many may wait to be published.
const maxTags = 4096

// position is how far this Caddy has read the log, and what it has read there.
type position struct {
	last    frappe.Position
	broken  bool              // the log has lost entries that were read; until it starts anew, every verdict counts as revoked
	swept   uint64            // verdicts from before this sequence count as revoked
	revoked map[uint64]uint64 // tag to the sequence of its last revocation; all are in the epoch of last
}

func newPosition() position { return position{revoked: make(map[uint64]uint64)} }

// isRevoked reports whether a verdict of that position may have been revoked since. A sequence that this Caddy has not
// reached counts as revoked: after a failover that lost entries, the same sequence may stand for another revocation.
func (p *position) isRevoked(epoch string, sequence uint64, tags []uint64) bool {
	if p.broken || epoch == "" || epoch != p.last.Epoch || sequence < p.swept || sequence > p.last.Sequence {
		return true
	}
	for _, tag := range tags {
		if p.revoked[tag] > sequence {
			return true
		}
	}
	return false
}

// record remembers a revocation in the current epoch.
func (p *position) record(sequence uint64, r Revocation) {
	if r.Everything {
		p.forget(sequence)
		return
	}
	for _, tag := range r.Tags {
		p.revoked[tag] = max(p.revoked[tag], sequence)
	}
	if len(p.revoked) > maxTags {
		for _, s := range p.revoked {
			sequence = max(sequence, s)
		}
		p.forget(sequence)
	}
}

// forget makes everything before a sequence count as revoked.
func (p *position) forget(sequence uint64) {
	p.swept = max(p.swept, sequence)
	for tag, s := range p.revoked {
		if s <= p.swept {
			delete(p.revoked, tag)
		}
	}
}

// advance moves to the next entry of the log. missed reports that entries in between were lost, or may have been; the
// position then starts anew with this entry.
func (p *position) advance(to frappe.Position) (missed bool) {
	switch {
	case p.last == frappe.Position{}:
		// All that is left of the log was read. What was revoked before its first entry is not known.
		missed, p.swept = true, max(to.Sequence, 1)-1
	case to.Epoch != p.last.Epoch:
		missed, p.swept, p.broken = true, to.Sequence, false
	case to.Sequence != p.last.Sequence+1:
		missed, p.swept = true, to.Sequence
		p.broken = p.broken || to.Sequence <= p.last.Sequence
	}
	if missed {
		clear(p.revoked)
	}
	p.last = to
	return missed
}
