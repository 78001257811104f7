package fleet

import "encoding/binary"

// Revocation says which verdicts are revoked: everything, or those with one of the tags.
type Revocation struct {
	Everything bool
	Tags       []uint64
}

// The first byte of an entry of the log.
const (
	entryTags       = 't'
	entryEverything = 'e'
)

// encode returns the data of an entry: its kind, who wrote it, and the tags.
func (r Revocation) encode(origin uint64) []byte {
	if r.Everything {
		return binary.BigEndian.AppendUint64([]byte{entryEverything}, origin)
	}
	data := binary.BigEndian.AppendUint64([]byte{entryTags}, origin)
	for _, tag := range r.Tags {
		data = binary.BigEndian.AppendUint64(data, tag)
	}
	return data
}

// decodeRevocation reads the data of an entry. The entry that starts an epoch has none. What cannot be read revokes everything.
func decodeRevocation(data []byte) (r Revocation, origin uint64) {
	if len(data) == 0 {
		return Revocation{}, 0
	}
	if len(data)%8 != 1 || len(data) < 9 || data[0] != entryTags {
		if len(data) == 9 && data[0] == entryEverything {
			origin = binary.BigEndian.Uint64(data[1:])
		}
		return Revocation{Everything: true}, origin
	}
	for i := 9; i < len(data); i += 8 {
		r.Tags = append(r.Tags, binary.BigEndian.Uint64(data[i:]))
	}
	return r, binary.BigEndian.Uint64(data[1:])
}
