package redis

import (
	"errors"
	"strconv"
	"strings"

	"belfry/channels/cluster"
	"belfry/protocol"
)

var errMessage = errors.New("redis: a message is not one of ours")

// parseMessage reads what is published:
//
//	p PAYLOAD
//	k NUMBER SPACE AFTER SPACE EPOCH SPACE PAYLOAD   kept
//	m NUMBER SPACE AFTER SPACE EPOCH SPACE CHANGES   of members
//	c COUNT
//	o 0 or 1                                         occupancy
//
// without the blanks between that are not called SPACE here. The changes follow each
// other, first those who have left, then those who have joined:
//
//	"-" LENGTH SPACE USER
//	"+" LENGTH SPACE USER LENGTH SPACE INFO
//
// Lengths are in bytes.
func parseMessage(t cluster.Topic, text string) (m cluster.Message, err error) {
	m.Topic = t
	if text == "" {
		return m, errMessage
	}
	kind, text := text[0], text[1:]
	switch kind {
	case 'p':
		m.Kind, m.Payload = cluster.Published, []byte(text)
		return m, nil
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
	number, text, ok1 := strings.Cut(text, " ")
	after, text, ok2 := strings.Cut(text, " ")
	epoch, text, ok3 := strings.Cut(text, " ")
	var err1, err2 error
	m.Version.Number, err1 = strconv.ParseUint(number, 10, 64)
	m.After, err2 = strconv.ParseUint(after, 10, 64)
	m.Version.Epoch = epoch
	if !ok1 || !ok2 || !ok3 || err1 != nil || err2 != nil || epoch == "" {
		return m, errMessage
	}
	switch kind {
	case 'k':
		m.Kind, m.Payload = cluster.Published, []byte(text)
		return m, nil
	case 'm':
		m.Kind = cluster.Members
		return m, parseChanges(&m, text)
	}
	return m, errMessage
}

func parseChanges(m *cluster.Message, text string) error {
	for text != "" {
		change := text[0]
		user, rest, ok := cutSized(text[1:])
		if !ok {
			return errMessage
		}
		text = rest
		switch change {
		case '-':
			m.Left = append(m.Left, user)
		case '+':
			var info string
			if info, text, ok = cutSized(text); !ok {
				return errMessage
			}
			m.Joined = append(m.Joined, protocol.Member{UserID: user, UserInfo: cluster.Info(info)})
		default:
			return errMessage
		}
	}
	return nil
}
