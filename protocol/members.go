package protocol

import (
	"bytes"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Members are some members of a presence channel, encoded as the answer to a
// subscription lists them. The zero value is nobody.
//
// A copy is a snapshot: it may be read while the original is changed, and
// remains what it was. Of all copies, only one may be changed.
type Members struct {
	// Pieces of a JSON text within a JSON string: each member's id, and each
	// member's id and user_info. A comma follows every member.
	ids, hash []byte
	sizes     []memberSize
}

// memberSize is how many bytes of ids and of hash are one member's.
type memberSize struct{ id, pair int32 }

// Len is the number of members.
func (m *Members) Len() int { return len(m.sizes) }

// Size is the number of bytes that the members take in an answer.
func (m *Members) Size() int { return len(m.ids) + len(m.hash) }

// Add appends a member.
func (m *Members) Add(added Member) {
	before := memberSize{int32(len(m.ids)), int32(len(m.hash))}
	m.ids = appendEscaped(m.ids, AppendString(nil, added.UserID))
	m.hash = append(m.hash, m.ids[before.id:]...)
	m.ids = append(m.ids, ',')
	m.hash = append(m.hash, ':')
	if len(added.UserInfo) == 0 {
		m.hash = append(m.hash, "null"...)
	} else {
		m.hash = appendEscaped(m.hash, added.UserInfo)
	}
	m.hash = append(m.hash, ',')
	m.sizes = append(m.sizes, memberSize{int32(len(m.ids)) - before.id, int32(len(m.hash)) - before.pair})
}

// AddAll appends other members.
func (m *Members) AddAll(added Members) {
	m.ids = append(m.ids, added.ids...)
	m.hash = append(m.hash, added.hash...)
	m.sizes = append(m.sizes, added.sizes...)
}

// Delete takes out the member at index i. It copies the others, as snapshots
// may share their bytes.
func (m *Members) Delete(i int) {
	var start memberSize
	for _, s := range m.sizes[:i] {
		start.id += s.id
		start.pair += s.pair
	}
	end := memberSize{start.id + m.sizes[i].id, start.pair + m.sizes[i].pair}
	m.ids = slices.Concat(m.ids[:start.id], m.ids[end.id:])
	m.hash = slices.Concat(m.hash[:start.pair], m.hash[end.pair:])
	m.sizes = slices.Concat(m.sizes[:i], m.sizes[i+1:])
}

// List decodes the members, in their order.
func (m *Members) List() ([]Member, error) {
	list := make([]Member, 0, len(m.sizes))
	hash := m.hash
	for _, size := range m.sizes {
		pair := hash[:size.pair-1] // without its comma
		hash = hash[size.pair:]
		// A piece of a JSON text within a string: the string first, then the text.
		var text string
		if err := json.Unmarshal(slices.Concat([]byte{'"'}, pair, []byte{'"'}), &text, readOptions); err != nil {
			return nil, err
		}
		decoder := jsontext.NewDecoder(strings.NewReader("{"+text+"}"), readOptions)
		if _, err := decoder.ReadToken(); err != nil {
			return nil, err
		}
		id, err := decoder.ReadToken()
		if err != nil {
			return nil, err
		}
		added := Member{UserID: id.String()}
		info, err := decoder.ReadValue()
		if err != nil {
			return nil, err
		}
		if info.Kind() != jsontext.KindNull {
			added.UserInfo = bytes.Clone(info)
		}
		list = append(list, added)
	}
	return list, nil
}
