package redis

import (
	"errors"
	"strconv"
	"strings"

	"belfry/channels/cluster"
	"belfry/protocol"
)

var errMessage = errors.New("redis: a message is not one of ours")

// parseMessage reads what the scripts publish:
//
//	p VERSION SPACE PAYLOAD
//	a VERSION SPACE LENGTH SPACE USER INFO     member added
//	r VERSION SPACE USER                       member removed
//	c COUNT
//	o 0 or 1                                   occupancy
//
// without the blanks between that are not called SPACE here. LENGTH is in bytes.
func parseMessage(t cluster.Topic, text string) (cluster.Message, error) {
	m := cluster.Message{Topic: t}
	if text == "" {
		return m, errMessage
	}
	kind, text := text[0], text[1:]
	switch kind {
	case 'c':
		n, err := strconv.ParseUint(text, 10, 31)
		if err != nil {
			return m, errMessage
		}
		m.Kind, m.Count = cluster.Count, int(n)
		return m, nil
	case 'o':
		if text != "0" && text != "1" {
			return m, errMessage
		}
		m.Kind, m.Occupied = cluster.Occupancy, text == "1"
		return m, nil
	}
	version, text, ok := strings.Cut(text, " ")
	n, err := strconv.ParseUint(version, 10, 64)
	if !ok || err != nil {
		return m, errMessage
	}
	m.Version = n
	switch kind {
	case 'p':
		m.Kind, m.Payload = cluster.Published, []byte(text)
	case 'a':
		length, text, ok := strings.Cut(text, " ")
		n, err := strconv.ParseUint(length, 10, 31)
		if !ok || err != nil || n > uint64(len(text)) {
			return m, errMessage
		}
		m.Kind, m.Member = cluster.MemberAdded, protocol.Member{UserID: text[:n], UserInfo: cluster.Info(text[n:])}
	case 'r':
		m.Kind, m.Member.UserID = cluster.MemberRemoved, text
	default:
		return m, errMessage
	}
	return m, nil
}
