package protocol

import (
	"bytes"
	"encoding/json"
	"fmt"
	"unicode/utf8"
)

// Member is a user on a presence channel.
type Member struct {
	UserID string
	// UserInfo is the JSON text the application gave, nil for none.
	UserInfo json.RawMessage
}

// ParseMember reads the channel_data of a presence subscription:
// {"user_id": string or number, "user_info": any JSON, optional}. maxInfo
// bounds the bytes of user_info.
func ParseMember(channelData string, maxInfo int) (Member, error) {
	var d struct {
		UserID   json.RawMessage `json:"user_id"`
		UserInfo json.RawMessage `json:"user_info"`
	}
	if err := json.Unmarshal([]byte(channelData), &d); err != nil {
		return Member{}, fmt.Errorf("channel_data is not a JSON object with a user_id")
	}
	id, err := parseUserID(d.UserID)
	if err != nil {
		return Member{}, fmt.Errorf("channel_data: %w", err)
	}
	m := Member{UserID: id, UserInfo: d.UserInfo}
	return m, m.Check(maxInfo)
}

// Check returns what is wrong with the member: user_info of more than maxInfo
// bytes.
func (m Member) Check(maxInfo int) error {
	if n := len(m.UserInfo); n > maxInfo {
		return fmt.Errorf("user_info is %d bytes, more than %d", n, maxInfo)
	}
	return nil
}

// parseUserID makes a string of a user id, which applications send as a
// string or, when it is a database key, as a number.
func parseUserID(raw json.RawMessage) (string, error) {
	raw = bytes.TrimSpace(raw)
	var id string
	switch {
	case len(raw) == 0 || string(raw) == "null":
		return "", fmt.Errorf("user id is missing")
	case raw[0] == '"':
		if err := json.Unmarshal(raw, &id); err != nil {
			return "", fmt.Errorf("user id is not a valid string")
		}
	case raw[0] == '-' || raw[0] >= '0' && raw[0] <= '9':
		id = string(raw)
	default:
		return "", fmt.Errorf("user id must be a string or a number")
	}
	return id, checkUserID(id)
}

func checkUserID(id string) error {
	if id == "" {
		return fmt.Errorf("user id is empty")
	}
	if n := utf8.RuneCountInString(id); n > MaxUserID {
		return fmt.Errorf("user id is %d characters long, more than %d", n, MaxUserID)
	}
	return nil
}
